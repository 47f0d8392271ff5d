"""Standings of a round, computed where the teams are: one statement for all of them, whatever their number.

`scoring.teams` says the same plainly, and tests hold these statements to it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import ARRAY, Integer, Uuid, bindparam, delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from common.contracts.scoring import AssetKind, Standing
from scoring.models import ASSETS, STANDINGS

LEADERS = 10


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a round's standings."""

    season: int
    round: int
    score_version: int


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: how many teams, and fingerprints of their points of the round and of the whole standings."""

    teams: int
    points_mark: str
    standings_mark: str


class LeagueTop(msgspec.Struct, frozen=True, kw_only=True):
    """The first rows of a league's leaderboard."""

    league_id: UUID
    members: int
    leaders: list[Standing]


_WRITE = text("""
WITH in_force AS (
    SELECT DISTINCT ON (team_id) team_id, slots FROM lineups
    WHERE season = :season AND effective_round <= :round
    ORDER BY team_id, lineup_version DESC
), scored AS MATERIALIZED (
    SELECT teams.team_id, teams.name, coalesce(before.total, 0) AS carried,
           coalesce((SELECT sum((CAST(:points AS integer[]))[slot]) FROM unnest(in_force.slots) AS slot), 0) AS points
    FROM teams
    LEFT JOIN in_force ON in_force.team_id = teams.team_id
    LEFT JOIN standings AS before ON before.season = :season AND before.round = :before_round
        AND before.score_version = :before_version AND before.team_id = teams.team_id
    WHERE teams.season = :season AND (
        CAST(:locked_at AS timestamptz) IS NULL OR teams.created_at < CAST(:locked_at AS timestamptz)
        OR in_force.team_id IS NOT NULL OR before.team_id IS NOT NULL)
), written AS (
    INSERT INTO standings (season, round, score_version, team_id, round_points, total, rank, place)
    SELECT :season, :round, :score_version, team_id, points, carried + points,
           rank() OVER (ORDER BY carried + points DESC),
           row_number() OVER (ORDER BY carried + points DESC, name, team_id)
    FROM scored
    RETURNING team_id, round_points, total, rank, place
)
SELECT count(*) AS teams,
       coalesce(sum(hash_record_extended(ROW(team_id, round_points), 0)), 0) AS points_mark,
       coalesce(sum(hash_record_extended(ROW(team_id, round_points, total, rank, place), 0)), 0) AS standings_mark
FROM written
""").bindparams(bindparam("points", type_=ARRAY(Integer)))

LEAGUE_BOARD = """
board AS (
    SELECT members.league_id, teams.team_id, teams.name,
           coalesce(now.total, 0) AS total, coalesce(now.round_points, 0) AS round_points
    FROM chosen
    JOIN leagues ON leagues.league_id = chosen.league_id
    JOIN league_members AS members ON members.league_id = chosen.league_id
    JOIN teams ON teams.team_id = members.team_id AND teams.season = leagues.season
    LEFT JOIN standings AS now ON now.season = leagues.season AND now.round = :round
        AND now.score_version = :score_version AND now.team_id = teams.team_id
), ranked AS (
    SELECT board.*, rank() OVER (PARTITION BY league_id ORDER BY total DESC) AS rank,
           row_number() OVER (PARTITION BY league_id ORDER BY total DESC, name, team_id) AS place,
           count(*) OVER (PARTITION BY league_id) AS members
    FROM board
)
"""
"""Teams of leagues in ``chosen``, ranked within each league; a team that joined after the round stands there with 0."""

_LEAGUE_TOPS = text(f"""
WITH chosen AS (SELECT unnest(CAST(:leagues AS uuid[])) AS league_id), {LEAGUE_BOARD}
SELECT league_id, members, rank, team_id, name, total, round_points FROM ranked
WHERE place <= {LEADERS} ORDER BY league_id, place
""").bindparams(bindparam("leagues", type_=ARRAY(Uuid)))  # noqa: S608 - constants

