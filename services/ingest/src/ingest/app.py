"""The service, wired."""

from litestar import Litestar

from common.app import service_app
from ingest.poller import poll
from ingest.routes import handlers
from ingest.settings import IngestSettings


def create_app(settings: IngestSettings) -> Litestar:
    """Build the application; nothing connects before it runs."""
    return service_app("ingest", settings, title="Paddock ingest", route_handlers=handlers, background=[poll])
