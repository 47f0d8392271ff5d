"""What is read, by name. Nothing here writes or locks."""

from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Row, Select, and_, case, func, literal, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from common.contracts.ingest import Session, SessionKind
from common.contracts.scoring import AssetKind
from common.errors import ConflictError, NotFoundError
from leagues.domain import Asset as AssetKey
from leagues.domain import Calendar, PlannedRound, Player, PricedAsset
from leagues.models import Asset, League, Lineup, Lock, Membership, Price, Round, Season, Seat, Team, User


async def resolve_season(session: AsyncSession, wanted: int | None) -> int:
    """Return the season that was asked for, or the current one.

    Current is the first that still has a race to start; when every race has been, the last. Raises `NotFoundError` for
    a season that is not here and `ConflictError` when none is.
    """
    if wanted is not None:
        if await session.get(Season, wanted) is None:
            raise NotFoundError("unknown_season", f"There is no season {wanted} here.")
        return wanted
    ahead = select(func.min(Round.season)).where(Round.race_starts_at > func.clock_timestamp()).scalar_subquery()
    last = select(func.max(Season.season)).scalar_subquery()
    season = await session.scalar(select(func.coalesce(ahead, last)))
    if season is None:
        raise ConflictError("no_season", "No season has arrived yet. Try again when the calendar is there.")
    return int(season)


async def calendar(session: AsyncSession, season: int) -> Calendar:
    """Read the rounds, their locks and the database's clock in one statement; the season must exist."""
    rounds = select(Round, Lock.lock_at).join(Lock, Lock.race_id == Round.race_id).subquery()
    rows = await session.execute(
        select(Season.simulated, func.clock_timestamp().label("now"), rounds)
        .outerjoin(rounds, rounds.c.season == Season.season)
        .where(Season.season == season)
        .order_by(rounds.c.round)
    )
    found = rows.all()
    if not found:
        raise NotFoundError("unknown_season", f"There is no season {season} here.")
    return Calendar(
        season=season,
        simulated=found[0].simulated,
        now=found[0].now,
        rounds=[_planned(row) for row in found if row.round is not None],
    )


def _planned(row: Row[Any]) -> PlannedRound:
    return PlannedRound(
        round=row.round,
        race_id=row.race_id,
        name=row.name,
        sprint=row.sprint,
        lock_session=SessionKind(row.lock_session),
        lock_at=row.lock_at,
        race_starts_at=row.race_starts_at,
        sessions=msgspec.convert(row.sessions, list[Session]),
    )


