"""The API of scoring."""

from typing import Annotated
from uuid import UUID

from litestar import get
from litestar.params import Parameter
from sqlalchemy.ext.asyncio import AsyncSession

from common.contracts.scoring import AssetKind
from common.http import BEARER, problems
from common.security import Principal
from scoring import leaderboards, rulebook, scores
from scoring.leaderboards import Window
from scoring.schemas import Explanation, Leaderboard, PriceList, RoundScores, RuleSets, TeamPoints

Season = Annotated[int, Parameter(ge=1950, le=2100, description="Year of the season")]
OptionalSeason = Annotated[
    int | None, Parameter(ge=1950, le=2100, description="Year of the season; the latest that is known when absent")
]
Round = Annotated[int, Parameter(ge=1, le=100, description="Number of the round")]
OptionalRound = Annotated[
    int | None,
    Parameter(ge=1, le=100, description="After which round; the latest that is scored when absent"),
]
Skip = Annotated[int, Parameter(ge=0, le=10_000_000, description="Rows to leave out")]
Limit = Annotated[int, Parameter(ge=1, le=100, description="Rows to give at most")]
AssetId = Annotated[str, Parameter(max_length=100, description="Id of the driver or constructor")]


@get("/api/v1/leaderboard", responses=problems(404), tags=["leaderboards"], operation_id="GetLeaderboard")
async def get_leaderboard(
    session: AsyncSession,
    season: OptionalSeason = None,
    round: OptionalRound = None,  # noqa: A002 - the word of the API
    skip: Skip = 0,
    limit: Limit = 50,
) -> Leaderboard:
    """Read the global leaderboard of a season after a round."""
    return await leaderboards.global_leaderboard(session, season, round, Window(skip=skip, limit=limit))


@get(
    "/api/v1/leagues/{league_id:uuid}/leaderboard",
    responses=problems(404),
    security=BEARER,
    tags=["leaderboards"],
    operation_id="GetLeagueLeaderboard",
)
async def get_league_leaderboard(
    session: AsyncSession,
    principal: Principal,
    league_id: UUID,
    round: OptionalRound = None,  # noqa: A002 - the word of the API
    skip: Skip = 0,
    limit: Limit = 50,
) -> Leaderboard:
    """Read a league's leaderboard after a round; that of a private league only as a member."""
    window = Window(skip=skip, limit=limit)
    return await leaderboards.league_leaderboard(session, league_id, principal.user_id, round, window)


@get("/api/v1/teams/{team_id:uuid}/points", responses=problems(404), tags=["points"], operation_id="GetTeamPoints")
async def get_team_points(session: AsyncSession, team_id: UUID) -> TeamPoints:
    """Read what a team scored in each round, and with what."""
    return await scores.team_points(session, team_id)


@get(
    "/api/v1/rounds/{season:int}/{round:int}/scores",
    responses=problems(404),
    tags=["points"],
    operation_id="GetRoundScores",
)
async def get_round_scores(
    session: AsyncSession,
    season: Season,
    round: Round,  # noqa: A002 - the word of the API
) -> RoundScores:
    """Read what every driver and constructor scored in a round."""
    return await scores.round_scores(session, season, round)


@get(
    "/api/v1/rounds/{season:int}/{round:int}/explain/{kind:str}/{asset_id:str}",
    responses=problems(404),
    tags=["points"],
    operation_id="ExplainPoints",
)
async def explain_points(
    session: AsyncSession,
    season: Season,
    round: Round,  # noqa: A002 - the word of the API
    kind: AssetKind,
    asset_id: AssetId,
) -> Explanation:
    """Read where the points of one driver or constructor come from, line by line."""
    return await scores.explain(session, season, round, kind, asset_id)


@get("/api/v1/prices", tags=["prices"], operation_id="ListPrices")
async def list_prices(session: AsyncSession, season: OptionalSeason = None) -> PriceList:
    """Read what every driver and constructor of a season costs."""
    return await scores.prices(session, season)


@get("/api/v1/rule-sets", tags=["rules"], operation_id="ListRuleSets", sync_to_thread=False)
def list_rule_sets() -> RuleSets:
    """Read every rule set, number by number, with its source and whether sources agree."""
    return rulebook.rule_sets()


ROUTES = [
    get_leaderboard,
    get_league_leaderboard,
    get_team_points,
    get_round_scores,
    explain_points,
    list_prices,
    list_rule_sets,
]
