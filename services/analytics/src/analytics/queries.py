"""What is read, by name. Nothing here writes or locks."""

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Row, ScalarSelect, Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from analytics.domain import POINTS_SESSIONS, Outcome
from analytics.models import CARS, CONSTRUCTORS, DRIVERS, RACES, RESULTS, SEASONS, SESSIONS
from common.contracts.ingest import CarStatus, SessionKind
from common.errors import NotFoundError


class SeasonRow(NamedTuple):
    """A season that is here."""

    season: int
    simulated: bool


async def season_of(session: AsyncSession, wanted: int | None) -> SeasonRow:
    """Return the season that was asked for, or the latest; raise `NotFoundError` when it is not here."""
    query = select(SEASONS.c.season, SEASONS.c.simulated).order_by(SEASONS.c.season.desc()).limit(1)
    if wanted is not None:
        query = query.where(SEASONS.c.season == wanted)
    row = (await session.execute(query)).one_or_none()
    if row is None and wanted is None:
        raise NotFoundError("no_season", "No season has arrived yet. Try again when the calendar is there.")
    if row is None:
        raise NotFoundError("unknown_season", f"There is no season {wanted} here.")
    return SeasonRow(*row)


class SessionRow(NamedTuple):
    """A session of a race weekend; ``ahead`` tells whether its start is still to come by the database's clock."""

    kind: SessionKind
    starts_at: datetime
    result_version: int | None
    ahead: bool


class RaceRow(NamedTuple):
    """A race weekend with its sessions, in order of their starts."""

    race_id: str
    season: int
    round: int
    name: str
    circuit_id: str
    circuit_name: str
    locality: str
    country: str
    sprint: bool
    sessions: list[SessionRow]


def _weekends() -> Select[Any]:
    """Read races, sessions and the clock in one statement, so that they belong together."""
    result = (RESULTS.c.race_id == SESSIONS.c.race_id) & (RESULTS.c.session == SESSIONS.c.kind)
    ahead = (SESSIONS.c.starts_at > func.statement_timestamp()).label("ahead")
    return (
        select(RACES, SESSIONS.c.kind, SESSIONS.c.starts_at, RESULTS.c.result_version, ahead)
        .outerjoin(SESSIONS, SESSIONS.c.race_id == RACES.c.race_id)
        .outerjoin(RESULTS, result)
        .order_by(RACES.c.round, SESSIONS.c.starts_at, SESSIONS.c.kind)
    )


def _races(rows: Iterable[Row[Any]]) -> list[RaceRow]:
    races = []
    for _, group in groupby(rows, attrgetter("race_id")):
        weekend = list(group)
        sessions = [
            SessionRow(SessionKind(row.kind), row.starts_at, row.result_version, row.ahead)
            for row in weekend
            if row.kind is not None
        ]
        facts = {column.name: getattr(weekend[0], column.name) for column in RACES.columns}
        races.append(RaceRow(**facts, sessions=sessions))
    return races


async def races_of(session: AsyncSession, season: int) -> list[RaceRow]:
    """List a season's race weekends by their rounds."""
    return _races(await session.execute(_weekends().where(RACES.c.season == season)))


async def next_race(session: AsyncSession) -> RaceRow:
    """Return the weekend of the first race, of any season, whose start is still to come by the database's clock."""
    following = (
        select(SESSIONS.c.race_id)
        .where(SESSIONS.c.kind == SessionKind.RACE, SESSIONS.c.starts_at > func.statement_timestamp())
        .order_by(SESSIONS.c.starts_at, SESSIONS.c.race_id)
        .limit(1)
        .scalar_subquery()
    )
    races = _races(await session.execute(_weekends().where(RACES.c.race_id == following)))
    if not races:
        raise NotFoundError("no_next_race", "No calendar that is here has a race ahead.")
    return races[0]


class RankedRound(NamedTuple):
    """The round after which standings are asked for. ``provisional`` until its race has a result."""

    season: int
    simulated: bool
    round: int
    race_id: str
    name: str
    provisional: bool


