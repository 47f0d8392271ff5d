"""The table of routes is true: every public operation of every service leads to that service, and no more."""

import importlib
from functools import cache
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate

from common import migrate
from gateway.app import create_app
from gateway.merging import merge
from gateway.routes import GATEWAY, TABLE, Identity, Table, read_path
from gateway.settings import GatewaySettings

SERVICES = migrate.SERVICES
SAMPLE = "7b0c6a52-30a5-4a0e-9f0b-0d6f5b0f8f11"


@cache
def document(service: str) -> dict[str, Any]:
    """The service's own OpenAPI document; the test is skipped where the service is not installed."""
    app = pytest.importorskip(f"{service}.app", reason=f"{service} is not installed here")
    settings = importlib.import_module(f"{service}.settings")
    kind = getattr(settings, f"{service.capitalize()}Settings")
    schema: dict[str, Any] = app.create_app(kind()).openapi_schema.to_schema()
    return schema


def operations(service: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in document(service).get("paths", {}).items()
        for method, operation in item.items()
    }


def filled(path: str) -> bytes:
    return "/".join(SAMPLE if segment.startswith("{") else segment for segment in path.split("/")).encode()


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_of_a_service_is_routed_to_that_service(service: str) -> None:
    table = Table(TABLE)
    found = {call: table.find(call[0], read_path(filled(call[1]))).service for call in operations(service)}
    assert found == dict.fromkeys(found, service)
    assert found


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_of_a_service_is_an_operation_of_it(service: str) -> None:
    served = {(method, filled(path)) for method, path in operations(service)}
    routed = {(route.method, filled(route.template)) for route in TABLE if route.service == service}
    assert routed - served == set()


@pytest.mark.parametrize("service", SERVICES)
def test_a_token_is_required_here_exactly_where_the_service_requires_it(service: str) -> None:
    table = Table(TABLE)
    required = {call: bool(operation.get("security")) for call, operation in operations(service).items()}
    here = {call: table.find(call[0], read_path(filled(call[1]))).identity for call in required}
    assert {call: identity in {Identity.REQUIRED, Identity.ADMIN} for call, identity in here.items()} == required
    admins = {call for call, identity in here.items() if identity is Identity.ADMIN}
    assert admins == {call for call in required if call[1].startswith("/api/v1/admin/") and required[call]}


def test_every_route_of_the_gateway_itself_is_served_by_it() -> None:
    app = create_app(GatewaySettings())
    served = {path for path in app.local.route_handler_method_map if path.split("/")[1] != "schema"}
    shapes = {"/".join("*" if "{" in segment else segment for segment in path.split("/")) for path in served}
    own = {route.template for route in TABLE if route.service == GATEWAY}
    assert {"/".join("*" if "{" in segment else segment for segment in path.split("/")) for path in own} == shapes


def test_the_merged_document_of_the_real_services_is_valid_and_has_every_route() -> None:
    own = create_app(GatewaySettings()).local.openapi_schema.to_schema()
    documents = {**{service: document(service) for service in SERVICES}, GATEWAY: own}
    merged = msgspec.json.decode(msgspec.json.encode(merge(documents, [], TABLE, "/")))
    validate(merged)
    operations = [operation for item in merged["paths"].values() for operation in item.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    described = {(method.upper(), filled(path)) for path, item in merged["paths"].items() for method in item}
    hidden = {"/openapi.json", "/docs", "/docs/{asset}", "/health", "/health/live", "/health/ready", "/metrics"}
    hidden.add("/schemas/events/{name}/{file}")
    assert described == {(route.method, filled(route.template)) for route in TABLE if route.template not in hidden}