async def priced_assets(session: AsyncSession, season: int, at_round: int) -> list[PricedAsset]:
    """List what can be picked, with the newest price that holds in ``at_round`` and the seat then, dearest first."""
    price = (
        select(Price.price)
        .where(
            Price.season == Asset.season,
            Price.kind == Asset.kind,
            Price.asset_id == Asset.asset_id,
            Price.effective_round <= at_round,
        )
        .order_by(Price.price_version.desc())
        .limit(1)
        .scalar_subquery()
    )
    seat = (
        select(Seat.constructor_id)
        .where(
            Asset.kind == AssetKind.DRIVER,
            Seat.season == Asset.season,
            Seat.driver_id == Asset.asset_id,
            Seat.from_round <= at_round,
            or_(Seat.to_round.is_(None), Seat.to_round >= at_round),
        )
        .order_by(Seat.from_round.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = await session.execute(
        select(Asset, seat, price)
        .where(Asset.season == season)
        .order_by(price.desc().nulls_last(), Asset.kind.desc(), Asset.asset_id)
    )
    return [
        PricedAsset(
            kind=AssetKind(asset.kind),
            asset_id=asset.asset_id,
            name=asset.name,
            code=asset.code,
            number=asset.number,
            constructor_id=constructor_id,
            price=tenths,
        )
        for asset, constructor_id, tenths in rows
    ]


async def prices(session: AsyncSession, season: int, at_round: int) -> dict[AssetKey, int | None]:
    """Map every asset of the season to its price in ``at_round``, in tenths of a million."""
    return {(asset.kind, asset.asset_id): asset.price for asset in await priced_assets(session, season, at_round)}


_SHOWN_NAME = case((User.active, User.username))
"""The name of whoever is in use; who is not has none for others."""


class LeagueRow(NamedTuple):
    """A league as one user finds it; ``membership`` is his own."""

    league: League
    owner: Player
    membership: Membership | None


def _leagues(user_id: UUID) -> Select[League, str, Membership]:
    mine = and_(Membership.league_id == League.league_id, Membership.user_id == user_id)
    return (
        select(League, _SHOWN_NAME, Membership)
        .outerjoin(User, User.user_id == League.owner_id)
        .outerjoin(Membership, mine)
        .execution_options(populate_existing=True)
    )


async def league_for(session: AsyncSession, league_id: UUID, user_id: UUID) -> LeagueRow:
    """Read a league; raise `NotFoundError` when there is none, or a private one that the user is not in."""
    visible = or_(~League.private, Membership.user_id.is_not(None))
    rows = await session.execute(_leagues(user_id).where(League.league_id == league_id, visible))
    row = rows.one_or_none()
    if row is None:
        raise NotFoundError("unknown_league", "There is no such league.")
    return _league_row(*row)


def _league_row(league: League, username: str | None, membership: Membership | None) -> LeagueRow:
    return LeagueRow(league, Player(user_id=league.owner_id, username=username), membership)


async def leagues_for(
    session: AsyncSession, user_id: UUID, *, mine: bool, search: str | None, skip: int, limit: int
) -> tuple[list[LeagueRow], int]:
    """List public leagues, or with ``mine`` those the user is in, newest first; and count them all."""
    shown: ColumnElement[bool] = Membership.user_id.is_not(None) if mine else ~League.private
    if search:
        shown = and_(shown, League.name.icontains(search, autoescape=True))
    query = _leagues(user_id).where(shown)
    total = await session.scalar(query.with_only_columns(func.count(), maintain_column_froms=True))
    page = query.order_by(League.created_at.desc(), League.league_id.desc()).offset(skip).limit(limit)
    rows = await session.execute(page)
    return [_league_row(*row) for row in rows], int(total or 0)


async def first_team(session: AsyncSession, user_id: UUID, season: int) -> UUID | None:
    """Return the team that plays for a user who names none."""
    query = select(Team.team_id).where(Team.user_id == user_id, Team.season == season).order_by(Team.slot).limit(1)
    return await session.scalar(query)


class TeamRow(NamedTuple):
    """A team, whose it is, and the line-up that the reader may see."""

    team: Team
    owner: Player
    lineup: Lineup | None


def _teams() -> Select[Team, str, Lineup]:
    newest = and_(Lineup.team_id == Team.team_id, Lineup.lineup_version == Team.lineup_version)
    return select(Team, _SHOWN_NAME, Lineup).outerjoin(User, User.user_id == Team.user_id).outerjoin(Lineup, newest)


async def team_for(session: AsyncSession, team_id: UUID, user_id: UUID) -> TeamRow:
    """Read a team: its owner with the newest line-up, anybody else with the one that plays in the last locked round."""
    rows = await session.execute(_teams().where(Team.team_id == team_id))
    row = rows.one_or_none()
    if row is None:
        raise NotFoundError("unknown_team", "There is no such team.")
    team, username, newest = row
    own = team.user_id == user_id
    shown = newest if own else await lineup_in(session, team_id, (await calendar(session, team.season)).last_locked())
    return TeamRow(team, Player(user_id=team.user_id, username=username), shown)


async def teams_of(
    session: AsyncSession, user_id: UUID, *, season: int | None, skip: int, limit: int
) -> tuple[list[TeamRow], int]:
    """List a user's teams, newest season first, each with its newest line-up; and count them all."""
    query = _teams().where(Team.user_id == user_id, Team.season == season if season is not None else true())
    total = await session.scalar(query.with_only_columns(func.count(), maintain_column_froms=True))
    rows = await session.execute(query.order_by(Team.season.desc(), Team.slot).offset(skip).limit(limit))
    found = [TeamRow(team, Player(user_id=user_id, username=username), lineup) for team, username, lineup in rows]
    return found, int(total or 0)


async def lineup_in(session: AsyncSession, team_id: UUID, played: int) -> Lineup | None:
    """Return the line-up that plays in a round: the newest of those accepted for it or an earlier one."""
    query = select(Lineup).where(Lineup.team_id == team_id, Lineup.effective_round <= literal(played))
    return await session.scalar(query.order_by(Lineup.lineup_version.desc()).limit(1))


async def visible_lineup(session: AsyncSession, team_id: UUID, user_id: UUID, played: int | None) -> Lineup:
    """Return a team's line-up of a round, or the newest one that the reader may see; raise `NotFoundError`.

    A line-up of somebody else can be seen once the round it plays in is locked.
    """
    row = await team_for(session, team_id, user_id)
    lineup = row.lineup
    if played is not None:
        known = await calendar(session, row.team.season)
        if all(planned.round != played for planned in known.rounds):
            raise NotFoundError("unknown_round", f"{known.season} has no round {played}.")
        hidden = row.team.user_id != user_id and played > known.last_locked()
        lineup = None if hidden else await lineup_in(session, team_id, played)
    if lineup is None:
        raise NotFoundError("no_lineup", "There is no line-up to see; those of others show when their round is locked.")
    return lineup