_LARGEST_LEAGUES = text("""
SELECT leagues.league_id FROM leagues
JOIN league_members AS members ON members.league_id = leagues.league_id AND members.team_id IS NOT NULL
WHERE leagues.season = :season
GROUP BY leagues.league_id ORDER BY count(*) DESC, leagues.league_id LIMIT :most
""")

_PRUNE = text("""
DELETE FROM standings USING scored_rounds AS kept
WHERE kept.season = :season AND standings.season = kept.season AND standings.round = kept.round
  AND standings.score_version < kept.score_version
""")


async def write(
    session: AsyncSession,
    version: Version,
    points: Mapping[tuple[AssetKind, str], int],
    before: Version | None,
    locked_at: datetime | None,
) -> Written:
    """Insert a new version of a round's standings.

    Args:
        session: The transaction.
        version: What to write.
        points: Points of each asset in the round.
        before: The standings of the round before, whose totals are carried on.
        locked_at: When line-ups were locked. A team made later is not listed, unless it is so in the round before.
    """
    parameters = {
        **msgspec.structs.asdict(version),
        "points": await _points_by_slot(session, points),
        "before_round": before.round if before else -1,
        "before_version": before.score_version if before else -1,
        "locked_at": locked_at,
    }
    row = (await session.execute(_WRITE, parameters)).one()
    return Written(teams=row.teams, points_mark=str(row.points_mark), standings_mark=str(row.standings_mark))


async def _points_by_slot(session: AsyncSession, points: Mapping[tuple[AssetKind, str], int]) -> list[int]:
    """Lay points out so that element ``slot`` is the asset's, counted from 1 as PostgreSQL does."""
    assets = (await session.execute(select(ASSETS.c.slot, ASSETS.c.kind, ASSETS.c.asset_id))).all()
    laid = [0] * max((asset.slot for asset in assets), default=0)
    for asset in assets:
        laid[asset.slot - 1] = points.get((AssetKind(asset.kind), asset.asset_id), 0)
    return laid


async def leaders(session: AsyncSession, version: Version) -> list[Standing]:
    """Read the first rows of the global leaderboard."""
    rows = await session.execute(
        text("""
            SELECT rank, standings.team_id, name, total, round_points FROM standings
            JOIN teams ON teams.team_id = standings.team_id
            WHERE standings.season = :season AND round = :round AND score_version = :score_version
              AND place <= :leaders ORDER BY place
        """),
        {**msgspec.structs.asdict(version), "leaders": LEADERS},
    )
    return [
        Standing(rank=rank, team_id=team_id, team_name=name, total=total, round_points=round_points)
        for rank, team_id, name, total, round_points in rows
    ]


async def largest_leagues(session: AsyncSession, season: int, most: int) -> list[UUID]:
    """Name the leagues of a season that have teams, at most ``most``, largest first."""
    return list(await session.scalars(_LARGEST_LEAGUES, {"season": season, "most": most}))


async def league_tops(session: AsyncSession, version: Version, league_ids: Sequence[UUID]) -> list[LeagueTop]:
    """Read the first rows of several leagues' leaderboards in one statement."""
    rows = await session.execute(
        _LEAGUE_TOPS,
        {"leagues": list(league_ids), "round": version.round, "score_version": version.score_version},
    )
    tops: dict[UUID, LeagueTop] = {}
    for league_id, members, rank, team_id, name, total, round_points in rows:
        top = tops.setdefault(league_id, LeagueTop(league_id=league_id, members=members, leaders=[]))
        top.leaders.append(Standing(rank=rank, team_id=team_id, team_name=name, total=total, round_points=round_points))
    return list(tops.values())


async def prune(session: AsyncSession, season: int) -> None:
    """Delete versions of standings that a newer one has replaced."""
    await session.execute(_PRUNE, {"season": season})


async def drop(session: AsyncSession, season: int, number: int) -> None:
    """Delete all standings of a round that has no results any more."""
    await session.execute(delete(STANDINGS).where(STANDINGS.c.season == season, STANDINGS.c.round == number))
