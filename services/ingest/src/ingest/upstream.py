"""Jolpica's bodies as they really are: every number is a string, and what is unknown is missing or empty.

Unknown fields are ignored; a missing or mistyped field that a rule needs makes the whole body unreadable, so that
nothing of it is ever stored.
"""

import datetime as dt
from decimal import Decimal

import msgspec
from msgspec import Struct, field


class Location(Struct, frozen=True):
    """Where a circuit lies."""

    locality: str = ""
    country: str = ""


class Circuit(Struct, frozen=True, rename="camel"):
    """A circuit."""

    circuit_id: str
    circuit_name: str
    location: Location = field(name="Location", default=Location())


class Driver(Struct, frozen=True, rename="camel", kw_only=True):
    """A driver. ``permanent_number`` is today's; the number of a day stands in its result."""

    driver_id: str
    given_name: str
    family_name: str
    code: str | None = None
    permanent_number: str | None = None
    nationality: str | None = None


class Constructor(Struct, frozen=True, rename="camel", kw_only=True):
    """A constructor."""

    constructor_id: str
    name: str
    nationality: str | None = None


class SessionTime(Struct, frozen=True):
    """When a session starts, in UTC; before 2022 the upstream knows the date only."""

    date: dt.date
    time: dt.time | None = None


class FlagTime(Struct, frozen=True):
    """A car's time at the flag; ``millis`` is the whole time, also of cars behind the winner."""

    millis: int | None = None


class FastestLap(Struct, frozen=True):
    """A car's fastest lap; ``rank`` is its place among all of the race."""

    rank: str | None = None


class ResultRow(Struct, frozen=True, rename="camel", kw_only=True):
    """One car in a race or a sprint. ``position`` is numeric even when ``position_text`` is R, W, D, F, E or N."""

    position: int
    position_text: str
    points: Decimal
    grid: int
    laps: int
    status: str
    driver: Driver = field(name="Driver")
    constructor: Constructor = field(name="Constructor")
    number: str | None = None
    time: FlagTime | None = field(name="Time", default=None)
    fastest_lap: FastestLap | None = field(name="FastestLap", default=None)


class QualifyingRow(Struct, frozen=True, kw_only=True):
    """One car in qualifying. A segment without a time is ``""``, a segment that was not reached is missing."""

    position: int
    driver: Driver = field(name="Driver")
    constructor: Constructor = field(name="Constructor")
    number: str | None = None
    q1: str | None = field(name="Q1", default=None)
    q2: str | None = field(name="Q2", default=None)
    q3: str | None = field(name="Q3", default=None)


class Race(Struct, frozen=True, rename="camel", kw_only=True):
    """A race weekend, with its sessions in a calendar, or with the rows of one session in a result."""

    season: int
    round: int
    race_name: str
    circuit: Circuit = field(name="Circuit")
    date: dt.date
    time: dt.time | None = None
    first_practice: SessionTime | None = field(name="FirstPractice", default=None)
    second_practice: SessionTime | None = field(name="SecondPractice", default=None)
    third_practice: SessionTime | None = field(name="ThirdPractice", default=None)
    qualifying: SessionTime | None = field(name="Qualifying", default=None)
    sprint: SessionTime | None = field(name="Sprint", default=None)
    sprint_qualifying: SessionTime | None = field(name="SprintQualifying", default=None)
    sprint_shootout: SessionTime | None = field(name="SprintShootout", default=None)
    results: tuple[ResultRow, ...] = field(name="Results", default=())
    sprint_results: tuple[ResultRow, ...] = field(name="SprintResults", default=())
    qualifying_results: tuple[QualifyingRow, ...] = field(name="QualifyingResults", default=())


class DriverStanding(Struct, frozen=True):
    """A driver in the championship, with his constructors in the order he drove for them."""

    driver: Driver = field(name="Driver")
    constructors: tuple[Constructor, ...] = field(name="Constructors")


class StandingsList(Struct, frozen=True):
    """The standings after a round."""

    drivers: tuple[DriverStanding, ...] = field(name="DriverStandings", default=())


class RaceTable(Struct, frozen=True):
    """Races, or the results of races."""

    races: tuple[Race, ...] = field(name="Races")
    season: int | None = None


class DriverTable(Struct, frozen=True):
    """Drivers."""

    drivers: tuple[Driver, ...] = field(name="Drivers")


class ConstructorTable(Struct, frozen=True):
    """Constructors."""

    constructors: tuple[Constructor, ...] = field(name="Constructors")


class StandingsTable(Struct, frozen=True):
    """Championship standings."""

    lists: tuple[StandingsList, ...] = field(name="StandingsLists")


class Data(Struct, frozen=True, kw_only=True):
    """One page: which rows of how many, and one table. Only a simulator says ``simulated``."""

    limit: int
    offset: int
    total: int
    simulated: bool = False
    races: RaceTable | None = field(name="RaceTable", default=None)
    drivers: DriverTable | None = field(name="DriverTable", default=None)
    constructors: ConstructorTable | None = field(name="ConstructorTable", default=None)
    standings: StandingsTable | None = field(name="StandingsTable", default=None)


class _Envelope(Struct, frozen=True):
    data: Data = field(name="MRData")


_DECODER = msgspec.json.Decoder(_Envelope, strict=False)


def decode(body: bytes) -> Data:
    """Read a page; raise `msgspec.MsgspecError` or `UnicodeDecodeError` when it is none."""
    return _DECODER.decode(body).data
