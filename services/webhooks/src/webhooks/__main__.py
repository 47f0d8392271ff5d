"""``python -m webhooks`` runs the service."""

import sys

from common.app import serve
from common.settings import SettingsError
from webhooks.app import create_app
from webhooks.settings import WebhooksSettings


def main() -> None:
    """Run until told to stop."""
    try:
        settings = WebhooksSettings.load()
    except SettingsError as problem:
        sys.exit(str(problem))
    serve("webhooks", create_app, settings)


if __name__ == "__main__":
    main()
