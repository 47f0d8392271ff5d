"""Marks of work that waits: points of a round and of all later ones may have changed.

Whoever changes a fact leaves a mark in the same transaction. Marks are only ever added and taken, so a mark that comes
while its round is being scored is not lost, and many marks cost one scoring.
"""

import msgspec
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from common import telemetry
from scoring.models import DIRTY_ROUNDS

CHANNEL = "scoring_dirty"
"""NOTIFY channel that wakes the scorer."""


async def leave(session: AsyncSession, season: int, from_round: int) -> None:
    """Ask for a round and all later ones of its season to be scored after the commit."""
    cause = telemetry.current_traceparent()
    await session.execute(insert(DIRTY_ROUNDS).values(season=season, from_round=from_round, traceparent=cause))
    await session.execute(text(f"NOTIFY {CHANNEL}"))


CAUSES = 33
_TAKE = text(f"""
WITH taken AS (DELETE FROM dirty_rounds WHERE season = :season RETURNING id, from_round, traceparent)
SELECT min(from_round) AS start,
       (array_agg(traceparent ORDER BY id) FILTER (WHERE traceparent IS NOT NULL))[1:{CAUSES}] AS causes
FROM taken
""")  # noqa: S608 - a constant


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """The marks of a season."""

    start: int
    """The first round among them."""
    causes: list[str]
    """The traces that left them, the one that waited longest first; of very many the first ones."""


async def take(session: AsyncSession, season: int) -> Taken | None:
    """Take every mark of a season; they are back if the caller rolls back."""
    row = (await session.execute(_TAKE, {"season": season})).one()
    return None if row.start is None else Taken(start=row.start, causes=list(dict.fromkeys(row.causes or [])))


async def waiting_seasons(session: AsyncSession) -> list[int]:
    """Name the seasons that have marks."""
    rows = await session.scalars(select(DIRTY_ROUNDS.c.season).distinct().order_by(DIRTY_ROUNDS.c.season))
    return list(rows)
