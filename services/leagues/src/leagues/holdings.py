"""Everything that is kept here about one user, for the copy of their data that they may ask for."""

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from leagues.models import League, Lineup, Membership, Team, User
from leagues.schemas import LineupView


class HeldTeam(msgspec.Struct, frozen=True, kw_only=True):
    """A team with every line-up it ever had, the first one first."""

    team_id: UUID
    season: int
    name: str
    created_at: datetime
    lineups: list[LineupView]


class HeldMembership(msgspec.Struct, frozen=True, kw_only=True):
    """A league they are in."""

    league_id: UUID
    league_name: str
    season: int
    team_id: UUID | None
    joined_at: datetime


class HeldLeague(msgspec.Struct, frozen=True, kw_only=True):
    """A league that they opened."""

    league_id: UUID
    season: int
    name: str
    description: str
    private: bool
    code: str
    created_at: datetime


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    username: str | None
    """As it is shown here."""
    teams: list[HeldTeam]
    memberships: list[HeldMembership]
    leagues_opened: list[HeldLeague]


async def of(session: AsyncSession, user_id: UUID) -> Holdings:
    """Collect it; at most three teams a season, so it is never much."""
    owned = select(League).where(League.owner_id == user_id).order_by(League.created_at)
    entered = (
        select(Membership, League.name)
        .join(League, League.league_id == Membership.league_id)
        .where(Membership.user_id == user_id)
        .order_by(Membership.joined_at)
    )
    return Holdings(
        username=await session.scalar(select(User.username).where(User.user_id == user_id)),
        teams=await _teams(session, user_id),
        memberships=[
            HeldMembership(
                league_id=membership.league_id,
                league_name=name,
                season=membership.season,
                team_id=membership.team_id,
                joined_at=membership.joined_at,
            )
            for membership, name in await session.execute(entered)
        ],
        leagues_opened=[
            HeldLeague(**{name: getattr(league, name) for name in HeldLeague.__struct_fields__})
            for league in await session.scalars(owned)
        ],
    )


async def _teams(session: AsyncSession, user_id: UUID) -> list[HeldTeam]:
    teams = (await session.scalars(select(Team).where(Team.user_id == user_id).order_by(Team.created_at))).all()
    lineups: dict[UUID, list[LineupView]] = {team.team_id: [] for team in teams}
    submitted = select(Lineup).where(Lineup.team_id.in_(lineups)).order_by(Lineup.lineup_version)
    for lineup in await session.scalars(submitted):
        lineups[lineup.team_id].append(LineupView.of(lineup))
    return [
        HeldTeam(
            team_id=team.team_id,
            season=team.season,
            name=team.name,
            created_at=team.created_at,
            lineups=lineups[team.team_id],
        )
        for team in teams
    ]
