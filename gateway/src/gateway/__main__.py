"""Run the gateway."""

from common.app import serve
from gateway.app import create_app
from gateway.settings import GatewaySettings


def main() -> None:
    """Run until told to stop."""
    serve("gateway", create_app, GatewaySettings.load())


if __name__ == "__main__":
    main()
