"""What the API answers with."""

from datetime import datetime
from decimal import Decimal

import msgspec

from common.contracts.ingest import CarStatus, ResultStatus, Session, SessionKind
from common.http import Page


class AvailableResult(msgspec.Struct, frozen=True, kw_only=True):
    """A session of a race that has a classification."""

    session: SessionKind
    result_version: int


class RaceOut(msgspec.Struct, frozen=True, kw_only=True):
    """A race weekend."""

    race_id: str
    season: int
    round: int
    name: str
    circuit_id: str
    circuit_name: str
    locality: str
    country: str
    sprint: bool
    starts_at: datetime
    """When the race itself starts, UTC; midnight where the upstream knows the day only."""
    sessions: list[Session]
    results: list[AvailableResult]


class RaceList(Page, frozen=True, kw_only=True):
    """A part of a season's races, in order of their rounds."""

    items: list[RaceOut]


class CarOut(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a classification, with names."""

    position: int
    driver_id: str
    driver_name: str
    driver_code: str | None
    constructor_id: str
    constructor_name: str
    number: int | None
    status: CarStatus
    status_text: str
    grid: int | None
    position_change: int | None
    """Places won (positive) or lost from the grid to the flag; nothing for a car that is not classified."""
    laps: int | None
    points: Decimal
    time_millis: int | None
    fastest_lap_rank: int | None
    q1: str | None
    q2: str | None
    q3: str | None


class ResultOut(msgspec.Struct, frozen=True, kw_only=True):
    """The classification of a session as it now stands."""

    race_id: str
    season: int
    round: int
    race_name: str
    session: SessionKind
    result_version: int
    status: ResultStatus
    reason: str | None
    """What the latest version changed."""
    content_hash: str
    observed_at: datetime
    rows: list[CarOut]


class StintOut(msgspec.Struct, frozen=True, kw_only=True):
    """For whom a driver drove, from one round to another, both included; open while it lasts."""

    constructor_id: str
    from_round: int
    to_round: int | None


class DriverOut(msgspec.Struct, frozen=True, kw_only=True):
    """A driver of a season."""

    driver_id: str
    given_name: str
    family_name: str
    code: str | None
    number: int | None
    nationality: str | None
    constructor_id: str | None
    """For whom he drives now."""
    stints: list[StintOut]


class DriverList(Page, frozen=True, kw_only=True):
    """A part of a season's drivers, by their ids."""

    season: int | None
    items: list[DriverOut]


class ConstructorOut(msgspec.Struct, frozen=True, kw_only=True):
    """A constructor of a season."""

    constructor_id: str
    name: str
    nationality: str | None
    drivers: list[str]
    """Who drives for it now, by ``driver_id``."""


class ConstructorList(Page, frozen=True, kw_only=True):
    """A part of a season's constructors, by their ids."""

    season: int | None
    items: list[ConstructorOut]
