"""The HTTP interface: read the request, call one use case, show the result."""

from typing import Annotated
from uuid import UUID

from litestar import Router, get, post, put
from litestar.datastructures import State
from litestar.params import Parameter
from litestar.types import ControllerRouterHandler
from sqlalchemy.ext.asyncio import AsyncSession

from common.errors import ForbiddenError, NotFoundError
from common.http import BEARER, problems
from common.security import SESSION_ONLY, Principal
from leagues import holdings, queries, service
from leagues.domain import CAP
from leagues.holdings import Holdings
from leagues.schemas import (
    CodeInput,
    EntryInput,
    LeagueInput,
    LeaguePage,
    LeagueView,
    LineupInput,
    LineupView,
    MarketView,
    RoundView,
    TeamInput,
    TeamPage,
    TeamView,
)
from leagues.settings import LeaguesSettings

Skip = Annotated[int, Parameter(ge=0, le=1_000_000)]
Limit = Annotated[int, Parameter(ge=1, le=100)]
Year = Annotated[int | None, Parameter(ge=1950, le=2200, description="The current season by default")]
Search = Annotated[str | None, Parameter(max_length=100, description="A part of the name")]
Mine = Annotated[bool, Parameter(description="Only leagues you are in, private ones included")]
PlayedRound = Annotated[int | None, Parameter(query="round", ge=1, le=100, description="The newest by default")]


async def provide_settings(state: State) -> LeaguesSettings:
    """Litestar dependency ``settings``."""
    settings: LeaguesSettings = state.settings
    return settings


@post(
    "/leagues",
    security=BEARER,
    responses=problems(403, 404, 409),
    summary="Create a league",
    description=(
        "You become its first member. 409: `no_season`, `wrong_season`, `mode_unavailable`. "
        "403: `email_unverified`, where leagues are for those who have proved their e-mail address. "
        "404: `unknown_season`, `unknown_team`. 422: `invalid_name`, `unlimited_private`."
    ),
)
async def create_league(
    data: LeagueInput, session: AsyncSession, principal: Principal, settings: LeaguesSettings
) -> LeagueView:
    """Open a league."""
    if settings.verified_only and not principal.verified:
        detail = "Prove your e-mail address first; the token that you get after that says so."
        raise ForbiddenError("email_unverified", detail)
    league_id = await service.create_league(
        session, principal.user_id, data.league(), season=data.season, team_id=data.team_id
    )
    return LeagueView.of(await queries.league_for(session, league_id, principal.user_id))


@get(
    "/leagues",
    security=BEARER,
    summary="List leagues",
    description="Public leagues, newest first; with `mine` those you are in. Private ones show to members only.",
)
async def list_leagues(
    session: AsyncSession,
    principal: Principal,
    *,
    search: Search = None,
    mine: Mine = False,
    skip: Skip = 0,
    limit: Limit = 20,
) -> LeaguePage:
    """List the leagues that the caller may see."""
    rows, total = await queries.leagues_for(
        session, principal.user_id, mine=mine, search=search, skip=skip, limit=limit
    )
    return LeaguePage(items=[LeagueView.of(row) for row in rows], total=total, skip=skip, limit=limit)


@get(
    "/leagues/{league_id:uuid}",
    security=BEARER,
    summary="Read a league",
    description="404 `unknown_league` also for a private league that you are not in. Members see its join code.",
)
async def read_league(league_id: UUID, session: AsyncSession, principal: Principal) -> LeagueView:
    """Show one league."""
    return LeagueView.of(await queries.league_for(session, league_id, principal.user_id))


@post(
    "/leagues/join",
    security=BEARER,
    responses=problems(404, 409),
    summary="Join a league by its code",
    description=(
        "You play with `team_id`, or with your first team of the season, or without one until you create it. "
        "404: `unknown_code`, `unknown_team`. 409: `already_member`, `league_full`, `wrong_season`."
    ),
)
async def join_by_code(data: CodeInput, session: AsyncSession, principal: Principal) -> LeagueView:
    """Become a member by code."""
    league_id = await service.join_by_code(session, principal.user_id, data.code, data.team_id)
    return LeagueView.of(await queries.league_for(session, league_id, principal.user_id))


@post(
    "/leagues/{league_id:uuid}/join",
    security=BEARER,
    responses=problems(409),
    summary="Join a public league",
    description=(
        "As by code. 404: `unknown_league`, also for a private one, and `unknown_team`. "
        "409: `already_member`, `league_full`, `wrong_season`."
    ),
)
async def join_public(league_id: UUID, data: EntryInput, session: AsyncSession, principal: Principal) -> LeagueView:
    """Become a member of a public league."""
    await service.join_public(session, principal.user_id, league_id, data.team_id)
    return LeagueView.of(await queries.league_for(session, league_id, principal.user_id))


