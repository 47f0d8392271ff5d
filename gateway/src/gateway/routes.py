"""The public surface, as data: which path belongs to whom, who may call it, and what it counts against.

What is not in the table does not exist for clients, whatever a service serves. A route is chosen by the decoded
segments of a path that has one reading only, and that same reading is what the service gets.
"""

import re
from enum import StrEnum
from urllib.parse import quote, unquote_to_bytes

import msgspec
from litestar.exceptions import ClientException, HTTPException, MethodNotAllowedException, NotFoundException

from common.http import BODY_BYTES

GATEWAY = "gateway"
PATH_BYTES = 8192
PICTURE_BYTES = 10 * 1024 * 1024
SEGMENTS = 16

_SAFE = "-._~!$&'()*+,=:@"
_SEGMENT = re.compile(rf"(?:[A-Za-z0-9{re.escape(_SAFE)}]|%[0-9A-Fa-f]{{2}})+")
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f/\\;%?#]")
"""What a segment may not hold once decoded: another reader might split, cut or decode it again."""


class Identity(StrEnum):
    """What a route does with an access token."""

    IGNORED = "ignored"
    """Not looked at and not passed on: a stale token must not stop its owner from getting a fresh one."""
    OPTIONAL = "optional"
    """May be absent; one that is there must be valid."""
    REQUIRED = "required"
    ADMIN = "admin"
    """An admin's token is required, which is none anywhere else."""


class Limit(StrEnum):
    """The name of a limit per address, and of its setting."""

    DEFAULT = "default"
    ANALYTICS = "analytics"
    CREDENTIALS = "credentials"
    NONE = "none"


class Route(msgspec.Struct, frozen=True):
    """One operation: ``{name}`` in the template is any one segment."""

    service: str
    method: str
    template: str
    identity: Identity = Identity.OPTIONAL
    limit: Limit = Limit.DEFAULT
    body_bytes: int = BODY_BYTES
    """How long a request's body may be."""
    scope: str | None = None
    """Of a route of the gateway's own, what a token with scopes must have; services ask for theirs."""
    page: bool = False
    """A page of a service, whose own ``Content-Security-Policy`` lets its script run; no other answer runs any."""


def _credentials(template: str) -> Route:
    return Route("auth", "POST", template, Identity.IGNORED, Limit.CREDENTIALS)


def _analytics(template: str) -> Route:
    return Route("analytics", "GET", template, limit=Limit.ANALYTICS)


def _own(service: str, method: str, template: str) -> Route:
    return Route(service, method, template, Identity.REQUIRED)


def _admin(method: str, template: str) -> Route:
    return Route("auth", method, f"/api/v1/admin/{template}", Identity.ADMIN)


