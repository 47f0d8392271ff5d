"""Who is calling: access tokens, verified with the JWKS of `auth`, here and not by trust in a header.

An access token is an EdDSA JWT (RFC 9068): header ``typ: at+jwt`` and ``kid``, claims ``sub``, ``iss``, ``aud``,
``exp``, ``iat``, ``jti``, ``sid``, ``username``, ``email_verified`` and, where it may not do everything, ``scope``.
Every service verifies it again, whoever called.

A scope is ``<area>:read`` or ``<area>:write``; the area is the service's, and `read` is for GET and HEAD. A handler may
name another with ``opt={"scope": …}``, or `SESSION_ONLY`, which no scope covers.
"""

import base64
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from time import monotonic
from typing import Annotated, Any, cast
from uuid import UUID

import jwt
import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.plugins.base import ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute

from common import clock
from common.denials import LONGEST_TOKEN_SECONDS, Denials
from common.errors import ForbiddenError, UnauthorizedError
from common.http import problems
from common.key_set import KeySource

ALGORITHM = "EdDSA"
TYPE = "at+jwt"
LEEWAY_SECONDS = 10
TOKEN_BYTES = 8192
HEADER = {"alg", "typ", "kid"}
KEY_ID = re.compile(r"[0-9a-f]{32}")
SEEN_TOKENS = 10_000
SEEN_SECONDS = 20.0
"""With this and the age at which keys are fetched anew, a withdrawn key is refused within a minute."""


SESSION_ONLY = ""
"""The scope of what only somebody who has logged in may do, and no program for them."""
LOGIN = "login"
"""How documents call it."""
ADMIN_PATH = "/api/v1/admin"
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


class Claims(msgspec.Struct, frozen=True):
    """The claims that count. A token with one missing, or of another type, is refused."""

    sub: UUID
    sid: UUID
    username: Annotated[str, msgspec.Meta(min_length=1)]
    iss: str
    aud: str
    iat: int
    exp: int
    jti: Annotated[str, msgspec.Meta(min_length=1)]
    nbf: int | None = None
    email_verified: bool = False
    scope: str | None = None


class Seen(msgspec.Struct, frozen=True):
    """A token that was good a moment ago."""

    principal: Principal
    issued_at: int
    until: float
    """Of the monotonic clock."""
    changes: int
    """Of the keys, at the time."""


class TokenVerifier:
    """Turns a bearer token into a `Principal`.

    A good token is remembered by its digest for a moment, while the keys are the same; whether its session has ended
    is asked each time.
    """

    def __init__(self, issuer: str, audience: str, keys: KeySource, denials: Denials | None = None) -> None:
        self._keys = keys
        self._denials = denials
        self._issuer = issuer
        self._audience = audience
        self._seen: OrderedDict[bytes, Seen] = OrderedDict()

    async def verify(self, token: str) -> Principal:
        """Check everything about a token; raise `UnauthorizedError` without saying what failed."""
        if len(token) > TOKEN_BYTES or not token.isascii():
            raise _refused()
        digest = sha256(token.encode()).digest()
        seen = self._seen.get(digest)
        if seen is None or seen.changes != self._keys.changes or monotonic() >= seen.until:
            seen = await self._look(token)
            self._remember(digest, seen)
        else:
            self._seen.move_to_end(digest)
        if self._denials and self._denials.denies(seen.principal.session_id, seen.issued_at):
            raise _refused()
        return seen.principal

    def _remember(self, digest: bytes, seen: Seen) -> None:
        self._seen[digest] = seen
        while len(self._seen) > SEEN_TOKENS:
            self._seen.popitem(last=False)

    async def _look(self, token: str) -> Seen:
        """Verify a token that is new to us."""
        try:
            key_id, payload = read_form(token)
            claims = read_claims(payload)
            key = await self._keys.find(key_id)
            changes = self._keys.changes
            if key is None:
                raise _refused()
            jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
            )
        except (jwt.PyJWTError, msgspec.MsgspecError, ValueError) as error:
            raise _refused() from error
        if self._denials:
            await self._denials.known()
        left = claims.exp - clock.now().timestamp()
        return Seen(_principal(claims), claims.iat, monotonic() + min(left, SEEN_SECONDS), changes)


