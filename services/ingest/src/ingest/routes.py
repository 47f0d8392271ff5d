"""The public API: what is known about races, drivers and constructors. No account is needed."""

from typing import Annotated

from litestar import get
from litestar.params import Parameter
from sqlalchemy.ext.asyncio import AsyncSession

from common.contracts.ingest import Car, CarStatus, Constructor, Driver, Race, SessionKind, Stint
from common.errors import NotFoundError
from ingest import queries
from ingest.polling import POLLED
from ingest.schemas import (
    AvailableResult,
    CarOut,
    ConstructorList,
    ConstructorOut,
    DriverList,
    DriverOut,
    RaceList,
    RaceOut,
    ResultOut,
    StintOut,
)

Season = Annotated[int | None, Parameter(ge=1950, le=2999, description="A year; the latest season by default")]
Skip = Annotated[int, Parameter(ge=0, le=100_000)]
Limit = Annotated[int, Parameter(ge=1, le=100)]
RaceId = Annotated[str, Parameter(max_length=100, description="`{season}-{circuit}`")]
Classified = Annotated[SessionKind, Parameter(description="`race`, `sprint` or `qualifying`")]

PLACED = {CarStatus.FINISHED, CarStatus.LAPPED}


async def _season_or_latest(session: AsyncSession, season: int | None) -> int | None:
    return await queries.latest_season(session) if season is None else season


@get("/api/v1/races", tags=["races"])
async def list_races(session: AsyncSession, season: Season = None, skip: Skip = 0, limit: Limit = 50) -> RaceList:
    """List a season's race weekends."""
    year = await _season_or_latest(session, season)
    if year is None:
        return RaceList(total=0, skip=skip, limit=limit, items=[])
    found = await queries.races_of(session, year, skip=skip, limit=limit)
    versions = await queries.versions_of(session, [race.race_id for race in found])
    return RaceList(
        total=await queries.count_races(session, year),
        skip=skip,
        limit=limit,
        items=[_race_out(year, race, versions[race.race_id]) for race in found],
    )


@get("/api/v1/races/{race_id:str}", tags=["races"])
async def get_race(race_id: RaceId, session: AsyncSession) -> RaceOut:
    """Get one race weekend."""
    row, race = await _race(session, race_id)
    return _race_out(row.season, race, (await queries.versions_of(session, [race_id]))[race_id])


@get("/api/v1/races/{race_id:str}/results", tags=["races"])
async def get_results(
    race_id: RaceId,
    session: AsyncSession,
    of: Annotated[SessionKind, Parameter(query="session", description="race, sprint or qualifying")] = SessionKind.RACE,
) -> ResultOut:
    """Get the classification of a session as it now stands."""
    row, race = await _race(session, race_id)
    result = await queries.latest_result(session, race_id, of) if of in POLLED else None
    if result is None:
        raise NotFoundError("no_result", f"There is no result of this {of} yet.")
    drivers = {driver.driver_id: driver for driver in await queries.drivers_of(session, row.season)}
    teams = {team.constructor_id: team for team in await queries.constructors_of(session, row.season)}
    return ResultOut(
        race_id=race_id,
        season=row.season,
        round=row.round,
        race_name=race.name,
        session=of,
        result_version=result.result_version,
        status=result.status,
        reason=result.reason,
        content_hash=result.content_hash,
        observed_at=result.observed_at,
        rows=[_car_out(car, drivers[car.driver_id], teams[car.constructor_id]) for car in result.classification],
    )


@get("/api/v1/drivers", tags=["drivers"])
async def list_drivers(session: AsyncSession, season: Season = None, skip: Skip = 0, limit: Limit = 50) -> DriverList:
    """List a season's drivers, and whom they drive for."""
    year = await _season_or_latest(session, season)
    drivers = [] if year is None else await queries.drivers_of(session, year)
    stints = [] if year is None else await queries.stints_of(session, year)
    items = [
        _driver_out(driver, [stint for stint in stints if stint.driver_id == driver.driver_id])
        for driver in drivers[skip : skip + limit]
    ]
    return DriverList(total=len(drivers), skip=skip, limit=limit, season=year, items=items)


@get("/api/v1/constructors", tags=["constructors"])
async def list_constructors(
    session: AsyncSession, season: Season = None, skip: Skip = 0, limit: Limit = 50
) -> ConstructorList:
    """List a season's constructors, and who drives for them."""
    year = await _season_or_latest(session, season)
    teams = [] if year is None else await queries.constructors_of(session, year)
    stints = [] if year is None else await queries.stints_of(session, year)
    items = [
        ConstructorOut(
            constructor_id=team.constructor_id,
            name=team.name,
            nationality=team.nationality,
            drivers=[
                stint.driver_id
                for stint in stints
                if stint.constructor_id == team.constructor_id and stint.to_round is None
            ],
        )
        for team in teams[skip : skip + limit]
    ]
    return ConstructorList(total=len(teams), skip=skip, limit=limit, season=year, items=items)


async def _race(session: AsyncSession, race_id: str) -> tuple[queries.RaceRow, Race]:
    found = await queries.race(session, race_id)
    if found is None:
        raise NotFoundError("no_race", "There is no such race.")
    return found


def _race_out(season: int, race: Race, versions: dict[SessionKind, int]) -> RaceOut:
    return RaceOut(
        race_id=race.race_id,
        season=season,
        round=race.round,
        name=race.name,
        circuit_id=race.circuit_id,
        circuit_name=race.circuit_name,
        locality=race.locality,
        country=race.country,
        sprint=race.sprint,
        starts_at=next(held.starts_at for held in race.sessions if held.kind is SessionKind.RACE),
        sessions=race.sessions,
        results=[
            AvailableResult(session=kind, result_version=versions[kind]) for kind in SessionKind if kind in versions
        ],
    )


def _car_out(car: Car, driver: Driver, team: Constructor) -> CarOut:
    classified = car.status in PLACED and bool(car.grid)
    return CarOut(
        position=car.position,
        driver_id=car.driver_id,
        driver_name=f"{driver.given_name} {driver.family_name}",
        driver_code=driver.code,
        constructor_id=car.constructor_id,
        constructor_name=team.name,
        number=car.number,
        status=car.status,
        status_text=car.status_text,
        grid=car.grid,
        position_change=car.grid - car.position if car.grid and classified else None,
        laps=car.laps,
        points=car.points,
        time_millis=car.time_millis,
        fastest_lap_rank=car.fastest_lap_rank,
        q1=car.q1,
        q2=car.q2,
        q3=car.q3,
    )


def _driver_out(driver: Driver, stints: list[Stint]) -> DriverOut:
    return DriverOut(
        driver_id=driver.driver_id,
        given_name=driver.given_name,
        family_name=driver.family_name,
        code=driver.code,
        number=driver.number,
        nationality=driver.nationality,
        constructor_id=next((stint.constructor_id for stint in stints if stint.to_round is None), None),
        stints=[
            StintOut(constructor_id=stint.constructor_id, from_round=stint.from_round, to_round=stint.to_round)
            for stint in stints
        ],
    )


handlers = [list_races, get_race, get_results, list_drivers, list_constructors]
