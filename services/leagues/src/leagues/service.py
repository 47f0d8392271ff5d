"""The use cases: each loads, decides, writes and publishes, in the caller's transaction.

Two things of one user never happen at once: everything that opens a team or a membership begins with `_one_at_a_time`,
so a membership without a team and the user's first team cannot miss each other.
"""

import secrets
from uuid import UUID, uuid4

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from common import outbox
from common.contracts.leagues import LeagueCreated, LeagueJoined, LineupSubmitted, TeamCreated
from common.db import violated_constraint
from common.errors import ConflictError, NotFoundError, UnavailableError
from leagues import queries
from leagues.domain import TEAMS_PER_SEASON, NewLeague, Selection, join_code, tidy_name
from leagues.models import FIRST_TEAM_SLOT, League, Lineup, Membership, Team

CODE_TRIES = 5
"""Of more than 10^12 codes; running into one that is taken even twice means that something is wrong."""
USER_LOCK = 7_301_101
"""First half of the advisory lock's key; the second is a hash of the user's id."""


async def _one_at_a_time(session: AsyncSession, user_id: UUID) -> None:
    """Wait until no other transaction opens a team or a membership for this user."""
    lock = func.pg_advisory_xact_lock(USER_LOCK, func.hashtext(str(user_id)))
    await session.execute(select(lock))


async def create_league(
    session: AsyncSession, owner_id: UUID, new: NewLeague, *, season: int | None, team_id: UUID | None
) -> UUID:
    """Open a league with its owner as the first member; return its id."""
    await _one_at_a_time(session, owner_id)
    season = await queries.resolve_season(session, season)
    league = await _insert_league(session, owner_id, new, season)
    await outbox.publish(
        session,
        LeagueCreated(
            league_id=league.league_id,
            name=league.name,
            season=season,
            mode=league.game_mode(),
            private=league.private,
            owner_id=owner_id,
            created_at=league.created_at,
        ),
    )
    await _enter(session, league.league_id, season, owner_id, team_id)
    return league.league_id


async def _insert_league(session: AsyncSession, owner_id: UUID, new: NewLeague, season: int) -> League:
    for _ in range(CODE_TRIES):
        row = upsert(League).values(
            league_id=uuid4(),
            season=season,
            name=new.name,
            description=new.description,
            mode=new.mode.value,
            private=new.private,
            max_members=new.max_members,
            members=0,
            code=join_code(secrets.choice),
            owner_id=owner_id,
        )
        row = row.on_conflict_do_nothing(index_elements=[League.code])
        league: League | None = await session.scalar(row.returning(League))
        if league is not None:
            return league
    raise UnavailableError("no_free_code", "No join code could be found. Try again.", retry_after=1)


async def join_by_code(session: AsyncSession, user_id: UUID, code: str, team_id: UUID | None) -> UUID:
    """Enter the league that has this code, public or private; return its id."""
    await _one_at_a_time(session, user_id)
    query = select(League.league_id, League.season).where(League.code == code.strip().upper())
    found = (await session.execute(query)).one_or_none()
    if found is None:
        raise NotFoundError("unknown_code", "No league has this code.")
    await _enter(session, found.league_id, found.season, user_id, team_id)
    return UUID(str(found.league_id))


async def join_public(session: AsyncSession, user_id: UUID, league_id: UUID, team_id: UUID | None) -> None:
    """Enter a public league by its id. A private one is as good as absent."""
    await _one_at_a_time(session, user_id)
    row = await queries.league_for(session, league_id, user_id)
    await _enter(session, league_id, row.league.season, user_id, team_id)


async def _enter(session: AsyncSession, league_id: UUID, season: int, user_id: UUID, team_id: UUID | None) -> None:
    """Add a member, if he is none and a seat is free. The one way into a league."""
    playing = await _playing_team(session, user_id, season, team_id)
    row = upsert(Membership).values(
        league_id=league_id, user_id=user_id, season=season, team_id=playing, membership_version=1
    )
    membership: Membership | None = await session.scalar(row.on_conflict_do_nothing().returning(Membership))
    if membership is None:
        raise ConflictError("already_member", "You are in this league already.")
    seat = await session.execute(
        update(League)
        .where(League.league_id == league_id, or_(League.max_members.is_(None), League.members < League.max_members))
        .values(members=League.members + 1)
        .returning(League.league_id)
        .execution_options(synchronize_session=False)
    )
    if seat.first() is None:
        raise ConflictError("league_full", "Every seat of this league is taken.")
    await _publish_joined(session, membership)