def _principal(claims: Claims) -> Principal:
    return Principal(
        user_id=claims.sub,
        username=claims.username,
        token_id=claims.jti,
        session_id=claims.sid,
        verified=claims.email_verified,
        scopes=None if claims.scope is None else frozenset(claims.scope.split()),
    )


def read_form(token: str) -> tuple[str, bytes]:
    """Return the key id and the payload of a token that is written in the one way in which `auth` writes it.

    Each token has one spelling, so that what is refused, remembered or counted cannot come back in another; and a
    header says nothing but type, algorithm and key id, so nothing in it can send us for a key somewhere else.

    Raises:
        ValueError: It is written in another way.
    """
    header_part, payload_part, signature = token.split(".")
    header = _object(_octets(header_part))
    if set(header) != HEADER or header["typ"] != TYPE or header["alg"] != ALGORITHM:
        raise ValueError("not the header of an access token")
    if not isinstance(header["kid"], str) or not KEY_ID.fullmatch(header["kid"]):
        raise ValueError("not a key id")
    _octets(signature)
    return header["kid"], _octets(payload_part)


def read_claims(payload: bytes) -> Claims:
    """Return the claims.

    Raises:
        ValueError: One is there twice, or the token lives too long.
        msgspec.MsgspecError: One is missing or of another type.
    """
    _object(payload)
    claims = msgspec.json.decode(payload, type=Claims)
    if claims.exp - claims.iat > LONGEST_TOKEN_SECONDS:
        raise ValueError("lives longer than its end would be remembered")
    return claims


def _octets(segment: str) -> bytes:
    raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != segment.encode():
        raise ValueError("not canonical base64url")
    return raw


def _object(text: bytes) -> dict[str, Any]:
    """Read a JSON object whose names are each there once."""
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004 - as everything else that is wrong with a token
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _refused() -> UnauthorizedError:
    return UnauthorizedError("invalid_token", "The access token is missing, expired or not valid.")


def bearer_token(header: str | None) -> str | None:
    """Return the token of an ``Authorization: Bearer`` header."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _token_of(request: Request[Any, Any, State]) -> str:
    """Return the token of the one `Authorization`; two are read as one list (RFC 9110, 5.3), which is no token."""
    token = bearer_token(", ".join(request.headers.getall("authorization", [])))
    if token is None:
        raise _refused()
    return token


async def ask_who_calls(connection: ASGIConnection[Any, Any, Any, State], handler: BaseRouteHandler) -> None:
    """Litestar guard: find out who calls before anything is made ready for them, such as a database session.

    Litestar makes dependencies ready side by side; one that refuses would leave the others half done.
    """
    request = cast("Request[Any, Any, State]", connection)
    taken = handler.parsed_fn_signature.parameters
    if "principal" in taken:
        request.state.caller = await provide_principal(request)
    elif "admin" in taken:
        request.state.caller = await provide_admin(request)


async def provide_principal(request: Request[Any, Any, State]) -> Principal:
    """Litestar dependency ``principal``: the caller; `UnauthorizedError`, or `ForbiddenError` for a missing scope."""
    if isinstance(known := request.state.get("caller"), Principal):
        return known
    verifier = cast("TokenVerifier", request.app.state.verifier)
    principal = await verifier.verify(_token_of(request))
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


class DocumentedScopes(ReceiveRoutePlugin):
    """Shows what each operation that takes a token asks of it, as the roles of its `security` (OpenAPI 3.1)."""

    def __init__(self, service: str) -> None:
        self._service = service

    def receive_route(self, route: BaseRoute) -> None:
        """Complete the `security` of a route's handlers: a scope, `LOGIN`, or ``admin`` and their scope."""
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else []:
            if not handler.security:
                continue
            roles = [scope_of(self._service, min(handler.http_methods), handler.opt) or LOGIN]
            if route.path.startswith(ADMIN_PATH):
                roles = [role for role in ("admin", handler.opt.get("scope")) if role]
            handler.security = [{"bearer": roles}]
            handler.responses = {**problems(403), **(handler.responses or {})}


async def provide_admin(request: Request[Any, Any, State]) -> AdminPrincipal:
    """Litestar dependency ``admin``: the admin who calls; ``opt={"scope": …}`` of the handler must be theirs."""
    if isinstance(known := request.state.get("caller"), AdminPrincipal):
        return known
    verifier = cast("TokenVerifier", request.app.state.admin_verifier)
    caller = await verifier.verify(_token_of(request))
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
