"""The service, wired."""

from litestar import Litestar
from litestar.di import Provide

from common.app import service_app
from webhooks.consumers import consumers
from webhooks.routes import ROUTES, provide_endpoints
from webhooks.service import Endpoints
from webhooks.settings import WebhooksSettings
from webhooks.targets import Guard
from webhooks.worker import send_webhooks


def create_app(settings: WebhooksSettings) -> Litestar:
    """Put the service together; nothing connects before it runs."""
    app = service_app(
        "webhooks",
        settings,
        title="Paddock webhooks",
        route_handlers=ROUTES,
        consumers=consumers,
        background=[send_webhooks],
        dependencies={"endpoints": Provide(provide_endpoints)},
    )
    app.state.guard = Guard(settings)
    app.state.endpoints = Endpoints(settings, app.state.guard)
    return app
