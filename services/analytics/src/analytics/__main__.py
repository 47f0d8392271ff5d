"""``python -m analytics`` runs the service."""

from analytics.app import create_app
from analytics.settings import AnalyticsSettings
from common.app import serve


def main() -> None:
    """Run until told to stop."""
    serve("analytics", create_app, AnalyticsSettings.load())


if __name__ == "__main__":
    main()
