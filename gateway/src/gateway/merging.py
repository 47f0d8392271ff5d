"""One OpenAPI document out of those of all services: a pure function of documents.

A name in the merged document depends only on its own service, never on which other services answered, so that a
generated client does not change with the weather.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.routes import GATEWAY, Identity, Limit, Route

Document = dict[str, Any]

SCHEMAS = "#/components/schemas/"
SHARED = frozenset(("Problem", "FieldError"))
"""Schemas of `common.http`, which are the same everywhere."""
TITLE = "Paddock"
VERSION = "1"
ABOUT = (
    "Fantasy Formula 1: accounts, leagues, line-ups, race data, scoring, analytics and webhooks. Every error is a "
    "problem (RFC 9457) with a stable `code`. Limits are told by `RateLimit-Policy` and `RateLimit`; a 429 says when "
    "to come back."
)
GATEWAY_STATUSES = {
    "400": "The path or the headers are malformed",
    "429": "A limit is reached",
    "503": "A service does not answer",
    "504": "A service did not answer in time",
}
TOKEN_STATUSES = {"401": "The access token is not valid"}


def merge(documents: Mapping[str, Document], missing: Sequence[str], routes: Sequence[Route], url: str) -> Document:
    """Merge documents by service; only operations of ``routes`` are taken, for no others can be called.

    ``missing`` are services whose document could not be had, ``url`` is where clients reach the gateway.
    """
    public = {(route.service, route.method, _shape(route.template)): route for route in routes}
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Any] = {}
    for service, document in documents.items():
        document = _renamed(document, _prefix(service))  # noqa: PLW2901 - the service's own words are not needed again
        for path, item in document.get("paths", {}).items():
            for method, operation in item.items():
                if route := public.get((service, method.upper(), _shape(path))):
                    paths.setdefault(path, {})[method] = _operation(service, operation, route)
        for name, schema in document.get("components", {}).get("schemas", {}).items():
            schemas[name if name in SHARED else _prefix(service) + name] = schema
    merged: Document = {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION, "description": _about(missing)},
        "servers": [{"url": url}],
        "tags": [{"name": service} for service in documents],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
    if missing:
        merged["x-missing-services"] = list(missing)
    return merged


def _about(missing: Sequence[str]) -> str:
    if not missing:
        return ABOUT
    return f"{ABOUT}\n\n**Incomplete or out of date:** {', '.join(missing)} did not answer when this was put together."


def _shape(template: str) -> tuple[str | None, ...]:
    segments = template.strip("/").split("/")
    return tuple(None if segment.startswith("{") else segment for segment in segments)


def _prefix(service: str) -> str:
    return service.capitalize()


def _operation(service: str, operation: Document, route: Route) -> Document:
    """Name an operation after its service, and add what the gateway itself may answer."""
    responses = dict(operation.get("responses", {}))
    statuses = dict(GATEWAY_STATUSES)
    if route.identity is not Identity.IGNORED:
        statuses |= TOKEN_STATUSES
    if "requestBody" in operation:
        statuses["413"] = "The body is too long"
    for status, description in statuses.items():
        responses.setdefault(status, _problem(description))
    name = operation.get("operationId") or f"{route.method}_{route.template}"
    merged = {**operation, "tags": [service], "responses": responses, "operationId": f"{service}_{name}"}
    if service == GATEWAY:
        merged["operationId"] = name
    if route.scope:
        merged["security"] = [{}, {"bearer": [route.scope]}]
    if route.limit is not Limit.NONE:
        merged["x-ratelimit-policy"] = route.limit.value
    return merged


def _problem(description: str) -> Document:
    content = {"application/problem+json": {"schema": {"$ref": f"{SCHEMAS}Problem"}}}
    return {"description": description, "content": content}


def _renamed(node: Any, prefix: str) -> Any:  # noqa: ANN401 - any JSON
    """Return a copy whose references to schemas carry the service's prefix."""
    if isinstance(node, dict):
        return {key: _renamed(value, prefix) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(value, prefix) for value in node]
    if isinstance(node, str) and node.startswith(SCHEMAS) and node.removeprefix(SCHEMAS) not in SHARED:
        return f"{SCHEMAS}{prefix}{node.removeprefix(SCHEMAS)}"
    return node
