"""Scoring, wired."""

from litestar import Litestar

from common.app import service_app
from scoring import scorer
from scoring.consumers import consumers
from scoring.routes import ROUTES
from scoring.settings import ScoringSettings


def create_app(settings: ScoringSettings) -> Litestar:
    """Build the service."""
    return service_app(
        "scoring",
        settings,
        title="Paddock scoring",
        route_handlers=ROUTES,
        consumers=consumers,
        background=[scorer.run],
    )
