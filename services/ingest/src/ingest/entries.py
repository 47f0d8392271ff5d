"""Who takes part in a season, and who drives for whom, as it is written down."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Table, delete, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from common import outbox
from common.contracts.ingest import SeasonSynced, Stint
from ingest import queries, seats, upstream
from ingest.classification import whole
from ingest.domain import content_hash
from ingest.models import constructors, drivers, seasons, stints


async def upsert(session: AsyncSession, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, and update those that differ; a row that is the same is not written again."""
    if not rows:
        return
    statement = insert(table).values(rows)
    keys = {column.name for column in table.primary_key}
    changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=list(table.primary_key),
            set_=changed,
            where=or_(*(table.c[name].is_distinct_from(value) for name, value in changed.items())),
        )
    )


def driver_row(season: int, driver: upstream.Driver) -> dict[str, Any]:
    """Write a driver as a row."""
    return {
        "season": season,
        "driver_id": driver.driver_id,
        "given_name": driver.given_name,
        "family_name": driver.family_name,
        "code": driver.code or None,
        "number": whole(driver.permanent_number),
        "nationality": driver.nationality or None,
    }


def constructor_row(season: int, constructor: upstream.Constructor) -> dict[str, Any]:
    """Write a constructor as a row."""
    return {
        "season": season,
        "constructor_id": constructor.constructor_id,
        "name": constructor.name,
        "nationality": constructor.nationality or None,
    }


async def add_missing(
    session: AsyncSession,
    season: int,
    found: Iterable[upstream.ResultRow | upstream.QualifyingRow],
) -> None:
    """Add who is in a classification and not yet in the entry list: a newcomer is seen there first."""
    for row in found:
        for table, values in (
            (drivers, driver_row(season, row.driver)),
            (constructors, constructor_row(season, row.constructor)),
        ):
            await session.execute(insert(table).values(values).on_conflict_do_nothing())


async def drop_unlisted(session: AsyncSession, season: int, listed: Iterable[str], table: Table, key: str) -> None:
    """Drop who is neither in the entry list nor has driven."""
    driven = select(stints.c[key]).where(stints.c.season == season)
    unlisted = table.c[key].not_in(list(listed)) & table.c[key].not_in(driven)
    await session.execute(delete(table).where(table.c.season == season, unlisted))


async def replace_stints(session: AsyncSession, season: int, found: Sequence[Stint]) -> None:
    """Write a season's stints down anew when they have changed."""
    if list(found) == await queries.stints_of(session, season):
        return
    await session.execute(delete(stints).where(stints.c.season == season))
    if found:
        rows = [
            {
                "season": season,
                "driver_id": stint.driver_id,
                "constructor_id": stint.constructor_id,
                "from_round": stint.from_round,
                "to_round": stint.to_round,
            }
            for stint in found
        ]
        await session.execute(insert(stints).values(rows))


async def derive_stints(session: AsyncSession, season: int) -> None:
    """Derive a season's stints from its classifications."""
    await replace_stints(session, season, seats.stints(await queries.seen(session, season)))


async def announce(session: AsyncSession, season: int) -> bool:
    """Publish the season as it now stands, when that is not what was published last."""
    row = await queries.lock_season(session, season)
    version = row.season_version + 1
    event = SeasonSynced(
        season=season,
        season_version=version,
        simulated=row.simulated,
        races=await queries.races_of(session, season),
        drivers=await queries.drivers_of(session, season),
        constructors=await queries.constructors_of(session, season),
        stints=await queries.stints_of(session, season),
    )
    content = content_hash([event.simulated, event.races, event.drivers, event.constructors, event.stints])
    if content == row.content_hash:
        return False
    await session.execute(
        seasons.update().where(seasons.c.season == season).values(season_version=version, content_hash=content)
    )
    await outbox.publish(session, event)
    return True
