"""Recorded bodies of the real upstream, where there are any, and rows made by hand."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingest import upstream


def _recorded(name: str) -> Path:
    root = Path(__file__).parents[3]
    folder = Path(os.environ.get("PADDOCK_RECORDED_DATA", root / "../shared/data")) / name
    if not folder.is_dir():
        pytest.skip(f"no recorded Jolpica bodies at {folder}; set PADDOCK_RECORDED_DATA")
    return folder


@pytest.fixture(scope="session")
def recorded() -> Path:
    """Two seasons, as the upstream rendered them."""
    return _recorded("jolpica")


@pytest.fixture(scope="session")
def live_samples() -> Path:
    """Answers of the live upstream, word for word."""
    return _recorded("jolpica_live_samples")


def _body(content: dict[str, Any], *, total: int, limit: int = 100, offset: int = 0) -> bytes:
    data = {"xmlns": "", "series": "f1", "limit": str(limit), "offset": str(offset), "total": str(total), **content}
    return msgspec.json.encode({"MRData": data})


def _result_row(driver_id: str = "lauda", constructor_id: str = "ferrari", **changes: Any) -> dict[str, Any]:
    row = {
        "number": "12",
        "position": "1",
        "positionText": "1",
        "points": "25",
        "Driver": {"driverId": driver_id, "givenName": "A", "familyName": driver_id.title()},
        "Constructor": {"constructorId": constructor_id, "name": constructor_id.title()},
        "grid": "1",
        "laps": "57",
        "status": "Finished",
        **changes,
    }
    return {key: value for key, value in row.items() if value is not None}


def _race(rows: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    race: dict[str, Any] = {
        "season": "2024",
        "round": "1",
        "raceName": "Bahrain Grand Prix",
        "Circuit": {
            "circuitId": "bahrain",
            "circuitName": "Bahrain International Circuit",
            "Location": {"locality": "Sakhir", "country": "Bahrain"},
        },
        "date": "2024-03-02",
        "time": "15:00:00Z",
        **changes,
    }
    return race if rows is None else {**race, "Results": rows}


@pytest.fixture(scope="session")
def body() -> Callable[..., bytes]:
    """Write a body: what its table holds, and which rows of how many."""
    return _body


@pytest.fixture(scope="session")
def result_row() -> Callable[..., dict[str, Any]]:
    """Write a row of a race as the upstream does; ``None`` leaves a field out."""
    return _result_row


@pytest.fixture(scope="session")
def race_body() -> Callable[..., dict[str, Any]]:
    """Write a race as the upstream does."""
    return _race


@pytest.fixture(scope="session")
def race() -> Callable[..., upstream.Race]:
    """Read a race as the upstream writes it, with changes to its fields."""
    return lambda **changes: msgspec.convert(_race(**changes), upstream.Race, strict=False)


@pytest.fixture(scope="session")
def rows() -> Callable[..., list[upstream.ResultRow]]:
    """Read rows of a race as the upstream writes them."""
    return lambda *found: [msgspec.convert(row, upstream.ResultRow, strict=False) for row in found]
