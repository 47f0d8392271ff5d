"""Who is calling: access tokens, verified with the JWKS of `auth`, here and not by trust in a header.

An access token is an EdDSA JWT (RFC 9068): header ``typ: at+jwt`` and ``kid``, claims ``sub``, ``iss``, ``aud``,
``exp``, ``iat``, ``jti``, ``sid``, ``username``, ``email_verified`` and, where it may not do everything, ``scope``.
Every service verifies it again, whoever called.

A scope is ``<area>:read`` or ``<area>:write``; the area is the service's, and `read` is for GET and HEAD. A handler may
name another with ``opt={"scope": …}``, or `SESSION_ONLY`, which no scope covers.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol, cast
from uuid import UUID

import httpx
import jwt
import msgspec
from litestar import Request
from litestar.datastructures import State

from common.errors import ForbiddenError, UnauthorizedError, UnavailableError
from common.log import get_logger

log = get_logger(__name__)

ALGORITHM = "EdDSA"
TYPE = "at+jwt"
LEEWAY_SECONDS = 10
REFETCH_SECONDS = 10
"""An unknown key id makes the set be fetched again, at most this often."""
RETRY_SECONDS = 1
"""After a failed fetch, how long nobody tries again: `auth` away must not make every caller wait for it."""
FETCH_SECONDS = 3
TOKEN_BYTES = 8192


SESSION_ONLY = ""
"""The scope of what only somebody who has logged in may do, and no program for them."""
AREAS = {"auth": "account"}
"""The areas that are not called as their service."""


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """The caller of a request."""

    user_id: UUID
    username: str
    token_id: str
    session_id: UUID
    """The login, or the personal access token, that the token comes from."""
    verified: bool = False
    """True when the account's e-mail address is proved."""
    scopes: frozenset[str] | None = None
    """What it may do; ``None`` is everything."""


class AdminPrincipal(msgspec.Struct, frozen=True, kw_only=True):
    """The admin who calls."""

    admin_id: UUID
    username: str
    token_id: str
    session_id: UUID
    scopes: frozenset[str]


class KeySource(Protocol):
    """Where a verifier finds the public key of a key id."""

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key, or nothing when there is none of that id."""


class KeySet:
    """The public keys of `auth`, fetched when first needed and when an unknown key id turns up."""

    def __init__(self, auth_url: str) -> None:
        self._url = auth_url.rstrip("/") + "/.well-known/jwks.json"
        self._keys: dict[str, jwt.PyJWK] = {}
        self._next_fetch = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """Return the key, or nothing when `auth` does not know it either."""
        if key_id not in self._keys:
            async with self._lock:
                if key_id not in self._keys and time.monotonic() >= self._next_fetch:
                    await self._fetch()
            if not self._keys:
                raise UnavailableError("keys_unavailable", "Tokens cannot be verified right now.", retry_after=1)
        return self._keys.get(key_id)

    async def _fetch(self) -> None:
        try:
            async with httpx.AsyncClient(timeout=FETCH_SECONDS) as client:
                response = await client.get(self._url)
                response.raise_for_status()
                keys = jwt.PyJWKSet.from_dict(response.json())
        except (httpx.HTTPError, ValueError, jwt.PyJWTError) as error:
            self._next_fetch = time.monotonic() + RETRY_SECONDS
            log.warning("key set not fetched", error=repr(error))
            return
        self._keys = {str(key.key_id): key for key in keys.keys}
        self._next_fetch = time.monotonic() + REFETCH_SECONDS


class TokenVerifier:
    """Turns a bearer token into a `Principal`, with the keys that ``auth_url`` serves unless ``keys`` is given."""

    def __init__(self, auth_url: str, issuer: str, audience: str, *, keys: KeySource | None = None) -> None:
        self._keys: KeySource = keys or KeySet(auth_url)
        self._issuer = issuer
        self._audience = audience

    async def verify(self, token: str) -> Principal:
        """Check signature, type, times, issuer and audience; raise `UnauthorizedError` without saying which failed."""
        claims = await self._claims(token)
        try:
            if not claims["username"]:
                raise _refused()
            scope = claims.get("scope")
            return Principal(
                user_id=UUID(claims["sub"]),
                username=str(claims["username"]),
                token_id=str(claims["jti"]),
                session_id=UUID(claims["sid"]),
                verified=claims.get("email_verified") is True,
                scopes=None if scope is None else frozenset(str(scope).split()),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise _refused() from error

    async def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > TOKEN_BYTES:
            raise _refused()
        try:
            header = jwt.get_unverified_header(token)
            key_id = header.get("kid")
            if header.get("typ") != TYPE or header.get("alg") != ALGORITHM or not isinstance(key_id, str):
                raise _refused()
            key = await self._keys.find(key_id)
            if key is None:
                raise _refused()
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["sub", "iss", "aud", "exp", "iat", "jti", "sid"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise _refused() from error
        return claims


def _refused() -> UnauthorizedError:
    return UnauthorizedError("invalid_token", "The access token is missing, expired or not valid.")


def bearer_token(header: str | None) -> str | None:
    """Return the token of an ``Authorization: Bearer`` header."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def provide_principal(request: Request[Any, Any, State]) -> Principal:
    """Litestar dependency ``principal``: the caller; `UnauthorizedError`, or `ForbiddenError` for a missing scope."""
    token = bearer_token(request.headers.get("authorization"))
    if token is None:
        raise _refused()
    verifier = cast("TokenVerifier", request.app.state.verifier)
    principal = await verifier.verify(token)
    if principal.scopes is not None:
        needed = scope_of(request.app.state.service, request.method, request.route_handler.opt)
        if needed not in principal.scopes:
            detail = f"The token lacks the scope {needed}." if needed else "This takes a login; a token does not do."
            raise ForbiddenError("insufficient_scope", detail)
    return principal


def scope_of(service: str, method: str, opt: Mapping[str, Any]) -> str:
    """Name the scope that an operation needs."""
    area = AREAS.get(service, service)
    return str(opt.get("scope", f"{area}:{'read' if method in {'GET', 'HEAD'} else 'write'}"))


async def provide_admin(request: Request[Any, Any, State]) -> AdminPrincipal:
    """Litestar dependency ``admin``: the admin who calls; ``opt={"scope": …}`` of the handler must be theirs."""
    token = bearer_token(request.headers.get("authorization"))
    if token is None:
        raise _refused()
    verifier = cast("TokenVerifier", request.app.state.admin_verifier)
    caller = await verifier.verify(token)
    scopes = caller.scopes or frozenset()
    needed = request.route_handler.opt.get("scope")
    if needed and needed not in scopes:
        raise ForbiddenError("insufficient_scope", f"This takes the scope {needed}.")
    return AdminPrincipal(
        admin_id=caller.user_id,
        username=caller.username,
        token_id=caller.token_id,
        session_id=caller.session_id,
        scopes=scopes,
    )
