"""What the API answers."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

import msgspec

from analytics.domain import Standing
from analytics.queries import ConstructorRow, DriverRow, RaceRow, SessionRow
from common.contracts.ingest import SessionKind


def _driver(driver_id: str, known: Mapping[str, DriverRow]) -> DriverRow:
    """Name a driver; by his id where a result has come before the entry list that names him."""
    return known.get(driver_id) or DriverRow(name=driver_id, code=None, number=None, nationality=None)


def _constructor(constructor_id: str, known: Mapping[str, ConstructorRow]) -> ConstructorRow:
    """Name a constructor, likewise."""
    return known.get(constructor_id) or ConstructorRow(name=constructor_id, nationality=None)


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """A session and its scheduled start, UTC."""

    kind: SessionKind
    starts_at: datetime
    result_version: int | None
    """Which version of its classification is here; absent while there is none."""

    @classmethod
    def of(cls, row: SessionRow) -> "SessionView":
        """Show a row."""
        return cls(kind=row.kind, starts_at=row.starts_at, result_version=row.result_version)


class RaceView(msgspec.Struct, frozen=True, kw_only=True):
    """A race weekend."""

    race_id: str
    round: int
    name: str
    circuit_id: str
    circuit_name: str
    locality: str
    country: str
    sprint: bool
    starts_at: datetime | None
    """When the race itself starts, UTC; midnight where the upstream knows the day only."""
    sessions: list[SessionView]
    """In order of their starts."""

    @classmethod
    def of(cls, row: RaceRow) -> "RaceView":
        """Show a row."""
        return cls(
            race_id=row.race_id,
            round=row.round,
            name=row.name,
            circuit_id=row.circuit_id,
            circuit_name=row.circuit_name,
            locality=row.locality,
            country=row.country,
            sprint=row.sprint,
            starts_at=next((held.starts_at for held in row.sessions if held.kind is SessionKind.RACE), None),
            sessions=[SessionView.of(held) for held in row.sessions],
        )


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A season's race weekends, by their rounds."""

    season: int
    simulated: bool
    """True when the season is invented."""
    races: list[RaceView]


class NextRace(msgspec.Struct, frozen=True, kw_only=True):
    """The weekend of the first race that has not started, and the first of its sessions that has not."""

    season: int
    simulated: bool
    race: RaceView
    next_session: SessionView


class ConstructorName(msgspec.Struct, frozen=True, kw_only=True):
    """A constructor by its id and name."""

    constructor_id: str
    name: str
    """Its id until the entry list names it."""


class DriverStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A driver's place in the championship."""

    position: int | None
    """Absent for a driver with no points and no classified finish."""
    driver_id: str
    name: str
    """His id until the entry list names him."""
    code: str | None
    number: int | None
    nationality: str | None
    constructors: list[ConstructorName]
    """For whom he has driven, in that order."""
    points: Decimal
    wins: int
    """Grands Prix; sprints do not count."""

    @classmethod
    def of(
        cls, standing: Standing, drivers: Mapping[str, DriverRow], constructors: Mapping[str, ConstructorRow]
    ) -> "DriverStanding":
        """Put names to a standing."""
        driver = _driver(standing.competitor_id, drivers)
        return cls(
            position=standing.position,
            driver_id=standing.competitor_id,
            name=driver.name,
            code=driver.code,
            number=driver.number,
            nationality=driver.nationality,
            constructors=[
                ConstructorName(constructor_id=key, name=_constructor(key, constructors).name)
                for key in standing.constructors
            ],
            points=standing.points,
            wins=standing.wins,
        )


class ConstructorStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A constructor's place in the championship."""

    position: int | None
    """Absent for a constructor with no points and no classified finish."""
    constructor_id: str
    name: str
    """Its id until the entry list names it."""
    nationality: str | None
    points: Decimal
    wins: int
    """Grands Prix; sprints do not count."""

    @classmethod
    def of(cls, standing: Standing, constructors: Mapping[str, ConstructorRow]) -> "ConstructorStanding":
        """Put a name to a standing."""
        constructor = _constructor(standing.competitor_id, constructors)
        return cls(
            position=standing.position,
            constructor_id=standing.competitor_id,
            name=constructor.name,
            nationality=constructor.nationality,
            points=standing.points,
            wins=standing.wins,
        )


class RoundBasis(msgspec.Struct, frozen=True, kw_only=True):
    """After which round."""

    season: int
    simulated: bool
    """True when the season is invented."""
    round: int
    race_id: str
    race_name: str
    provisional: bool
    """True until the race of the round has a result; its sprint counts already."""


class DriverStandings(RoundBasis, frozen=True, kw_only=True):
    """The drivers' championship after a round, best first."""

    standings: list[DriverStanding]


class ConstructorStandings(RoundBasis, frozen=True, kw_only=True):
    """The constructors' championship after a round, best first."""

    standings: list[ConstructorStanding]
