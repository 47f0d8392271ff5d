"""Run auth: ``python -m auth``."""

import sys

from auth.app import create_app
from auth.settings import AuthSettings
from common.app import serve
from common.settings import SettingsError


def main() -> None:
    """Serve until told to stop."""
    try:
        settings = AuthSettings.load()
    except SettingsError as problem:
        sys.exit(str(problem))
    serve("auth", create_app, settings)


if __name__ == "__main__":
    main()
