"""The rows of a Jolpica body, field for field: every number is a string, and what is unknown is left out.

One set of structs reads recorded bodies and writes ours, so a recorded body survives the round trip unchanged.
"""

from msgspec import UNSET, Struct, UnsetType, field


class Location(Struct, frozen=True):
    """Where a circuit lies; degrees as strings."""

    lat: str
    long: str
    locality: str
    country: str


class Circuit(Struct, frozen=True, rename="camel"):
    """A circuit."""

    circuit_id: str
    url: str
    circuit_name: str
    location: Location = field(name="Location")


class Driver(Struct, frozen=True, rename="camel", kw_only=True):
    """A driver; `permanent_number` is today's, the number of that day stands in the result."""

    driver_id: str
    permanent_number: str | UnsetType = UNSET
    code: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    given_name: str
    family_name: str
    date_of_birth: str | UnsetType = UNSET
    nationality: str | UnsetType = UNSET


class Constructor(Struct, frozen=True, rename="camel", kw_only=True):
    """A constructor."""

    constructor_id: str
    url: str | UnsetType = UNSET
    name: str
    nationality: str | UnsetType = UNSET


class SessionTime(Struct, frozen=True):
    """When a session starts: `2026-03-08` and `04:00:00Z`."""

    date: str
    time: str | UnsetType = UNSET


class RaceTime(Struct, frozen=True):
    """The time at the flag: milliseconds, and `1:31:44.742` for the winner or `+22.457` behind him."""

    time: str
    millis: str | UnsetType = UNSET


class LapTime(Struct, frozen=True):
    """A lap time as `1:32.608`."""

    time: str


class AverageSpeed(Struct, frozen=True):
    """The speed of a fastest lap."""

    units: str
    speed: str


class FastestLap(Struct, frozen=True, kw_only=True):
    """A driver's fastest lap and its rank among all of the race."""

    rank: str | UnsetType = UNSET
    lap: str
    time: LapTime | UnsetType = field(name="Time", default=UNSET)
    average_speed: AverageSpeed | UnsetType = field(name="AverageSpeed", default=UNSET)


class ResultRow(Struct, frozen=True, rename="camel", kw_only=True):
    """One car in a race or a sprint. `position` is numeric even when `position_text` is R, W, D or F."""

    number: str
    position: str
    position_text: str
    points: str
    driver: Driver = field(name="Driver")
    constructor: Constructor = field(name="Constructor")
    grid: str
    laps: str
    status: str
    time: RaceTime | UnsetType = field(name="Time", default=UNSET)
    fastest_lap: FastestLap | UnsetType = field(name="FastestLap", default=UNSET)

    @property
    def classified(self) -> bool:
        """Whether the car has a place, which a retired car can have too."""
        return self.position_text.isdigit()


class QualifyingRow(Struct, frozen=True, kw_only=True):
    """One car in qualifying; a segment without a time is `""`, a segment not reached is missing."""

    number: str
    position: str
    driver: Driver = field(name="Driver")
    constructor: Constructor = field(name="Constructor")
    q1: str | UnsetType = field(name="Q1", default=UNSET)
    q2: str | UnsetType = field(name="Q2", default=UNSET)
    q3: str | UnsetType = field(name="Q3", default=UNSET)


class PitStop(Struct, frozen=True, rename="camel"):
    """One stop; `duration` is the whole way through the pit lane, in seconds."""

    driver_id: str
    lap: str
    stop: str
    time: str
    duration: str | UnsetType = UNSET


class Timing(Struct, frozen=True, rename="camel"):
    """One car on one lap."""

    driver_id: str
    position: str
    time: str


class Lap(Struct, frozen=True):
    """One lap, its cars in the order they crossed the line."""

    number: str
    timings: tuple[Timing, ...] = field(name="Timings", default=())


class Race(Struct, frozen=True, rename="camel", kw_only=True):
    """A race weekend, with its sessions or with the rows of one of them."""

    season: str
    round: str
    url: str | UnsetType = UNSET
    race_name: str
    circuit: Circuit = field(name="Circuit")
    date: str
    time: str | UnsetType = UNSET
    first_practice: SessionTime | UnsetType = field(name="FirstPractice", default=UNSET)
    second_practice: SessionTime | UnsetType = field(name="SecondPractice", default=UNSET)
    third_practice: SessionTime | UnsetType = field(name="ThirdPractice", default=UNSET)
    qualifying: SessionTime | UnsetType = field(name="Qualifying", default=UNSET)
    sprint: SessionTime | UnsetType = field(name="Sprint", default=UNSET)
    sprint_qualifying: SessionTime | UnsetType = field(name="SprintQualifying", default=UNSET)
    sprint_shootout: SessionTime | UnsetType = field(name="SprintShootout", default=UNSET)
    results: tuple[ResultRow, ...] | UnsetType = field(name="Results", default=UNSET)
    sprint_results: tuple[ResultRow, ...] | UnsetType = field(name="SprintResults", default=UNSET)
    qualifying_results: tuple[QualifyingRow, ...] | UnsetType = field(name="QualifyingResults", default=UNSET)
    pit_stops: tuple[PitStop, ...] | UnsetType = field(name="PitStops", default=UNSET)
    laps: tuple[Lap, ...] | UnsetType = field(name="Laps", default=UNSET)


class DriverStanding(Struct, frozen=True, rename="camel", kw_only=True):
    """A driver in the championship; without any classified finish he has no position and the text `-`."""

    position: str | UnsetType = UNSET
    position_text: str
    points: str
    wins: str
    driver: Driver = field(name="Driver")
    constructors: tuple[Constructor, ...] = field(name="Constructors")


class ConstructorStanding(Struct, frozen=True, rename="camel", kw_only=True):
    """A constructor in the championship."""

    position: str | UnsetType = UNSET
    position_text: str
    points: str
    wins: str
    constructor: Constructor = field(name="Constructor")


class Status(Struct, frozen=True, rename="camel"):
    """How many cars ended their race in one way."""

    status_id: str
    count: str
    status: str
