"""A season out of a folder of recorded Jolpica bodies.

The folder has one folder per season: `races.json`, `drivers.json`, `constructors.json`, `circuits.json`, `status.json`,
and per round `results/`, `qualifying/`, `sprint/`, `pitstops/`, `driverstandings/`, `constructorstandings/{round}.json`
and `laps/{round}/{offset}.json`, the pages of its laps. All but `races.json` may be missing in part.
"""

from collections import defaultdict
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import UNSET, Struct, field

from trackside.bodies import (
    Circuit,
    Constructor,
    ConstructorStanding,
    Driver,
    DriverStanding,
    Lap,
    Race,
    Status,
    Timing,
)
from trackside.season import Season, Weekend
from trackside.statuses import STATUS_IDS


class RecordingError(Exception):
    """The folder is not what `--recorded` needs; the message says what is missing where."""


class RaceTable(Struct, frozen=True):
    """The races of a body."""

    races: tuple[Race, ...] = field(name="Races", default=())


class StandingsList(Struct, frozen=True):
    """The standings after one round."""

    drivers: tuple[DriverStanding, ...] = field(name="DriverStandings", default=())
    constructors: tuple[ConstructorStanding, ...] = field(name="ConstructorStandings", default=())


class StandingsTable(Struct, frozen=True):
    """The standings of a body."""

    lists: tuple[StandingsList, ...] = field(name="StandingsLists", default=())


class DriverTable(Struct, frozen=True):
    """The drivers of a body."""

    drivers: tuple[Driver, ...] = field(name="Drivers", default=())


class ConstructorTable(Struct, frozen=True):
    """The constructors of a body."""

    constructors: tuple[Constructor, ...] = field(name="Constructors", default=())


class CircuitTable(Struct, frozen=True):
    """The circuits of a body."""

    circuits: tuple[Circuit, ...] = field(name="Circuits", default=())


class StatusTable(Struct, frozen=True):
    """The statuses of a body."""

    statuses: tuple[Status, ...] = field(name="Status", default=())


class Data(Struct, frozen=True):
    """What `MRData` holds; one table of these, by what was asked."""

    races: RaceTable = field(name="RaceTable", default=RaceTable())
    standings: StandingsTable = field(name="StandingsTable", default=StandingsTable())
    drivers: DriverTable = field(name="DriverTable", default=DriverTable())
    constructors: ConstructorTable = field(name="ConstructorTable", default=ConstructorTable())
    circuits: CircuitTable = field(name="CircuitTable", default=CircuitTable())
    statuses: StatusTable = field(name="StatusTable", default=StatusTable())


class Envelope(Struct, frozen=True):
    """A whole body."""

    data: Data = field(name="MRData")


Rows = TypeVar("Rows")
NOTHING = Data()


def _read(path: Path) -> Data:
    """A body, or an empty one where there is no such file."""
    if not path.is_file():
        return NOTHING
    try:
        return msgspec.json.decode(path.read_bytes(), type=Envelope).data
    except msgspec.MsgspecError as error:
        raise RecordingError(f"{path} is not a Jolpica body: {error}") from error


def _given(rows: tuple[Rows, ...] | msgspec.UnsetType) -> tuple[Rows, ...]:
    return () if rows is UNSET else rows


def _laps(folder: Path) -> tuple[Lap, ...]:
    """The pages of a race's laps put together; a lap can be split over two of them."""
    timings: defaultdict[str, list[Timing]] = defaultdict(list)
    for page in sorted(folder.glob("*.json"), key=lambda path: int(path.stem)):
        for race in _read(page).races.races:
            for lap in _given(race.laps):
                timings[lap.number].extend(lap.timings)
    return tuple(Lap(number=number, timings=tuple(rows)) for number, rows in timings.items())


def _weekend(folder: Path, race: Race) -> Weekend:
    def read(kind: str) -> Data:
        return _read(folder / kind / f"{race.round}.json")

    def body(kind: str) -> Race:
        return next(iter(read(kind).races.races), race)

    drivers = next(iter(read("driverstandings").standings.lists), None)
    constructors = next(iter(read("constructorstandings").standings.lists), None)
    return Weekend(
        race=race,
        qualifying=_given(body("qualifying").qualifying_results),
        sprint=_given(body("sprint").sprint_results),
        results=_given(body("results").results),
        pit_stops=_given(body("pitstops").pit_stops),
        laps=_laps(folder / "laps" / race.round),
        driver_standings=None if drivers is None else drivers.drivers,
        constructor_standings=None if constructors is None else constructors.constructors,
    )


def load(root: Path, year: int) -> Season:
    """Read the season of a year.

    Raises:
        RecordingError: the folder or its `races.json` is missing, or a file is not a Jolpica body.
    """
    folder = root / str(year)
    if not root.is_dir():
        raise RecordingError(f"there is no folder {root}")
    if not (folder / "races.json").is_file():
        known = ", ".join(sorted(path.parent.name for path in root.glob("*/races.json"))) or "none"
        raise RecordingError(f"{root} has no recorded season {year} ({folder.name}/races.json); seasons there: {known}")
    races = _read(folder / "races.json").races.races
    if not races:
        raise RecordingError(f"{folder / 'races.json'} lists no race")
    recorded_ids = {row.status: row.status_id for row in _read(folder / "status.json").statuses.statuses}
    weekends = tuple(_weekend(folder, race) for race in sorted(races, key=lambda race: int(race.round)))
    return Season(
        year=year,
        simulated=False,
        weekends=weekends,
        drivers=_read(folder / "drivers.json").drivers.drivers,
        constructors=_read(folder / "constructors.json").constructors.constructors,
        circuits=_read(folder / "circuits.json").circuits.circuits,
        status_ids=STATUS_IDS | recorded_ids,
        first_seats=weekends[0].seats,
    )
