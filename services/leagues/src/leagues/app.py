"""The service, wired."""

from litestar import Litestar

from common.app import service_app
from leagues.consumers import consumers
from leagues.routes import ROUTES
from leagues.settings import LeaguesSettings


def create_app(settings: LeaguesSettings) -> Litestar:
    """Put the service together; nothing connects before it runs."""
    return service_app("leagues", settings, title="Paddock leagues", route_handlers=ROUTES, consumers=consumers)
