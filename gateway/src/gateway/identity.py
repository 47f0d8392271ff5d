"""Whose request it is: the access token, verified here before anything is asked of a service.

Services verify the token again; nothing the gateway finds out is passed on as a header. In the place of a personal
access token goes the access token that it was exchanged for.
"""

from litestar.types import HTTPScope

from common.errors import UnauthorizedError
from common.http import request_id_of
from common.security import Principal, TokenVerifier, bearer_token
from gateway.exchange import Exchange, is_personal
from gateway.routes import Identity


class Identities:
    """Verifies tokens: those of people, and on the routes of admins those of admins."""

    def __init__(self, verifier: TokenVerifier, admins: TokenVerifier, exchange: Exchange) -> None:
        self._verifier = verifier
        self._admins = admins
        self._exchange = exchange

    async def identify(self, scope: HTTPScope, wanted: Identity, client: str) -> Principal | None:
        """Return the caller, or nothing for an anonymous one where that is allowed; raise `UnauthorizedError`."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if wanted is Identity.IGNORED or (not given and wanted is Identity.OPTIONAL):
            return None
        token = bearer_token(b", ".join(given).decode("latin-1"))  # two are one list, which is no token, as in services
        if token is None:
            raise UnauthorizedError("invalid_token", "The access token is missing, expired or not valid.")
        if wanted is Identity.ADMIN:
            return await self._admins.verify(token)
        if is_personal(token):
            return await self._program(scope, token, client)
        return await self._verifier.verify(token)

    async def _program(self, scope: HTTPScope, token: str, client: str) -> Principal:
        """Put the access token in place of the personal one, a fresh one if what we had has been revoked meanwhile."""
        request_id = request_id_of(scope)
        exchanged = await self._exchange.access_token(token, client=client, request_id=request_id)
        try:
            principal = await self._verifier.verify(exchanged)
        except UnauthorizedError:
            self._exchange.forget(token, exchanged)
            exchanged = await self._exchange.access_token(token, client=client, request_id=request_id)
            principal = await self._verifier.verify(exchanged)
        _authorize(scope, exchanged)
        return principal


def _authorize(scope: HTTPScope, token: str) -> None:
    """Replace the authorization."""
    others = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
    scope["headers"] = [*others, (b"authorization", b"Bearer " + token.encode())]
