"""Reads."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Select, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from common.contracts.ingest import Car, Constructor, Driver, Race, ResultStatus, Session, SessionKind, Stint
from ingest.models import constructors, drivers, races, results, seasons, sessions, stints
from ingest.polling import POLLED, Watch
from ingest.seats import Seen
from ingest.weekends import KnownRace, in_order

RowT = TypeVar("RowT")


class SeasonRow(msgspec.Struct, frozen=True, kw_only=True):
    """A season as it was last announced, and when its calendar was last seen."""

    season: int
    season_version: int
    content_hash: str
    simulated: bool
    checked_at: datetime | None


class RaceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A race weekend without its sessions."""

    race_id: str
    season: int
    round: int
    name: str
    circuit_id: str
    circuit_name: str
    locality: str
    country: str
    sprint: bool
    date: date


class ResultRow(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a classification."""

    race_id: str
    session: SessionKind
    result_version: int
    status: ResultStatus
    reason: str | None
    content_hash: str
    observed_at: datetime
    classification: list[Car]


async def _rows(session: AsyncSession, query: Select[Any], kind: type[RowT]) -> list[RowT]:
    found = await session.execute(query)
    return [msgspec.convert(row, kind) for row in found.mappings()]


async def latest_season(session: AsyncSession) -> int | None:
    """Return the latest season there is."""
    latest: int | None = await session.scalar(select(func.max(seasons.c.season)))
    return latest


async def lock_season(session: AsyncSession, season: int) -> SeasonRow:
    """Read a season and keep every other writer of it waiting until the transaction ends."""
    query = select(seasons).where(seasons.c.season == season).with_for_update()
    return (await _rows(session, query, SeasonRow))[0]


async def has_results(session: AsyncSession, season: int) -> bool:
    """Tell whether any session of a season has a classification."""
    query = select(results.c.race_id).join(races, races.c.race_id == results.c.race_id)
    return await session.scalar(query.where(races.c.season == season).limit(1)) is not None


async def count_races(session: AsyncSession, season: int) -> int:
    """Count a season's races."""
    return await session.scalar(select(func.count()).where(races.c.season == season)) or 0


async def races_of(session: AsyncSession, season: int, *, skip: int = 0, limit: int | None = None) -> list[Race]:
    """List a season's races in order of their rounds."""
    query = select(races).where(races.c.season == season).order_by(races.c.round).offset(skip).limit(limit)
    return await _with_sessions(session, await _rows(session, query, RaceRow))


async def race(session: AsyncSession, race_id: str) -> tuple[RaceRow, Race] | None:
    """Find one race."""
    found = await _rows(session, select(races).where(races.c.race_id == race_id), RaceRow)
    if not found:
        return None
    return found[0], (await _with_sessions(session, found))[0]


async def _with_sessions(session: AsyncSession, found: Sequence[RaceRow]) -> list[Race]:
    query = select(sessions.c.race_id, sessions.c.kind, sessions.c.starts_at).where(
        sessions.c.race_id.in_([row.race_id for row in found])
    )
    held: dict[str, list[Session]] = {row.race_id: [] for row in found}
    for row in await session.execute(query):
        held[row.race_id].append(Session(kind=SessionKind(row.kind), starts_at=row.starts_at))
    return [
        Race(
            race_id=row.race_id,
            round=row.round,
            name=row.name,
            circuit_id=row.circuit_id,
            circuit_name=row.circuit_name,
            locality=row.locality,
            country=row.country,
            sprint=row.sprint,
            sessions=in_order(held[row.race_id]),
        )
        for row in found
    ]


async def known_races(session: AsyncSession, season: int) -> list[KnownRace]:
    """List what a season's races are recognised by."""
    query = select(races.c.race_id, races.c.circuit_id, races.c.date).where(races.c.season == season)
    return await _rows(session, query, KnownRace)


async def drivers_of(session: AsyncSession, season: int) -> list[Driver]:
    """List a season's drivers by their ids."""
    query = select(*_columns(drivers.c, Driver)).where(drivers.c.season == season).order_by(drivers.c.driver_id)
    return await _rows(session, query, Driver)


async def constructors_of(session: AsyncSession, season: int) -> list[Constructor]:
    """List a season's constructors by their ids."""
    query = select(*_columns(constructors.c, Constructor)).where(constructors.c.season == season)
    return await _rows(session, query.order_by(constructors.c.constructor_id), Constructor)


async def stints_of(session: AsyncSession, season: int) -> list[Stint]:
    """List a season's stints by driver and round."""
    query = select(*_columns(stints.c, Stint)).where(stints.c.season == season)
    return await _rows(session, query.order_by(stints.c.driver_id, stints.c.from_round), Stint)


def _columns(table: Any, kind: type[msgspec.Struct]) -> list[Any]:  # noqa: ANN401 - a table's columns
    return [table[name] for name in kind.__struct_fields__]


async def latest_result(session: AsyncSession, race_id: str, kind: SessionKind) -> ResultRow | None:
    """Read the version of a classification that holds."""
    query = (
        select(*_columns(results.c, ResultRow))
        .where(results.c.race_id == race_id, results.c.session == kind)
        .order_by(results.c.result_version.desc())
        .limit(1)
    )
    found = await _rows(session, query, ResultRow)
    return found[0] if found else None


async def versions_of(session: AsyncSession, race_ids: Sequence[str]) -> dict[str, dict[SessionKind, int]]:
    """Tell which sessions of some races have a classification, and in which version."""
    query = (
        select(results.c.race_id, results.c.session, func.max(results.c.result_version).label("version"))
        .where(results.c.race_id.in_(race_ids))
        .group_by(results.c.race_id, results.c.session)
    )
    found: dict[str, dict[SessionKind, int]] = {race_id: {} for race_id in race_ids}
    for row in await session.execute(query):
        found[row.race_id][SessionKind(row.session)] = row.version
    return found


async def seen(session: AsyncSession, season: int) -> list[Seen]:
    """List who was in which classification of a season, and for whom."""
    latest = (
        select(results.c.race_id, results.c.session, results.c.classification)
        .distinct(results.c.race_id, results.c.session)
        .order_by(results.c.race_id, results.c.session, results.c.result_version.desc())
        .subquery()
    )
    car = func.jsonb_array_elements(latest.c.classification).table_valued("value", name="car").render_derived()
    query = (
        select(
            races.c.round,
            func.extract("epoch", sessions.c.starts_at).label("starts_at"),
            car.c.value.op("->>")("driver_id").label("driver_id"),
            car.c.value.op("->>")("constructor_id").label("constructor_id"),
        )
        .select_from(latest)
        .join(races, races.c.race_id == latest.c.race_id)
        .join(sessions, (sessions.c.race_id == latest.c.race_id) & (sessions.c.kind == latest.c.session))
        .join(car, true())
        .where(races.c.season == season)
    )
    found = await session.execute(query)
    return [Seen(row.round, float(row.starts_at), row.driver_id, row.constructor_id) for row in found]


async def watches(session: AsyncSession) -> list[Watch]:
    """List every session whose result is asked for, of all seasons, in order of their starts."""
    known = select(results.c.race_id, results.c.session).distinct().subquery()
    query = (
        select(
            races.c.season,
            sessions.c.race_id,
            sessions.c.kind,
            sessions.c.starts_at,
            sessions.c.checked_at,
            sessions.c.failed_at,
            known.c.race_id.is_not(None).label("has_result"),
        )
        .join(races, races.c.race_id == sessions.c.race_id)
        .outerjoin(known, (known.c.race_id == sessions.c.race_id) & (known.c.session == sessions.c.kind))
        .where(sessions.c.kind.in_(POLLED))
        .order_by(sessions.c.starts_at)
    )
    return await _rows(session, query, Watch)
