"""What `ingest` publishes: the calendar and the truth about every session."""

from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

import msgspec

from common.contracts.event import Event, Instant


class SessionKind(StrEnum):
    """A session of a race weekend."""

    FP1 = "fp1"
    FP2 = "fp2"
    FP3 = "fp3"
    SPRINT_QUALIFYING = "sprint_qualifying"
    SPRINT = "sprint"
    QUALIFYING = "qualifying"
    RACE = "race"


class CarStatus(StrEnum):
    """How a car's session ended. ``lapped`` is classified, one or more laps down."""

    FINISHED = "finished"
    LAPPED = "lapped"
    DNF = "dnf"
    NOT_CLASSIFIED = "nc"
    DNS = "dns"
    DISQUALIFIED = "dsq"


class ResultStatus(StrEnum):
    """How settled a classification is."""

    PROVISIONAL = "provisional"
    FINAL = "final"
    AMENDED = "amended"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One session and its scheduled start (UTC)."""

    kind: SessionKind
    starts_at: Instant


class Race(msgspec.Struct, frozen=True, kw_only=True):
    """One race weekend of the calendar. ``race_id`` is ``{season}-{circuit}`` and survives a change of round number."""

    race_id: str
    round: int
    name: str
    circuit_id: str
    circuit_name: str
    locality: str
    country: str
    sprint: bool
    sessions: list[Session]
    """In order of their starts."""


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """A driver, by the stable id of the upstream."""

    driver_id: str
    given_name: str
    family_name: str
    code: str | None
    number: int | None
    nationality: str | None


class Constructor(msgspec.Struct, frozen=True, kw_only=True):
    """A constructor, by the stable id of the upstream."""

    constructor_id: str
    name: str
    nationality: str | None


class Stint(msgspec.Struct, frozen=True, kw_only=True):
    """Who drives for whom: from one round to another, both included; ``to_round`` is open while the stint lasts."""

    driver_id: str
    constructor_id: str
    from_round: int
    """The first round of the stint."""
    to_round: int | None
    """The last round of the stint; null while it lasts."""


class Car(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a classification."""

    driver_id: str
    constructor_id: str
    number: int | None
    position: int
    """The place in the upstream's list, numeric even for a retirement; ``status`` tells whether it is classified."""
    status: CarStatus
    status_text: str
    """The upstream's own words."""
    grid: int | None = None
    """The place on the official starting grid, absent in qualifying; a pit-lane start is the row the upstream lists."""
    laps: int | None = None
    """Laps completed."""
    points: Decimal = Decimal(0)
    """Points of the championship, not of the game; a decimal in a string, because half points exist."""
    time_millis: int | None = None
    """Time from start to flag, in milliseconds."""
    fastest_lap_rank: int | None = None
    """The place of the car's fastest lap among all; 1 is the fastest lap of the race."""
    q1: str | None = None
    """Best lap of the first part of qualifying, as ``m:ss.fff``."""
    q2: str | None = None
    """Best lap of the second part."""
    q3: str | None = None
    """Best lap of the third part."""


class SeasonSynced(Event, frozen=True, kw_only=True):
    """The calendar, the entry list or a seat changed; the whole season as it now stands."""

    subject: ClassVar[str] = "season.synced"
    source: ClassVar[str] = "ingest"

    season: int
    season_version: int
    """Counts the changes of the season; a consumer ignores a version that is not newer than the one it has."""
    simulated: bool
    """True when the upstream is a simulator and the season is invented."""
    races: list[Race]
    drivers: list[Driver]
    constructors: list[Constructor]
    stints: list[Stint]

    def key(self) -> str:
        """Order is kept per season."""
        return str(self.season)


class SessionStarted(Event, frozen=True, kw_only=True):
    """A session's scheduled start has come."""

    subject: ClassVar[str] = "session.started"
    source: ClassVar[str] = "ingest"

    season: int
    round: int
    race_id: str
    session: SessionKind
    starts_at: Instant

    def key(self) -> str:
        """Order is kept per race weekend."""
        return self.race_id


class RaceFinished(Event, frozen=True, kw_only=True):
    """The first classification of a Grand Prix is in; it may still change."""

    subject: ClassVar[str] = "race.finished"
    source: ClassVar[str] = "ingest"

    season: int
    round: int
    race_id: str
    name: str
    winner: str
    """``driver_id`` of the provisional winner."""
    podium: list[str]
    """``driver_id`` of the first three, in order."""

    def key(self) -> str:
        """Order is kept per race weekend."""
        return self.race_id


class _Results(Event, frozen=True, kw_only=True):
    season: int
    round: int
    race_id: str
    session: SessionKind
    result_version: int
    """Counts the versions of this session's classification, from 1; the highest is the truth."""
    status: ResultStatus
    content_hash: str
    """SHA-256 of the canonical classification, in hex."""
    observed_at: Instant
    classification: list[Car]

    def key(self) -> str:
        """Order is kept per race weekend."""
        return self.race_id


class ResultsSynced(_Results, frozen=True, kw_only=True):
    """A session has its first classification: every car, in order."""

    subject: ClassVar[str] = "results.synced"
    source: ClassVar[str] = "ingest"


class ResultsAmended(_Results, frozen=True, kw_only=True):
    """A session's classification changed after it was published: penalties, disqualifications, corrections."""

    subject: ClassVar[str] = "results.amended"
    source: ClassVar[str] = "ingest"

    reason: str
    """What changed, in words: ``max_verstappen disqualified (was P1)``."""
