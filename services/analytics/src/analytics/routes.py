"""The public API: the calendar and the championships. No account is needed."""

from typing import Annotated, Any

from litestar import Router, get
from litestar.params import Parameter
from sqlalchemy.ext.asyncio import AsyncSession

from analytics import queries
from analytics.domain import Championship, standings
from analytics.queries import RankedRound
from analytics.schemas import (
    ConstructorStanding,
    ConstructorStandings,
    DriverStanding,
    DriverStandings,
    NextRace,
    RaceView,
    Schedule,
    SessionView,
)
from common.http import problems

Season = Annotated[int | None, Parameter(ge=1950, le=2999, description="A year; the latest season by default")]
RacedSeason = Annotated[
    int | None, Parameter(ge=1950, le=2999, description="A year; the latest season with a race result by default")
]
Round = Annotated[
    int | None,
    Parameter(query="round", ge=1, le=100, description="After which round; the latest with a race result by default"),
]


@get(
    "/schedule",
    responses=problems(404),
    summary="The calendar of a season",
    description="Every race weekend with its sessions, all times UTC. 404: `unknown_season`, `no_season`.",
)
async def read_schedule(session: AsyncSession, season: Season = None) -> Schedule:
    """Show a season's race weekends."""
    found = await queries.season_of(session, season)
    races = await queries.races_of(session, found.season)
    return Schedule(season=found.season, simulated=found.simulated, races=[RaceView.of(race) for race in races])


@get(
    "/schedule/next",
    responses=problems(404),
    summary="The next race",
    description=(
        "The weekend of the first race that has not started, by the instant and not by anybody's date, so a weekend "
        "stays the next one until its race starts. 404: `no_next_race`."
    ),
)
async def read_next_race(session: AsyncSession) -> NextRace:
    """Show the next race weekend."""
    race = await queries.next_race(session)
    found = await queries.season_of(session, race.season)
    return NextRace(
        season=race.season,
        simulated=found.simulated,
        race=RaceView.of(race),
        next_session=next(SessionView.of(held) for held in race.sessions if held.ahead),
    )


@get(
    "/standings/drivers",
    responses=problems(404),
    summary="The drivers' championship",
    description=(
        "Points of races and sprints up to a round; who is level is parted by the better finishes of Grands Prix. "
        "404: `no_standings`, `unknown_round`, `unknown_season`, `no_season`."
    ),
)
async def read_driver_standings(
    session: AsyncSession, season: RacedSeason = None, after: Round = None
) -> DriverStandings:
    """Show the drivers' standings after a round."""
    basis = await queries.ranked_round(session, season, after)
    drivers = await queries.drivers_of(session, basis.season)
    constructors = await queries.constructors_of(session, basis.season)
    ranked = standings(await queries.outcomes(session, basis.season, basis.round), Championship.DRIVERS)
    return DriverStandings(
        **_basis(basis), standings=[DriverStanding.of(standing, drivers, constructors) for standing in ranked]
    )


@get(
    "/standings/constructors",
    responses=problems(404),
    summary="The constructors' championship",
    description=(
        "Points of all its cars, for whoever drove them; otherwise as the drivers'. "
        "404: `no_standings`, `unknown_round`, `unknown_season`, `no_season`."
    ),
)
async def read_constructor_standings(
    session: AsyncSession, season: RacedSeason = None, after: Round = None
) -> ConstructorStandings:
    """Show the constructors' standings after a round."""
    basis = await queries.ranked_round(session, season, after)
    constructors = await queries.constructors_of(session, basis.season)
    ranked = standings(await queries.outcomes(session, basis.season, basis.round), Championship.CONSTRUCTORS)
    return ConstructorStandings(
        **_basis(basis), standings=[ConstructorStanding.of(standing, constructors) for standing in ranked]
    )


def _basis(found: RankedRound) -> dict[str, Any]:
    return {
        "season": found.season,
        "simulated": found.simulated,
        "round": found.round,
        "race_id": found.race_id,
        "race_name": found.name,
        "provisional": found.provisional,
    }


ROUTES = [
    Router(
        path="/api/v1/analytics",
        route_handlers=[read_schedule, read_next_race, read_driver_standings, read_constructor_standings],
        tags=["analytics"],
    )
]
