"""Whose teams they are matters here for one thing: who was erased leaves no name of theirs behind.

A team may be told of after its owner's end was. So the end is kept, and both wait for each other.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from common.contracts.leagues import former_name
from scoring import marks
from scoring.models import FORMER_OWNERS, TEAMS

LOCK_KEY = 7_301_301
"""First half of the advisory lock's key; the second is a hash of the schema."""
FIRST_ROUND = 1


async def former(session: AsyncSession, user_ids: Collection[UUID]) -> set[UUID]:
    """Return who of them was erased; until the transaction ends, no other is."""
    await session.execute(select(func.pg_advisory_xact_lock_shared(LOCK_KEY, func.hashtext(func.current_schema()))))
    found = select(FORMER_OWNERS.c.user_id).where(FORMER_OWNERS.c.user_id.in_(user_ids))
    return set(await session.scalars(found))


async def forget(session: AsyncSession, user_id: UUID) -> None:
    """Give the teams of somebody who was erased the name that every service gives them.

    Teams with equal points stand in the order of their names, so the rounds are ranked anew.
    """
    await session.execute(select(func.pg_advisory_xact_lock(LOCK_KEY, func.hashtext(func.current_schema()))))
    await session.execute(insert(FORMER_OWNERS).values(user_id=user_id).on_conflict_do_nothing())
    teams = await session.execute(
        select(TEAMS.c.team_id, TEAMS.c.season, TEAMS.c.name).where(TEAMS.c.user_id == user_id)
    )
    seasons = set()
    for team in teams.all():
        if team.name != former_name(team.team_id):
            renamed = update(TEAMS).where(TEAMS.c.team_id == team.team_id).values(name=former_name(team.team_id))
            await session.execute(renamed)
            seasons.add(team.season)
    for season in sorted(seasons):
        await marks.leave(session, season, FIRST_ROUND)
