"""Scoring, for a rebuild: standings from facts that were replayed into a schema beside the real one.

Its sessions see the rebuilt tables by their plain names; those that people read are named with their schema.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from scoring import marks, rounds, standings
from scoring.models import LEDGER, SCORED_ROUNDS, STANDINGS

_BASIS = "race_id, rule_set, rule_hash, sessions, final, teams, points_mark, standings_mark"
"""What makes a round's scoring, but for its version and its time."""

_AGREED = f"""
SELECT season, round, rebuilt.score_version AS rebuilt_version, live.score_version, live.scored_at
FROM scored_rounds AS rebuilt JOIN scoring.scored_rounds AS live USING (season, round)
WHERE ({", ".join(f"rebuilt.{name}" for name in _BASIS.split(", "))})
    IS NOT DISTINCT FROM ({", ".join(f"live.{name}" for name in _BASIS.split(", "))})
"""  # noqa: S608 - constants
_TAKE_VERSION = f"""
UPDATE standings SET score_version = agreed.score_version FROM ({_AGREED}) AS agreed
WHERE (standings.season, standings.round, standings.score_version)
    = (agreed.season, agreed.round, agreed.rebuilt_version) AND agreed.score_version <> agreed.rebuilt_version
"""  # noqa: S608 - constants
_TAKE_TIME = f"""
UPDATE scored_rounds SET score_version = agreed.score_version, scored_at = agreed.scored_at FROM ({_AGREED}) AS agreed
WHERE (scored_rounds.season, scored_rounds.round) = (agreed.season, agreed.round)
"""  # noqa: S608 - constants
_DISPUTED = f"""
SELECT season, round FROM (
    SELECT season, round FROM scored_rounds UNION SELECT season, round FROM scoring.scored_rounds
) AS known WHERE (season, round) NOT IN (SELECT season, round FROM ({_AGREED}) AS agreed)
"""  # noqa: S608 - constants


async def score_all(session: AsyncSession) -> None:
    """Score every round that the rebuilt facts ask for; events about it go nowhere."""
    for season in await marks.waiting_seasons(session):
        while await rounds.score_next(session, season, league_events=0) is not None:
            await session.execute(text("ANALYZE standings"))  # the next round joins them; nobody else will in time
        await standings.prune(session, season)


async def adopt(session: AsyncSession) -> None:
    """Make the rebuilt scoring what the real one may become at once.

    A round that comes out as it stands keeps its version and its time. One that does not stays as it stands, and the
    scorer is asked to score it from the rebuilt facts: so it gets its next version, and subscribers hear of it.
    """
    disputed = [tuple(row) for row in await session.execute(text(_DISPUTED))]
    for statement in (_TAKE_VERSION, _TAKE_TIME):
        await session.execute(text(statement))
    for season, number in disputed:
        one = {"season": season, "round": number}
        for table in (LEDGER, SCORED_ROUNDS, STANDINGS):
            where = "WHERE season = :season AND round = :round"
            await session.execute(text(f"DELETE FROM {table.name} {where}"), one)  # noqa: S608 - our own table
            names = ", ".join(table.c.keys())
            kept = f"INSERT INTO {table.name} ({names}) SELECT {names} FROM scoring.{table.name} {where}"  # noqa: S608
            await session.execute(text(kept), one)
    for season in sorted({season for season, _ in disputed}):
        first = min(number for year, number in disputed if year == season)
        mark = "INSERT INTO scoring.dirty_rounds (season, from_round) VALUES (:season, :round)"
        await session.execute(text(mark), {"season": season, "round": first})
        await session.execute(text(f"NOTIFY {marks.CHANNEL}"))
