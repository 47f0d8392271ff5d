"""The events that `analytics` listens to. In whatever order they come, and however often, the tables are the same."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Table, delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from analytics.models import CARS, CONSTRUCTORS, DRIVERS, RACES, RESULTS, SEASONS, SESSIONS
from common.consumers import Consumers
from common.contracts.ingest import ResultsAmended, ResultsSynced, SeasonSynced

consumers = Consumers("analytics")


@consumers.on(SeasonSynced)
async def store_season(event: SeasonSynced, session: AsyncSession) -> None:
    """Replace a season by a newer version of it: the calendar and the entry list."""
    header = {"season": event.season, "season_version": event.season_version, "simulated": event.simulated}
    if not await _is_newer(session, SEASONS, header, version="season_version"):
        return
    for table in (RACES, DRIVERS, CONSTRUCTORS):
        await session.execute(delete(table).where(table.c.season == event.season))
    for table, facts in ((RACES, event.races), (DRIVERS, event.drivers), (CONSTRUCTORS, event.constructors)):
        await _add(session, table, ({**msgspec.structs.asdict(fact), "season": event.season} for fact in facts))
    sessions = (
        {"race_id": race.race_id, "kind": held.kind, "starts_at": held.starts_at}
        for race in event.races
        for held in race.sessions
    )
    await _add(session, SESSIONS, sessions)


@consumers.on(ResultsSynced, ResultsAmended)
async def store_result(event: ResultsSynced | ResultsAmended, session: AsyncSession) -> None:
    """Replace a session's classification by a newer version of it."""
    key = {"race_id": event.race_id, "session": event.session}
    header = {
        **key,
        "result_version": event.result_version,
        "status": event.status,
        "observed_at": event.observed_at,
    }
    if not await _is_newer(session, RESULTS, header, version="result_version"):
        return
    await session.execute(delete(CARS).where(CARS.c.race_id == event.race_id, CARS.c.session == event.session))
    cars = enumerate(event.classification, start=1)
    await _add(session, CARS, ({**msgspec.structs.asdict(car), **key, "place": place} for place, car in cars))


async def _is_newer(session: AsyncSession, table: Table, header: Mapping[str, Any], *, version: str) -> bool:
    """Store a header unless one of the same or a higher version is there; the row is locked until the commit."""
    row = insert(table).values(header)
    newer = row.on_conflict_do_update(
        index_elements=table.primary_key.columns,
        set_={name: row.excluded[name] for name in header},
        where=table.c[version] < row.excluded[version],
    )
    stored = await session.execute(newer.returning(table.c[version]))
    return stored.first() is not None


async def _add(session: AsyncSession, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows, each cut to the columns that the table has."""
    columns = set(table.c.keys())
    values = [{name: value for name, value in row.items() if name in columns} for row in rows]
    if values:
        await session.execute(insert(table), values)
