"""What `leagues` learns from others. Every function gives the same tables in whatever order the events come."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import and_, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from common import outbox
from common.contracts.ingest import SeasonSynced, SessionStarted
from common.contracts.leagues import LineupsLocked, former_name
from common.contracts.scoring import AssetKind, PricesChanged
from leagues.domain import PlannedRound, plan_round
from leagues.models import Asset, Lock, Price, Round, Season, Seat, Team, User

SETTLED = timedelta(seconds=10)
"""A lock this near is not moved any more, so that nobody can see a round locked and then open again."""


async def sync_season(session: AsyncSession, event: SeasonSynced) -> None:
    """Replace the season by a newer version of it, and set or move the locks of its rounds."""
    row = upsert(Season).values(season=event.season, season_version=event.season_version, simulated=event.simulated)
    taken = await session.execute(
        row.on_conflict_do_update(
            index_elements=[Season.season],
            set_={"season_version": row.excluded.season_version, "simulated": row.excluded.simulated},
            where=Season.season_version < row.excluded.season_version,
        ).returning(Season.season)
    )
    if taken.first() is None:
        return
    planned = [found for race in event.races if (found := plan_round(race)) is not None]
    await _replace(session, event, planned)
    await _set_locks(session, event.season, planned)


async def _replace(session: AsyncSession, event: SeasonSynced, planned: list[PlannedRound]) -> None:
    drivers = [
        {
            "season": event.season,
            "kind": AssetKind.DRIVER.value,
            "asset_id": driver.driver_id,
            "name": f"{driver.given_name} {driver.family_name}".strip(),
            "code": driver.code,
            "number": driver.number,
        }
        for driver in event.drivers
    ]
    constructors = [
        {
            "season": event.season,
            "kind": AssetKind.CONSTRUCTOR.value,
            "asset_id": constructor.constructor_id,
            "name": constructor.name,
            "code": None,
            "number": None,
        }
        for constructor in event.constructors
    ]
    seats = [msgspec.structs.asdict(stint) | {"season": event.season} for stint in event.stints]
    rounds = [
        {
            "season": event.season,
            "round": found.round,
            "race_id": found.race_id,
            "name": found.name,
            "sprint": found.sprint,
            "lock_session": found.lock_session.value,
            "race_starts_at": found.race_starts_at,
            "sessions": msgspec.to_builtins(found.sessions),
        }
        for found in planned
    ]
    rows: dict[type[Asset | Seat | Round], list[dict[str, Any]]] = {
        Asset: drivers + constructors,
        Seat: seats,
        Round: rounds,
    }
    for table, values in rows.items():
        await session.execute(delete(table).where(table.season == event.season))
        if values:
            await session.execute(insert(table), values)


async def _set_locks(session: AsyncSession, season: int, planned: list[PlannedRound]) -> None:
    """Make the locks those of the calendar, except for the ones whose time has come: these stay."""
    rows = await session.execute(
        select(Lock, Lock.lock_at <= func.clock_timestamp() + SETTLED)
        .where(Lock.season == season)
        .order_by(Lock.race_id)
        .with_for_update()
    )
    held = {lock.race_id: (lock, passed) for lock, passed in rows}
    for found in planned:
        lock, passed = held.pop(found.race_id, (None, False))
        if lock is None:
            session.add(Lock(race_id=found.race_id, season=season, round=found.round, lock_at=found.lock_at))
        elif passed or (lock.lock_at, lock.round) == (found.lock_at, found.round):
            continue
        elif await outbox.cancel(session, _slot(found.race_id)):
            lock.lock_at, lock.round = found.lock_at, found.round
        else:
            continue
        await _announce(session, season, found.round, found.race_id, found.lock_at)
    for race_id, (lock, passed) in held.items():
        if not passed and await outbox.cancel(session, _slot(race_id)):
            await session.delete(lock)


async def lock_round(session: AsyncSession, event: SessionStarted) -> None:
    """Lock a round whose session has started before its planned time; at or after that time it is locked already.

    A race weekend that is not here yet needs nothing: the calendar that brings it has a start in the past.
    """
    session_locks = select(Round.race_id).where(
        Round.race_id == event.race_id, Round.lock_session == event.session.value
    )
    lock = await session.scalar(
        select(Lock).where(Lock.race_id.in_(session_locks), Lock.lock_at > func.clock_timestamp()).with_for_update()
    )
    if lock is None or not await outbox.cancel(session, _slot(event.race_id)):
        return
    lock_at = await session.scalar(
        update(Lock).where(Lock.race_id == event.race_id).values(lock_at=func.clock_timestamp()).returning(Lock.lock_at)
    )
    if lock_at is not None:
        await _announce(session, lock.season, lock.round, lock.race_id, lock_at)


async def _announce(session: AsyncSession, season: int, number: int, race_id: str, lock_at: datetime) -> None:
    """Have `lineups.locked` published when the time comes, or at once when it has. The slot holds it until then.

    Nothing calls this for a lock whose event may be on its way: it is either new, or its waiting event was taken back
    in this transaction, which nobody can once the relay has it. So the event is published once.
    """
    event = LineupsLocked(season=season, round=number, race_id=race_id, locked_at=lock_at)
    await outbox.publish(session, event, deliver_at=lock_at, slot=_slot(race_id))


def _slot(race_id: str) -> str:
    return f"lineups.locked:{race_id}"


async def add_prices(session: AsyncSession, event: PricesChanged) -> None:
    """Keep a price list beside the earlier ones; which of them holds is decided when a price is asked for."""
    rows = [
        {
            "season": event.season,
            "kind": priced.kind.value,
            "asset_id": priced.asset_id,
            "price_version": event.price_version,
            "effective_round": event.effective_round,
            "price": priced.price,
        }
        for priced in event.prices
    ]
    if rows:
        await session.execute(upsert(Price).values(rows).on_conflict_do_nothing())


async def name_user(session: AsyncSession, user_id: UUID, username: str, profile_version: int) -> None:
    """Learn a user's name of some version; an older one is ignored, and so is any of somebody who was erased."""
    row = upsert(User).values(user_id=user_id, username=username, profile_version=profile_version)
    newer = row.on_conflict_do_update(
        index_elements=[User.user_id],
        set_={"username": row.excluded.username, "profile_version": row.excluded.profile_version},
        where=and_(~User.erased, User.profile_version < row.excluded.profile_version),
    )
    await session.execute(newer)


async def set_active(session: AsyncSession, user_id: UUID, *, active: bool, at: datetime) -> None:
    """Show or hide a user's name; what happened before what is known is ignored."""
    row = upsert(User).values(user_id=user_id, username=None, profile_version=0, active=active, status_at=at)
    newer = row.on_conflict_do_update(
        index_elements=[User.user_id],
        set_={"active": row.excluded.active, "status_at": row.excluded.status_at},
        where=or_(User.status_at.is_(None), User.status_at < row.excluded.status_at),
    )
    await session.execute(newer)


async def erase_user(session: AsyncSession, user_id: UUID) -> None:
    """Forget who a user was, for good: their name and those of their teams, which play on without one."""
    row = upsert(User).values(user_id=user_id, username=None, profile_version=0, erased=True)
    gone = row.on_conflict_do_update(
        index_elements=[User.user_id], set_={"username": None, "profile_version": 0, "erased": True}
    )
    await session.execute(gone)
    for team in await session.scalars(select(Team).where(Team.user_id == user_id).with_for_update()):
        team.name = former_name(team.team_id)
