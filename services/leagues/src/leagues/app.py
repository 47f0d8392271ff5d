"""The service, wired."""

from litestar import Litestar
from litestar.di import Provide

from common.app import service_app
from leagues.consumers import consumers
from leagues.routes import ROUTES, provide_settings
from leagues.settings import LeaguesSettings


def create_app(settings: LeaguesSettings) -> Litestar:
    """Put the service together; nothing connects before it runs."""
    return service_app(
        "leagues",
        settings,
        title="Paddock leagues",
        route_handlers=ROUTES,
        consumers=consumers,
        dependencies={"settings": Provide(provide_settings)},
    )
