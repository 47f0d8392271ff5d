"""HTTP as every service speaks it: problem details, request ids, documented errors."""

import re
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import msgspec
import structlog
from litestar import Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from litestar.middleware import ASGIMiddleware
from litestar.openapi.datastructures import ResponseSpec
from litestar.plugins.base import ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from opentelemetry import trace

from common import db, telemetry
from common.errors import (
    ConflictError,
    FieldError,
    ForbiddenError,
    InvalidError,
    LockedError,
    NotFoundError,
    PaddockError,
    StaleError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)
from common.log import get_logger

log = get_logger(__name__)

BODY_BYTES = 1024 * 1024
GRACE_SECONDS = 10
RETRY_SECONDS = 2
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")

STATUS: Mapping[type[PaddockError], int] = {
    InvalidError: 422,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    StaleError: 412,
    LockedError: 423,
    TooManyRequestsError: 429,
    UnavailableError: 503,
}
"""The one table from kind of error to status."""

CODES = {400: "malformed_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed"}
CODES |= {413: "body_too_large", 415: "unsupported_media_type", 429: "rate_limited"}
CODES |= {414: "uri_too_long", 431: "headers_too_large", 504: "upstream_timeout"}

BEARER = [{"bearer": list[str]()}]
"""The `security=` of a route that needs a token."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Problem details (RFC 9457), the body of every error."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldError]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Where a list stands: how many there are in all, and which part this is."""

    total: int
    skip: int
    limit: int


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Document error statuses of a route: ``responses=problems(404, 409)``."""
    return {
        status: ResponseSpec(
            Problem, description=_describe(status), media_type="application/problem+json", generate_examples=False
        )
        for status in statuses
    }


def _describe(status: int) -> str:
    kinds = {code: kind.title for kind, code in STATUS.items()}
    return kinds.get(status) or CODES.get(status, "Error").replace("_", " ").capitalize()


def problem_response(
    status: int,
    code: str,
    title: str,
    detail: str,
    request_id: str,
    *,
    errors: list[FieldError] | None = None,
    headers: dict[str, str] | None = None,
) -> Response[Problem]:
    """Build an error response."""
    body = Problem(
        type=f"urn:paddock:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        request_id=request_id,
        errors=errors or [],
    )
    return Response(body, status_code=status, media_type="application/problem+json", headers=headers)


def request_id_of(scope: Scope) -> str:
    """Return the id that the middleware gave the request."""
    return str(scope.get("state", {}).get("request_id", ""))


def handle_error(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Turn any error into problem details. What is not ours or Litestar's is logged and told without its text."""
    request_id = request_id_of(request.scope)
    if isinstance(error, PaddockError):
        return _own_problem(error, request_id)
    if isinstance(error, HTTPException | SerializationException):
        return _framework_problem(error, request_id)
    if isinstance(error, RecursionError):
        detail = "The body is nested too deeply."
        return problem_response(400, "malformed_request", "Malformed request", detail, request_id)
    if db.is_outage(error):
        log.warning("dependency away", error=repr(error))
        detail = "Something this needs does not answer right now. Try again shortly."
        headers = {"Retry-After": str(RETRY_SECONDS)}
        return problem_response(503, "unavailable", UnavailableError.title, detail, request_id, headers=headers)
    if db.is_bad_value(error):
        detail = "A value cannot be stored: out of range or not text."
        return problem_response(422, "invalid_value", InvalidError.title, detail, request_id)
    log.error("unhandled error", exc_info=error)
    return problem_response(500, "internal_error", "Internal error", "This is a fault of ours.", request_id)


def _own_problem(error: PaddockError, request_id: str) -> Response[Problem]:
    status = STATUS.get(type(error), 500)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = "Bearer"
    return problem_response(
        status, error.code, error.title, error.detail, request_id, errors=error.errors, headers=headers
    )


def _framework_problem(error: HTTPException | SerializationException, request_id: str) -> Response[Problem]:
    if isinstance(error, ValidationException):
        return _shape_problem(_field_errors(error.extra), request_id)
    if isinstance(error.__cause__, msgspec.ValidationError):
        return _shape_problem([FieldError(field="body", message=str(error.__cause__))], request_id)
    if isinstance(error, SerializationException) or isinstance(error.__cause__, msgspec.DecodeError):
        return problem_response(400, "malformed_request", "Malformed request", "The body cannot be read.", request_id)
    code = CODES.get(error.status_code, "http_error")
    title = code.replace("_", " ").capitalize()
    return problem_response(error.status_code, code, title, f"{title}.", request_id, headers=dict(error.headers or {}))


def _shape_problem(errors: list[FieldError], request_id: str) -> Response[Problem]:
    detail = "One or more fields are not acceptable."
    return problem_response(422, "invalid_request", InvalidError.title, detail, request_id, errors=errors)


def _field_errors(extra: Any) -> list[FieldError]:  # noqa: ANN401 - Litestar's type
    items = extra if isinstance(extra, list) else []
    return [
        FieldError(field=str(item.get("key") or "body"), message=str(item.get("message", "not acceptable")))
        for item in items
        if isinstance(item, dict)
    ]


class RequestContext(ASGIMiddleware):
    """Gives each request an id, binds it to the logs, answers with it, writes one access line and counts it.

    It is counted by its route, never by its path; a path without a route never comes here.
    """

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Wrap one request."""
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        method = str(scope.get("method"))
        if route := scope.get("path_template"):
            span = trace.get_current_span()
            span.update_name(f"{method} {route}")
            span.set_attribute("http.route", route)
        started = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await next_app(scope, receive, send_with_id)
            finally:
                seconds = time.perf_counter() - started
                if route:
                    telemetry.REQUESTS.labels(method, route, status).inc()
                    telemetry.REQUEST_SECONDS.labels(method, route).observe(seconds)
                if not scope["path"].startswith(("/health", "/metrics")):
                    log.info("request", method=method, path=scope["path"], status=status, ms=round(seconds * 1000, 1))


class DocumentedErrors(ReceiveRoutePlugin):
    """Adds to every operation the errors that any of them can give, so that the OpenAPI document keeps its word."""

    def receive_route(self, route: BaseRoute) -> None:
        """Complete the `responses` of a route's handlers."""
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else []:
            if not handler.include_in_schema:
                continue
            taken = set(handler.parsed_fn_signature.parameters) - _INJECTED
            statuses = {503}
            statuses |= {401} if handler.security else set()
            statuses |= {422} if taken else set()
            statuses |= {404} if route.path_parameters else set()
            statuses |= {400, 413} if "data" in taken else set()
            handler.responses = {**problems(*sorted(statuses)), **(handler.responses or {})}


_INJECTED = {
    "self",
    "request",
    "state",
    "session",
    "principal",
    "admin",
    "settings",
    "scope",
    "headers",
    "cookies",
    "socket",
}