TABLE: tuple[Route, ...] = (
    _credentials("/api/v1/auth/register"),
    _credentials("/api/v1/auth/login"),
    _credentials("/api/v1/auth/refresh"),
    _own("auth", "POST", "/api/v1/auth/logout"),
    _own("auth", "POST", "/api/v1/auth/logout-all"),
    _own("auth", "GET", "/api/v1/auth/sessions"),
    _own("auth", "DELETE", "/api/v1/auth/sessions/{session_id}"),
    _credentials("/api/v1/auth/request-verify-token"),
    _credentials("/api/v1/auth/verify"),
    _credentials("/api/v1/auth/forgot-password"),
    _credentials("/api/v1/auth/reset-password"),
    Route("auth", "POST", "/api/v1/users/me/email", Identity.REQUIRED, Limit.CREDENTIALS),
    Route("auth", "POST", "/api/v1/auth/confirm-email", limit=Limit.CREDENTIALS),
    Route("auth", "GET", "/api/v1/auth/check-email", Identity.IGNORED, Limit.CREDENTIALS),
    Route("auth", "GET", "/api/v1/auth/check-username", Identity.IGNORED, Limit.CREDENTIALS),
    Route("auth", "GET", "/verify", Identity.IGNORED, page=True),
    Route("auth", "GET", "/reset-password", Identity.IGNORED, page=True),
    Route("auth", "GET", "/confirm-email", Identity.IGNORED, page=True),
    _own("auth", "GET", "/api/v1/auth/me"),
    _own("auth", "GET", "/api/v1/users/me"),
    _own("auth", "PUT", "/api/v1/users/me"),
    _own("auth", "PATCH", "/api/v1/users/me"),
    _own("auth", "DELETE", "/api/v1/users/me"),
    _own("auth", "PUT", "/api/v1/users/me/password"),
    _own("auth", "GET", "/api/v1/users/me/export"),
    _own("auth", "GET", "/api/v1/users/me/preferences"),
    _own("auth", "PUT", "/api/v1/users/me/preferences"),
    _own("auth", "PUT", "/api/v1/auth/preferences"),
    _own("auth", "GET", "/api/v1/users/search"),
    Route("auth", "GET", "/api/v1/users/{username}/profile"),
    _own("auth", "POST", "/api/v1/users/me/tokens"),
    _own("auth", "GET", "/api/v1/users/me/tokens"),
    _own("auth", "GET", "/api/v1/users/me/tokens/scopes"),
    _own("auth", "DELETE", "/api/v1/users/me/tokens/{token_id}"),
    Route("auth", "PUT", "/api/v1/users/me/avatar", Identity.REQUIRED, body_bytes=PICTURE_BYTES),
    _own("auth", "DELETE", "/api/v1/users/me/avatar"),
    Route("auth", "GET", "/api/v1/users/{user_id}/avatar"),
    Route("auth", "GET", "/.well-known/jwks.json", Identity.IGNORED),
    _credentials("/api/v1/admin/auth/login"),
    _credentials("/api/v1/admin/auth/refresh"),
    _admin("POST", "auth/logout"),
    _admin("POST", "auth/password"),
    _admin("GET", "me"),
    _admin("GET", "users"),
    _admin("POST", "users/bulk"),
    _admin("GET", "users/{user_id}"),
    _admin("PATCH", "users/{user_id}"),
    _admin("PUT", "users/{user_id}"),
    _admin("DELETE", "users/{user_id}"),
    *(
        _admin(method, f"users/{{user_id}}/{act}")
        for method in ("POST", "PATCH")
        for act in ("activate", "deactivate", "block")
    ),
    *(_admin("POST", f"users/{{user_id}}/{act}") for act in ("unlock", "logout", "force-reset", "restore")),
    _admin("GET", "audit"),
    _admin("GET", "admins"),
    _admin("POST", "admins"),
    _admin("PATCH", "admins/{admin_id}"),
    _admin("POST", "admins/{admin_id}/activate"),
    _admin("POST", "admins/{admin_id}/deactivate"),
    Route("ingest", "GET", "/api/v1/races"),
    Route("ingest", "GET", "/api/v1/races/{race_id}"),
    Route("ingest", "GET", "/api/v1/races/{race_id}/results"),
    Route("ingest", "GET", "/api/v1/drivers"),
    Route("ingest", "GET", "/api/v1/constructors"),
    _own("leagues", "POST", "/api/v1/leagues"),
    _own("leagues", "GET", "/api/v1/leagues"),
    _own("leagues", "GET", "/api/v1/leagues/{league_id}"),
    _own("leagues", "POST", "/api/v1/leagues/join"),
    _own("leagues", "POST", "/api/v1/leagues/{league_id}/join"),
    _own("leagues", "POST", "/api/v1/teams"),
    _own("leagues", "GET", "/api/v1/teams"),
    _own("leagues", "GET", "/api/v1/teams/{team_id}"),
    _own("leagues", "PUT", "/api/v1/teams/{team_id}/lineup"),
    _own("leagues", "GET", "/api/v1/teams/{team_id}/lineup"),
    Route("leagues", "GET", "/api/v1/market"),
    Route("leagues", "GET", "/api/v1/rounds/next"),
    Route("scoring", "GET", "/api/v1/leaderboard"),
    _own("scoring", "GET", "/api/v1/leagues/{league_id}/leaderboard"),
    Route("scoring", "GET", "/api/v1/teams/{team_id}/points"),
    Route("scoring", "GET", "/api/v1/rounds/{season}/{round}/scores"),
    Route("scoring", "GET", "/api/v1/rounds/{season}/{round}/explain/{kind}/{asset_id}"),
    Route("scoring", "GET", "/api/v1/prices"),
    Route("scoring", "GET", "/api/v1/rule-sets"),
    _analytics("/api/v1/analytics/schedule"),
    _analytics("/api/v1/analytics/schedule/next"),
    _analytics("/api/v1/analytics/standings/drivers"),
    _analytics("/api/v1/analytics/standings/constructors"),
    _own("webhooks", "POST", "/api/v1/webhooks"),
    _own("webhooks", "GET", "/api/v1/webhooks"),
    _own("webhooks", "GET", "/api/v1/webhooks/{endpoint_id}"),
    _own("webhooks", "PATCH", "/api/v1/webhooks/{endpoint_id}"),
    _own("webhooks", "DELETE", "/api/v1/webhooks/{endpoint_id}"),
    _own("webhooks", "POST", "/api/v1/webhooks/{endpoint_id}/secret"),
    _own("webhooks", "POST", "/api/v1/webhooks/{endpoint_id}/enable"),
    _own("webhooks", "POST", "/api/v1/webhooks/{endpoint_id}/disable"),
    _own("webhooks", "POST", "/api/v1/webhooks/{endpoint_id}/test"),
    _own("webhooks", "GET", "/api/v1/webhooks/{endpoint_id}/deliveries"),
    _own("webhooks", "GET", "/api/v1/webhooks/{endpoint_id}/deliveries/{delivery_id}"),
    _own("webhooks", "POST", "/api/v1/webhooks/{endpoint_id}/deliveries/{delivery_id}/redeliver"),
    Route(GATEWAY, "GET", "/api/v1/stream", scope="stream:read"),
    Route(GATEWAY, "GET", "/openapi.json", Identity.IGNORED),
    Route(GATEWAY, "GET", "/docs", Identity.IGNORED),
    Route(GATEWAY, "GET", "/docs/{asset}", Identity.IGNORED),
    Route(GATEWAY, "GET", "/schemas/events/{name}/{file}", Identity.IGNORED),
    Route(GATEWAY, "GET", "/health", Identity.IGNORED, Limit.NONE),
    Route(GATEWAY, "GET", "/health/live", Identity.IGNORED, Limit.NONE),
    Route(GATEWAY, "GET", "/health/ready", Identity.IGNORED, Limit.NONE),
    Route(GATEWAY, "GET", "/metrics", Identity.IGNORED, Limit.NONE),
)