async def ranked_round(session: AsyncSession, season: int | None, wanted: int | None) -> RankedRound:
    """Return the round that was asked for, or the latest whose race has a result.

    Without a season it is looked for in the latest that has a race result. Raises `NotFoundError` when there are no
    standings after it.
    """
    raced = func.bool_or(RESULTS.c.session == SessionKind.RACE)
    query = (
        select(RACES.c.season, SEASONS.c.simulated, RACES.c.round, RACES.c.race_id, RACES.c.name, ~raced)
        .join(SEASONS, SEASONS.c.season == RACES.c.season)
        .join(RESULTS, RESULTS.c.race_id == RACES.c.race_id)
        .where(RESULTS.c.session.in_(POINTS_SESSIONS))
        .group_by(RACES.c.race_id, SEASONS.c.season)
        .order_by(RACES.c.season.desc(), RACES.c.round.desc())
        .limit(1)
    )
    query = query.where(RACES.c.season == (_latest_raced() if season is None else season))
    query = query.having(raced) if wanted is None else query.where(RACES.c.round == wanted)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise await _no_standings(session, season, wanted)
    return RankedRound(*row)


def _latest_raced() -> ScalarSelect[int]:
    return (
        select(func.max(RACES.c.season))
        .join(RESULTS, RESULTS.c.race_id == RACES.c.race_id)
        .where(RESULTS.c.session == SessionKind.RACE)
        .scalar_subquery()
    )


async def _no_standings(session: AsyncSession, season: int | None, wanted: int | None) -> NotFoundError:
    found = await season_of(session, season)
    if wanted is None:
        return NotFoundError("no_standings", f"No race of {found.season} has a result yet.")
    query = select(RACES.c.race_id).where(RACES.c.season == found.season, RACES.c.round == wanted)
    if await session.scalar(query) is None:
        return NotFoundError("unknown_round", f"{found.season} has no round {wanted}.")
    return NotFoundError("no_standings", f"Round {wanted} of {found.season} has no result yet.")


async def outcomes(session: AsyncSession, season: int, last_round: int) -> list[Outcome]:
    """List what every car brought home up to a round: by rounds, the sprint before the race, as classified.

    The calendar says what belongs to the season and in which order; a result of a race that it does not name waits.
    """
    rows = await session.execute(
        select(CARS.c.driver_id, CARS.c.constructor_id, CARS.c.session, CARS.c.position, CARS.c.status, CARS.c.points)
        .join(RACES, RACES.c.race_id == CARS.c.race_id)
        .where(
            RACES.c.season == season,
            RACES.c.round <= last_round,
            CARS.c.session.in_(POINTS_SESSIONS),
        )
        .order_by(RACES.c.round, CARS.c.session == SessionKind.RACE, CARS.c.place)
    )
    return [
        Outcome(driver_id, constructor_id, SessionKind(kind), position, CarStatus(status), points)
        for driver_id, constructor_id, kind, position, status, points in rows
    ]


class DriverRow(NamedTuple):
    """A driver of a season."""

    name: str
    code: str | None
    number: int | None
    nationality: str | None


async def drivers_of(session: AsyncSession, season: int) -> dict[str, DriverRow]:
    """Map the ids of a season's drivers to who they are."""
    rows = await session.execute(select(DRIVERS).where(DRIVERS.c.season == season))
    return {
        row.driver_id: DriverRow(f"{row.given_name} {row.family_name}".strip(), row.code, row.number, row.nationality)
        for row in rows
    }


class ConstructorRow(NamedTuple):
    """A constructor of a season."""

    name: str
    nationality: str | None


async def constructors_of(session: AsyncSession, season: int) -> dict[str, ConstructorRow]:
    """Map the ids of a season's constructors to who they are."""
    rows = await session.execute(select(CONSTRUCTORS).where(CONSTRUCTORS.c.season == season))
    return {row.constructor_id: ConstructorRow(row.name, row.nationality) for row in rows}
