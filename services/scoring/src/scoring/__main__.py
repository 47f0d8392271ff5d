"""Run scoring: ``python -m scoring``."""

import sys

from common.app import serve
from common.settings import SettingsError
from scoring.app import create_app
from scoring.settings import ScoringSettings


def main() -> None:
    """Serve until told to stop."""
    try:
        settings = ScoringSettings.load()
    except SettingsError as problem:
        sys.exit(str(problem))
    serve("scoring", create_app, settings)


if __name__ == "__main__":
    main()
