"""The service, wired."""

from litestar import Litestar

from analytics.consumers import consumers
from analytics.routes import ROUTES
from analytics.settings import AnalyticsSettings
from common.app import service_app


def create_app(settings: AnalyticsSettings) -> Litestar:
    """Put the service together; nothing connects before it runs."""
    return service_app("analytics", settings, title="Paddock analytics", route_handlers=ROUTES, consumers=consumers)
