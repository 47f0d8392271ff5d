"""``python -m ingest``."""

from common.app import serve
from ingest.app import create_app
from ingest.settings import IngestSettings


def main() -> None:
    """Run the service until told to stop."""
    serve("ingest", create_app, IngestSettings.load())


if __name__ == "__main__":
    main()
