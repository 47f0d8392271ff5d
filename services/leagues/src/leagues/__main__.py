"""``python -m leagues`` runs the service."""

from common.app import serve
from leagues.app import create_app
from leagues.settings import LeaguesSettings


def main() -> None:
    """Run until told to stop."""
    serve("leagues", create_app, LeaguesSettings.load())


if __name__ == "__main__":
    main()