async def _publish_joined(session: AsyncSession, membership: Membership) -> None:
    await outbox.publish(
        session,
        LeagueJoined(
            league_id=membership.league_id,
            user_id=membership.user_id,
            team_id=membership.team_id,
            membership_version=membership.membership_version,
            joined_at=membership.joined_at,
        ),
    )


async def _playing_team(session: AsyncSession, user_id: UUID, season: int, team_id: UUID | None) -> UUID | None:
    if team_id is None:
        return await queries.first_team(session, user_id, season)
    team = await session.scalar(select(Team).where(Team.team_id == team_id, Team.user_id == user_id))
    if team is None:
        raise NotFoundError("unknown_team", "You have no such team.")
    if team.season != season:
        raise ConflictError("wrong_season", f"That team plays in {team.season}; the league is of {season}.")
    return team_id


async def create_team(session: AsyncSession, user_id: UUID, name: str, season: int | None) -> UUID:
    """Enter a team; the first of a season also plays in the leagues that its owner is in without one. Return its id."""
    name = tidy_name(name)
    await _one_at_a_time(session, user_id)
    season = await queries.resolve_season(session, season)
    team = await _insert_team(session, user_id, name, season)
    created = TeamCreated(team_id=team.team_id, user_id=user_id, name=name, season=season, created_at=team.created_at)
    await outbox.publish(session, created)
    waiting = await session.scalars(
        update(Membership)
        .where(Membership.user_id == user_id, Membership.season == season, Membership.team_id.is_(None))
        .values(team_id=team.team_id, membership_version=Membership.membership_version + 1)
        .returning(Membership)
        .execution_options(synchronize_session=False)
    )
    for membership in waiting.all():
        await _publish_joined(session, membership)
    return team.team_id


async def _insert_team(session: AsyncSession, user_id: UUID, name: str, season: int) -> Team:
    """Insert into the first free slot; without one, into the slot that the table refuses."""
    slot = func.generate_series(FIRST_TEAM_SLOT, TEAMS_PER_SEASON).column_valued("slot")
    taken = select(Team.slot).where(Team.user_id == user_id, Team.season == season)
    free = select(func.min(slot)).where(slot.not_in(taken)).scalar_subquery()
    row = insert(Team).values(
        team_id=uuid4(),
        user_id=user_id,
        season=season,
        slot=func.coalesce(free, TEAMS_PER_SEASON + 1),
        name=name,
        lineup_version=0,
    )
    try:
        return (await session.scalars(row.returning(Team))).one()
    except IntegrityError as error:
        match violated_constraint(error):
            case "ck_teams_slot":
                detail = f"You have {TEAMS_PER_SEASON} teams in {season} already, and more are not allowed."
                raise ConflictError("too_many_teams", detail) from error
            case "uq_teams_user_id_season_name":
                raise ConflictError("team_name_taken", f"You have a team {name} in {season} already.") from error
            case _:
                raise


async def submit_lineup(
    session: AsyncSession, user_id: UUID, team_id: UUID, selection: Selection, wanted: int | None
) -> Lineup:
    """Accept a line-up, or refuse it. The same line-up for the same round again is the one that is there.

    Which round it is for is decided by the database's clock while the team's row is locked, so the line-ups of a team
    are in the order of their versions.
    """
    query = select(Team).where(Team.team_id == team_id, Team.user_id == user_id)
    team = await session.scalar(query.with_for_update(key_share=True))
    if team is None:
        raise NotFoundError("unknown_team", "You have no such team.")
    calendar = await queries.calendar(session, team.season)
    opened = calendar.admit(wanted)
    latest = await session.get(Lineup, (team_id, team.lineup_version))
    if latest is not None and _is(latest, selection, opened.round):
        return latest
    cost = selection.cost(await queries.prices(session, team.season, opened.round))
    team.lineup_version += 1
    lineup = Lineup(
        team_id=team_id,
        lineup_version=team.lineup_version,
        effective_round=opened.round,
        drivers=list(selection.drivers),
        constructors=list(selection.constructors),
        cost=cost,
        submitted_at=calendar.now,
    )
    session.add(lineup)
    await outbox.publish(
        session,
        LineupSubmitted(
            team_id=team_id,
            user_id=user_id,
            season=team.season,
            effective_round=lineup.effective_round,
            lineup_version=lineup.lineup_version,
            drivers=lineup.drivers,
            constructors=lineup.constructors,
            cost=cost,
            submitted_at=calendar.now,
        ),
    )
    return lineup


def _is(lineup: Lineup, selection: Selection, effective_round: int) -> bool:
    return (
        lineup.effective_round == effective_round
        and tuple(lineup.drivers) == selection.drivers
        and tuple(lineup.constructors) == selection.constructors
    )
