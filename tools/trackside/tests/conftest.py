import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from trackside.app import create_app
from trackside.config import Config
from trackside.season import Season
from trackside.server import generated
from trackside.testing import Client, Hands, Serve

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def serve(clock: Hands) -> Serve:
    """Start a server in this process; keywords are those of `Config`."""

    def start(**options: Any) -> AbstractContextManager[Client]:
        return TestClient(create_app(Config(**options), clock))

    return start


@pytest.fixture
def client(serve: Serve) -> Iterator[Client]:
    """The generated season, complete, at its real dates."""
    with serve() as client:
        yield client


@pytest.fixture(scope="session")
def season() -> Season:
    """The generated season of some seed."""
    return generated(2026, seed=7)


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """The folder of recorded data; tests of it are skipped without it."""
    folder = Path(os.environ.get("PADDOCK_RECORDED_DATA", REPOSITORY / ".." / "shared" / "data")).resolve()
    if not (folder / "jolpica").is_dir():
        pytest.skip(f"no recorded Jolpica bodies in {folder} (set PADDOCK_RECORDED_DATA)")
    return folder
