"""Whose request it is: the access token, verified here before anything is asked of a service.

Services verify the token again; nothing the gateway finds out is passed on as a header.
"""

from common.errors import UnauthorizedError
from common.security import Principal, TokenVerifier, bearer_token
from gateway.routes import Identity


class Identities:
    """Verifies tokens: those of people, and on the routes of admins those of admins."""

    def __init__(self, verifier: TokenVerifier, admins: TokenVerifier) -> None:
        self._verifier = verifier
        self._admins = admins

    async def identify(self, header: bytes | None, wanted: Identity) -> Principal | None:
        """Return the caller, or nothing for an anonymous one where that is allowed; raise `UnauthorizedError`."""
        if wanted is Identity.IGNORED or (header is None and wanted is Identity.OPTIONAL):
            return None
        token = bearer_token((header or b"").decode("latin-1"))
        if token is None:
            raise UnauthorizedError("invalid_token", "The access token is missing, expired or not valid.")
        verifier = self._admins if wanted is Identity.ADMIN else self._verifier
        return await verifier.verify(token)
