"""Run `auth`."""

from auth.app import create_app
from auth.settings import AuthSettings
from common.app import serve


def main() -> None:
    """Serve until told to stop."""
    serve("auth", create_app, AuthSettings.load())


if __name__ == "__main__":
    main()
