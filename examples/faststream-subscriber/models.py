"""The events and their parts, from the schemas of an AsyncAPI document. What they do not name is ignored."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec


class RaceFinished(msgspec.Struct, frozen=True, kw_only=True):
    """The first classification of a Grand Prix is in; it may still change."""

    season: int
    """The championship's year."""
    round: int
    """Number of the race weekend within the season, from 1."""
    race_id: str
    """`{season}-{circuit}`; it survives a change of the round's number."""
    name: str
    """Name for people."""
    winner: str
    """`driver_id` of the provisional winner."""
    podium: list[str]
    """`driver_id` of the first three, in order."""


class SessionKind(StrEnum):
    """A session of a race weekend."""

    FP1 = "fp1"
    FP2 = "fp2"
    FP3 = "fp3"
    QUALIFYING = "qualifying"
    RACE = "race"
    SPRINT = "sprint"
    SPRINT_QUALIFYING = "sprint_qualifying"


class SessionVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Which version of a session's classification went into a score."""

    session: SessionKind
    """Which session of the weekend."""
    result_version: int
    """Counts the versions of a session's classification, from 1; the highest is the truth."""


class AssetKind(StrEnum):
    """What a team can hold."""

    CONSTRUCTOR = "constructor"
    DRIVER = "driver"


class AssetPoints(msgspec.Struct, frozen=True, kw_only=True):
    """Points of one asset over a round so far."""

    kind: AssetKind
    """Which kind; see the values."""
    asset_id: str
    """`driver_id` or `constructor_id`, as `kind` says."""
    points: int
    """Points."""


class RaceScored(msgspec.Struct, frozen=True, kw_only=True):
    """A round's points were computed: after each session, and again after each amendment."""

    season: int
    """The championship's year."""
    round: int
    """Number of the race weekend within the season, from 1."""
    race_id: str
    """`{season}-{circuit}`; it survives a change of the round's number."""
    score_version: int
    """Counts the computations of the round that changed something; the highest is the truth."""
    rule_set: str
    """Name of the rules that were applied."""
    sessions: list[SessionVersion]
    """The sessions, each with its own data."""
    final: bool
    """True once the race itself is among `sessions`; before, the points are those of the weekend so far."""
    assets: list[AssetPoints]
    """The points of each driver and constructor."""
    teams: int
    """How many teams were scored."""
    scored_at: datetime
    """When the points were computed, RFC 3339 in UTC."""


class ResultStatus(StrEnum):
    """How settled a classification is."""

    AMENDED = "amended"
    FINAL = "final"
    PROVISIONAL = "provisional"


class CarStatus(StrEnum):
    """How a car's session ended."""

    DNF = "dnf"
    DNS = "dns"
    DSQ = "dsq"
    FINISHED = "finished"
    LAPPED = "lapped"
    NC = "nc"


class Car(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a classification."""

    driver_id: str
    """Stable id of the driver."""
    constructor_id: str
    """Stable id of the constructor."""
    number: int | None
    """The car's number."""
    position: int
    """The place in the upstream's list, numeric even for a retirement; `status` tells whether it is classified."""
    status: CarStatus
    """How it stands; see the values."""
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
    """Best lap of the first part of qualifying, as `m:ss.fff`."""
    q2: str | None = None
    """Best lap of the second part."""
    q3: str | None = None
    """Best lap of the third part."""


class ResultsSynced(msgspec.Struct, frozen=True, kw_only=True):
    """A session has its first classification: every car, in order."""

    season: int
    """The championship's year."""
    round: int
    """Number of the race weekend within the season, from 1."""
    race_id: str
    """`{season}-{circuit}`; it survives a change of the round's number."""
    session: SessionKind
    """Which session of the weekend."""
    result_version: int
    """Counts the versions of this session's classification, from 1; the highest is the truth."""
    status: ResultStatus
    """How it stands; see the values."""
    content_hash: str
    """SHA-256 of the canonical classification, in hex."""
    observed_at: datetime
    """When the upstream was seen to say so, RFC 3339 in UTC."""
    classification: list[Car]
    """Every car, in order of its place."""


class ResultsAmended(msgspec.Struct, frozen=True, kw_only=True):
    """A session's classification changed after it was published: penalties, disqualifications, corrections."""

    season: int
    """The championship's year."""
    round: int
    """Number of the race weekend within the season, from 1."""
    race_id: str
    """`{season}-{circuit}`; it survives a change of the round's number."""
    session: SessionKind
    """Which session of the weekend."""
    result_version: int
    """Counts the versions of this session's classification, from 1; the highest is the truth."""
    status: ResultStatus
    """How it stands; see the values."""
    content_hash: str
    """SHA-256 of the canonical classification, in hex."""
    observed_at: datetime
    """When the upstream was seen to say so, RFC 3339 in UTC."""
    classification: list[Car]
    """Every car, in order of its place."""
    reason: str
    """What changed, in words: `max_verstappen disqualified (was P1)`."""
