"""How long a request's body may be: the gateway and the service behind it say the same of every route."""

import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from analytics.app import create_app as analytics
from analytics.settings import AnalyticsSettings
from auth.app import create_app as auth
from auth.settings import AuthSettings
from gateway.routes import GATEWAY, TABLE
from ingest.app import create_app as ingest
from ingest.settings import IngestSettings
from leagues.app import create_app as leagues
from leagues.settings import LeaguesSettings
from scoring.app import create_app as scoring
from scoring.settings import ScoringSettings
from webhooks.app import create_app as webhooks
from webhooks.settings import WebhooksSettings

LONGER = {("PUT", "/api/v1/users/me/avatar"): 10 * 1024 * 1024}


def apps() -> dict[str, Litestar]:
    return {
        "analytics": analytics(AnalyticsSettings()),
        "auth": auth(AuthSettings()),
        "ingest": ingest(IngestSettings()),
        "leagues": leagues(LeaguesSettings()),
        "scoring": scoring(ScoringSettings()),
        "webhooks": webhooks(WebhooksSettings()),
    }


def shape(path: str) -> tuple[str, ...]:
    return tuple("{}" if part.startswith("{") else part for part in path.strip("/").split("/"))


def limits(app: Litestar) -> dict[tuple[str, tuple[str, ...]], int | None]:
    """What each operation of a service takes, in bytes."""
    return {
        (method, shape(route.path_format)): handler.resolve_request_max_body_size()
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if isinstance(handler, HTTPRouteHandler)
        for method in handler.http_methods
    }


@pytest.fixture(scope="module")
def served() -> dict[str, dict[tuple[str, tuple[str, ...]], int | None]]:
    return {service: limits(app) for service, app in apps().items()}


def test_gateway_and_service_take_bodies_of_the_same_length(
    served: dict[str, dict[tuple[str, tuple[str, ...]], int | None]],
) -> None:
    for route in TABLE:
        if route.service != GATEWAY:
            inside = served[route.service][route.method, shape(route.template)]
            assert (route.method, route.template, inside) == (route.method, route.template, route.body_bytes)


def test_whatever_is_no_picture_takes_a_mebibyte(
    served: dict[str, dict[tuple[str, tuple[str, ...]], int | None]],
) -> None:
    longer = {(method, shape(path)): length for (method, path), length in LONGER.items()}
    for operations in served.values():
        for operation, length in operations.items():
            assert (operation, length) == (operation, longer.get(operation, 1024 * 1024))
