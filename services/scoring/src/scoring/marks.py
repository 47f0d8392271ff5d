"""Marks of work that waits: points of a round and of all later ones may have changed.

Whoever changes a fact leaves a mark in the same transaction. Marks are only ever added and taken, so a mark that comes
while its round is being scored is not lost, and many marks cost one scoring.
"""

from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from scoring.models import DIRTY_ROUNDS

CHANNEL = "scoring_dirty"
"""NOTIFY channel that wakes the scorer."""


async def leave(session: AsyncSession, season: int, from_round: int) -> None:
    """Ask for a round and all later ones of its season to be scored after the commit."""
    await session.execute(insert(DIRTY_ROUNDS).values(season=season, from_round=from_round))
    await session.execute(text(f"NOTIFY {CHANNEL}"))


async def take(session: AsyncSession, season: int) -> int | None:
    """Take every mark of a season and return the first round among them; they are back if the caller rolls back."""
    taken = delete(DIRTY_ROUNDS).where(DIRTY_ROUNDS.c.season == season).returning(DIRTY_ROUNDS.c.from_round).cte()
    first: int | None = await session.scalar(select(func.min(taken.c.from_round)))
    return first


async def waiting_seasons(session: AsyncSession) -> list[int]:
    """Name the seasons that have marks."""
    rows = await session.scalars(select(DIRTY_ROUNDS.c.season).distinct().order_by(DIRTY_ROUNDS.c.season))
    return list(rows)
