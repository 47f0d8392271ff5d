"""Leaderboards, read: everybody of a season, and the teams of a league among themselves."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from common.errors import NotFoundError
from scoring.facts import ScoredRound
from scoring.models import LEAGUE_MEMBERS, LEAGUES, SCORED_ROUNDS, SEASONS, TEAMS, struct_of
from scoring.schemas import Leaderboard, LeaderboardRow
from scoring.standings import LEAGUE_BOARD

_GLOBAL = text("""
SELECT now.rank, before.rank AS rank_before, now.team_id, teams.name, now.round_points, now.total
FROM standings AS now
JOIN teams ON teams.team_id = now.team_id
LEFT JOIN standings AS before ON before.season = now.season AND before.round = :before_round
    AND before.score_version = :before_version AND before.team_id = now.team_id
WHERE now.season = :season AND now.round = :round AND now.score_version = :score_version
  AND now.place > :skip AND now.place <= :skip + :limit
ORDER BY now.place
""")

_LEAGUE = text(f"""
WITH chosen AS (SELECT CAST(:league_id AS uuid) AS league_id), {LEAGUE_BOARD}, before AS (
    SELECT standings.team_id, rank() OVER (ORDER BY standings.total DESC) AS rank
    FROM board JOIN standings ON standings.team_id = board.team_id
    WHERE standings.season = :season AND standings.round = :before_round
      AND standings.score_version = :before_version
)
SELECT ranked.rank, before.rank AS rank_before, ranked.team_id, name, round_points, total
FROM ranked LEFT JOIN before ON before.team_id = ranked.team_id
WHERE place > :skip AND place <= :skip + :limit
ORDER BY place
""")  # noqa: S608 - constants


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list."""

    skip: int
    limit: int


async def snapshot(session: AsyncSession) -> None:
    """Let all queries of the request see one moment: a round is shown before or after a scoring, never in between."""
    await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


async def global_leaderboard(
    session: AsyncSession, season: int | None, number: int | None, window: Window
) -> Leaderboard:
    """Read a page of everybody; without a season the latest that is known, without a round the latest scored."""
    await snapshot(session)
    season = season or await session.scalar(select(func.max(SEASONS.c.season)))
    if season is None:
        return _page([], 0, None, None, None, window)
    now = await scored_round(session, season, number)
    if now is None:
        return await _everybody_at_zero(session, season, window)
    parameters = await _versions(session, season, now) | msgspec.structs.asdict(window)
    rows = (await session.execute(_GLOBAL, parameters)).all()
    return _page(rows, now.teams, season, None, now, window)


async def league_leaderboard(
    session: AsyncSession, league_id: UUID, reader: UUID, number: int | None, window: Window
) -> Leaderboard:
    """Read a page of a league. A private league is shown to its members; to others it does not exist."""
    await snapshot(session)
    season = await _readable_season(session, league_id, reader)
    now = await scored_round(session, season, number)
    members = LEAGUE_MEMBERS.join(TEAMS, (TEAMS.c.team_id == LEAGUE_MEMBERS.c.team_id) & (TEAMS.c.season == season))
    total = await session.scalar(
        select(func.count()).select_from(members).where(LEAGUE_MEMBERS.c.league_id == league_id)
    )
    parameters = await _versions(session, season, now) | msgspec.structs.asdict(window) | {"league_id": league_id}
    rows = (await session.execute(_LEAGUE, parameters)).all()
    return _page(rows, total or 0, season, league_id, now, window)


async def scored_round(session: AsyncSession, season: int, number: int | None) -> ScoredRound | None:
    """Find a round that is scored, or without a number the latest; a number that is not scored is not found."""
    query = select(SCORED_ROUNDS).where(SCORED_ROUNDS.c.season == season, SCORED_ROUNDS.c.sessions != {})
    if number is not None:
        query = query.where(SCORED_ROUNDS.c.round == number)
    row = (await session.execute(query.order_by(SCORED_ROUNDS.c.round.desc()).limit(1))).first()
    if row is None and number is not None:
        raise NotFoundError("round_not_scored", f"Round {number} of {season} has no points yet.")
    return struct_of(row, ScoredRound) if row else None


async def _readable_season(session: AsyncSession, league_id: UUID, reader: UUID) -> int:
    league = (await session.execute(select(LEAGUES).where(LEAGUES.c.league_id == league_id))).first()
    member = select(LEAGUE_MEMBERS.c.user_id).where(
        LEAGUE_MEMBERS.c.league_id == league_id, LEAGUE_MEMBERS.c.user_id == reader
    )
    hidden = league is None or (league.private and league.owner_id != reader and await session.scalar(member) is None)
    if league is None or hidden:
        raise NotFoundError("unknown_league", "There is no such league, or it is not open to you.")
    return int(league.season)


async def _versions(session: AsyncSession, season: int, now: ScoredRound | None) -> dict[str, Any]:
    """Name the standings to read, and those of the round before to compare with; -1 where there are none."""
    before = None
    if now is not None:
        query = select(SCORED_ROUNDS.c.round, SCORED_ROUNDS.c.score_version).where(
            SCORED_ROUNDS.c.season == season, SCORED_ROUNDS.c.round < now.round, SCORED_ROUNDS.c.sessions != {}
        )
        before = (await session.execute(query.order_by(SCORED_ROUNDS.c.round.desc()).limit(1))).first()
    return {
        "season": season,
        "round": now.round if now else -1,
        "score_version": now.score_version if now else -1,
        "before_round": before.round if before else -1,
        "before_version": before.score_version if before else -1,
    }


async def _everybody_at_zero(session: AsyncSession, season: int, window: Window) -> Leaderboard:
    total = await session.scalar(select(func.count()).select_from(TEAMS).where(TEAMS.c.season == season))
    rows = await session.execute(
        text("""
            SELECT 1 AS rank, NULL AS rank_before, team_id, name, 0 AS round_points, 0 AS total
            FROM teams WHERE season = :season ORDER BY name, team_id OFFSET :skip LIMIT :limit
        """),
        {"season": season, **msgspec.structs.asdict(window)},
    )
    return _page(rows.all(), total or 0, season, None, None, window)


def _page(
    rows: Sequence[Any],
    total: int,
    season: int | None,
    league_id: UUID | None,
    now: ScoredRound | None,
    window: Window,
) -> Leaderboard:
    return Leaderboard(
        total=total,
        skip=window.skip,
        limit=window.limit,
        season=season,
        league_id=league_id,
        round=now.round if now else None,
        race_id=now.race_id if now else None,
        score_version=now.score_version if now else None,
        provisional=not (now and now.final),
        scored_at=now.scored_at if now else None,
        items=[_row(row) for row in rows],
    )


def _row(row: Any) -> LeaderboardRow:  # noqa: ANN401 - a row of either statement above
    return LeaderboardRow(
        rank=row.rank,
        change=None if row.rank_before is None else row.rank_before - row.rank,
        team_id=row.team_id,
        team_name=row.name,
        round_points=row.round_points,
        total=row.total,
    )
