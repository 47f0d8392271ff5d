"""What the gateway adds to every answer: security headers, and leave for browsers of allowed origins."""

from collections.abc import Mapping

from litestar.types import HTTPScope

from common.settings import Environment
from gateway.settings import GatewaySettings

Headers = list[tuple[bytes, bytes]]

API_POLICY = b"default-src 'none'; frame-ancestors 'none'; sandbox"
DEFAULTS: Mapping[bytes, bytes] = {
    b"x-content-type-options": b"nosniff",
    b"content-security-policy": API_POLICY,
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"permissions-policy": b"interest-cohort=()",
    b"cache-control": b"no-store",
}
"""Set where the answer does not say otherwise."""
TRANSPORT = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")

EXPOSED = b"ETag, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
ALLOWED_HEADERS = b"Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Request-Id"
ALLOWED_METHODS = b"GET, POST, PUT, PATCH, DELETE"
PREFLIGHT_SECONDS = b"600"


def header(scope: HTTPScope, wanted: bytes) -> bytes | None:
    """Return the first header of that name."""
    return next((value for name, value in scope["headers"] if name == wanted), None)


class Dress:
    """Completes the headers of answers."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._defaults = dict(DEFAULTS)
        if settings.paddock_env is Environment.PRODUCTION:
            self._defaults |= dict([TRANSPORT])
        self._origins = {origin.encode() for origin in settings.cors_origins}

    def complete(self, headers: Headers, scope: HTTPScope) -> Headers:
        """Return the headers with those that every answer has."""
        present = {name for name, _ in headers}
        missing = [(name, value) for name, value in self._defaults.items() if name not in present]
        return [*headers, *missing, *self._cross_origin(scope)]

    def preflight(self, scope: HTTPScope) -> Headers | None:
        """Return the headers of the answer to a browser's question before a request, if it is one that may ask."""
        asked = scope["method"] == "OPTIONS" and header(scope, b"access-control-request-method") is not None
        if not asked or header(scope, b"origin") not in self._origins:
            return None
        return [
            (b"access-control-allow-methods", ALLOWED_METHODS),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", PREFLIGHT_SECONDS),
        ]

    def _cross_origin(self, scope: HTTPScope) -> Headers:
        if not self._origins:
            return []
        origin = header(scope, b"origin")
        if origin not in self._origins:
            return [(b"vary", b"Origin")]
        return [
            (b"vary", b"Origin"),
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", EXPOSED),
        ]