@post(
    "/teams",
    security=BEARER,
    responses=problems(404, 409),
    summary="Create a team",
    description=(
        "At most three in a season. Your first one also plays in the leagues that you have joined without a team. "
        "409: `too_many_teams`, `team_name_taken`, `no_season`. 404: `unknown_season`. 422: `invalid_name`."
    ),
)
async def create_team(data: TeamInput, session: AsyncSession, principal: Principal) -> TeamView:
    """Enter a team for a season."""
    team_id = await service.create_team(session, principal.user_id, data.name, data.season)
    return TeamView.of(await queries.team_for(session, team_id, principal.user_id))


@get("/teams", security=BEARER, summary="List your teams", description="Newest season first.")
async def list_teams(
    session: AsyncSession, principal: Principal, season: Year = None, skip: Skip = 0, limit: Limit = 20
) -> TeamPage:
    """List the caller's teams."""
    rows, total = await queries.teams_of(session, principal.user_id, season=season, skip=skip, limit=limit)
    return TeamPage(items=[TeamView.of(row) for row in rows], total=total, skip=skip, limit=limit)


@get(
    "/teams/{team_id:uuid}",
    security=BEARER,
    summary="Read a team",
    description="Your own with its newest line-up; anybody else's with the one that plays in the last locked round.",
)
async def read_team(team_id: UUID, session: AsyncSession, principal: Principal) -> TeamView:
    """Show one team."""
    return TeamView.of(await queries.team_for(session, team_id, principal.user_id))


@put(
    "/teams/{team_id:uuid}/lineup",
    security=BEARER,
    responses=problems(409),
    summary="Submit a line-up",
    description=(
        "Replaces the whole line-up, or changes nothing. Line-ups lock at the start of qualifying, on sprint weekends "
        "at the start of the sprint, by the database's clock. Without `round` the line-up is for the weekend being "
        "played: from the lock until the race has started it is refused with `round_locked`; otherwise it is for the "
        "next round to lock. Name that round to submit for it while a locked weekend is still on. The same line-up for "
        "the same round again is answered with the version that is there.\n\n"
        "409: `round_locked`, `round_not_open`, `season_over`, `over_budget`, `unknown_asset`, `asset_unpriced`. "
        "404: `unknown_team`, also for a team that is not yours, and `unknown_round`. "
        "422: `lineup_size`, `duplicate_asset`."
    ),
)
async def submit_lineup(team_id: UUID, data: LineupInput, session: AsyncSession, principal: Principal) -> LineupView:
    """Put up a line-up."""
    lineup = await service.submit_lineup(session, principal.user_id, team_id, data.selection(), data.round)
    return LineupView.of(lineup)


@get(
    "/teams/{team_id:uuid}/lineup",
    security=BEARER,
    summary="Read a line-up",
    description=(
        "The one that plays in `round`, or the newest one. Those of others show when the round they play in is locked. "
        "404: `unknown_team`, `unknown_round`, `no_lineup`."
    ),
)
async def read_lineup(
    team_id: UUID, session: AsyncSession, principal: Principal, played: PlayedRound = None
) -> LineupView:
    """Show a line-up."""
    return LineupView.of(await queries.visible_lineup(session, team_id, principal.user_id, played))


@get(
    "/market",
    responses=problems(404, 409),
    summary="What can be picked",
    description="Drivers and constructors with their prices. 404: `unknown_season`. 409: `no_season`.",
)
async def read_market(session: AsyncSession, season: Year = None) -> MarketView:
    """Show the market."""
    calendar = await queries.calendar(session, await queries.resolve_season(session, season))
    opened = calendar.open_round() or (calendar.rounds[-1] if calendar.rounds else None)
    at_round = opened.round if opened else None
    assets = await queries.priced_assets(session, calendar.season, at_round or 1)
    return MarketView.of(calendar, at_round, CAP, assets)


@get(
    "/rounds/next",
    responses=problems(404, 409),
    summary="The next lock",
    description="The round that takes line-ups now. 404: `no_open_round`, `unknown_season`. 409: `no_season`.",
)
async def read_next_round(session: AsyncSession, season: Year = None) -> RoundView:
    """Show the open round."""
    calendar = await queries.calendar(session, await queries.resolve_season(session, season))
    opened = calendar.open_round()
    if opened is None:
        raise NotFoundError("no_open_round", f"No round of {calendar.season} takes line-ups any more.")
    return RoundView.of(calendar, opened)


@get("/internal/export", security=BEARER, include_in_schema=False, opt={"scope": SESSION_ONLY})
async def export_own(session: AsyncSession, principal: Principal) -> Holdings:
    """Give the caller everything that is kept here about them; `auth` asks for it with the caller's own token."""
    return await holdings.of(session, principal.user_id)


LEAGUES = Router(
    path="/api/v1",
    route_handlers=[create_league, list_leagues, read_league, join_by_code, join_public],
    tags=["leagues"],
)
TEAMS = Router(
    path="/api/v1",
    route_handlers=[create_team, list_teams, read_team, submit_lineup, read_lineup],
    tags=["teams"],
)
SEASON = Router(path="/api/v1", route_handlers=[read_market, read_next_round], tags=["season"])
ROUTES: list[ControllerRouterHandler] = [LEAGUES, TEAMS, SEASON, export_own]
