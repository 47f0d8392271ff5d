"""The words of scoring: what goes into the engine and the ledger rows that come out. Values only, no I/O."""

from enum import StrEnum
from typing import Annotated

import msgspec

from common.contracts.ingest import SessionKind
from common.contracts.scoring import AssetKind

Count = Annotated[int, msgspec.Meta(ge=0)]
Millis = Annotated[int, msgspec.Meta(gt=0)]


class Component(StrEnum):
    """What a ledger row is for. An asset has at most one row per session and component."""

    POSITION = "position"
    PLACES = "places"
    OVERTAKES = "overtakes"
    FASTEST_LAP = "fastest_lap"
    DRIVER_OF_THE_DAY = "driver_of_the_day"
    NO_TIME = "no_time"
    DNF = "dnf"
    NOT_CLASSIFIED = "nc"
    DNS = "dns"
    DISQUALIFIED = "dsq"
    ABSENT = "absent"
    QUALIFYING_TIER = "qualifying_tier"
    DISQUALIFIED_CARS = "dsq_cars"
    PIT_STOP = "pit_stop"
    FASTEST_PIT_STOP = "fastest_pit_stop"
    PIT_STOP_RECORD = "pit_stop_record"


class ScoredSession(msgspec.Struct, frozen=True, kw_only=True):
    """Which session, and which version of its classification, a score is of."""

    season: int
    round: int
    session: SessionKind
    result_version: int


class Absentee(msgspec.Struct, frozen=True, kw_only=True):
    """A driver of the season who is not in a session's classification at all.

    ``constructor_id`` is set when he was entered for the round and his seat stayed empty: then he counts for the
    constructor too. It is absent when he was not entered, or somebody else sat in his car.
    """

    driver_id: str
    constructor_id: str | None = None


class StationaryStop(msgspec.Struct, frozen=True, kw_only=True):
    """One pit stop: how long the car stood still, in milliseconds. Time in the pit lane is something else."""

    driver_id: str
    constructor_id: str
    millis: Millis


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a classification cannot tell about a session. A field that is ``None`` is not known (yet)."""

    overtakes: dict[str, Count] | None = None
    """Legal passes on track per ``driver_id``; once given, a driver who is not named made none."""
    driver_of_the_day: str | None = None
    """``driver_id``."""
    fastest_lap: str | None = None
    """``driver_id``; goes before ``Car.fastest_lap_rank``."""
    stops: list[StationaryStop] | None = None
    """Every stop of the race; once given, a constructor that is not named made none."""
    no_time_possible: bool = False
    """True when the session's weather let nobody set a time who has not set one."""


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """Points of one asset for one component of one session, and why.

    ``quantity`` counts what the component is about: the place for a driver's position, places won (negative when
    lost), overtakes, milliseconds of a pit stop, the better segment's cars for the qualifying tier, else cars.
    ``missing`` rows carry no points for a fact that is not known yet; the row changes once it is.
    """

    season: int
    round: int
    session: SessionKind
    kind: AssetKind
    asset_id: str
    component: Component
    quantity: int
    points: int
    missing: bool
    explanation: str
    rule_set: str
    rule_hash: str
    result_version: int


class Entry(msgspec.Struct, frozen=True):
    """A ledger row before it knows its session and asset."""

    component: Component
    quantity: int
    points: int
    explanation: str
    missing: bool = False


def signed(points: int) -> str:
    """Write points as a sentence shows them: ``+2``, ``-5``, ``0``."""
    return f"{points:+d}" if points else "0"


def plural(count: int, noun: str) -> str:
    """``1 place``, ``2 places``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
