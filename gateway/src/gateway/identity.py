"""Whose request it is: the access token, verified here before anything is asked of a service.

Services verify the token again; nothing the gateway finds out is passed on as a header.
"""

import time
from collections import OrderedDict
from hashlib import sha256

import jwt

from common import clock
from common.errors import UnauthorizedError
from common.security import Principal, TokenVerifier, bearer_token
from gateway.routes import Identity

CACHED_TOKENS = 10_000
CACHE_SECONDS = 30
"""A verified token is believed for so long at most, so that a withdrawn key stops working."""


class Identities:
    """Verifies tokens, and remembers for a moment those that were good."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier
        self._known: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    async def identify(self, header: bytes | None, wanted: Identity) -> Principal | None:
        """Return the caller, or nothing for an anonymous one where that is allowed; raise `UnauthorizedError`."""
        if wanted is Identity.IGNORED or (header is None and wanted is Identity.OPTIONAL):
            return None
        token = bearer_token((header or b"").decode("latin-1"))
        if token is None:
            raise UnauthorizedError("invalid_token", "The access token is missing, expired or not valid.")
        key = sha256(token.encode("latin-1")).digest()
        known = self._known.get(key)
        if known and time.monotonic() < known[1]:
            return known[0]
        principal = await self._verifier.verify(token)
        self._remember(key, principal, token)
        return principal

    def _remember(self, key: bytes, principal: Principal, token: str) -> None:
        """Keep until the token expires, or for the cache's own time."""
        claims = jwt.decode(token, options={"verify_signature": False})
        left = float(claims["exp"]) - clock.now().timestamp()
        self._known[key] = (principal, time.monotonic() + min(left, CACHE_SECONDS))
        self._known.move_to_end(key)
        while len(self._known) > CACHED_TOKENS:
            self._known.popitem(last=False)