class Table:
    """Finds the route of a request."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._exact: dict[tuple[str, ...], dict[str, Route]] = {}
        self._patterns: dict[int, list[tuple[tuple[str | None, ...], dict[str, Route]]]] = {}
        by_template: dict[str, dict[str, Route]] = {}
        for route in routes:
            by_template.setdefault(route.template, {})[route.method] = route
        for template, methods in by_template.items():
            segments = tuple(template.strip("/").split("/"))
            if "{" in template:
                pattern = tuple(None if segment.startswith("{") else segment for segment in segments)
                self._patterns.setdefault(len(pattern), []).append((pattern, methods))
            else:
                self._exact[segments] = methods

    def find(self, method: str, segments: tuple[str, ...]) -> Route:
        """Return the route; raise 404 for a path nobody has, 405 with ``Allow`` for a method it has not.

        A path without parameters goes before one with: ``/leagues/join`` is no league.
        """
        methods = self._exact.get(segments) or self._match(segments)
        if methods is None:
            raise NotFoundException
        if route := methods.get(method):
            return route
        raise MethodNotAllowedException(headers={"Allow": ", ".join(sorted(methods))})

    def _match(self, segments: tuple[str, ...]) -> dict[str, Route] | None:
        for pattern, methods in self._patterns.get(len(segments), ()):
            if all(wanted is None or wanted == segment for wanted, segment in zip(pattern, segments, strict=True)):
                return methods
        return None


def read_path(raw: bytes) -> tuple[str, ...]:
    """Split and decode a raw path; raise 400 where two readers could disagree about it, 414 when it is too long.

    Refused are empty and dot segments, encoded separators, control characters, double encoding, path parameters
    (``;``), and bytes that are no UTF-8. One slash at the end is allowed and means nothing.
    """
    if len(raw) > PATH_BYTES:
        raise HTTPException(status_code=414)
    if raw == b"/":
        raise NotFoundException
    first, *parts = raw.decode("latin-1").removesuffix("/").split("/")
    if first or not parts or len(parts) > SEGMENTS:
        raise ClientException
    return tuple(_decoded(part) for part in parts)


def _decoded(part: str) -> str:
    if not _SEGMENT.fullmatch(part):
        raise ClientException
    if "%" not in part:
        segment = part
    else:
        try:
            segment = unquote_to_bytes(part).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ClientException from error
    if segment in {".", ".."} or _AMBIGUOUS.search(segment):
        raise ClientException
    return segment


def canonical(segments: tuple[str, ...]) -> str:
    """Write the path as the service gets it: the one spelling of what was read."""
    return "/" + "/".join(quote(segment, safe=_SAFE) for segment in segments)
