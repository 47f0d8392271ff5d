"""Both championships against recorded Jolpica bodies: after every round that there are standings of."""

import json
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.contracts.ingest import (
    Car,
    CarStatus,
    Constructor,
    Driver,
    Race,
    ResultsSynced,
    ResultStatus,
    SeasonSynced,
    Session,
    SessionKind,
)

RECORDED = Path(os.environ.get("PADDOCK_RECORDED_DATA", Path(__file__).parents[4] / "../shared/data")) / "jolpica"
SESSIONS = {SessionKind.SPRINT: ("sprint", "SprintResults"), SessionKind.RACE: ("results", "Results")}
STATUS = {"R": CarStatus.DNF, "W": CarStatus.DNS, "D": CarStatus.DISQUALIFIED}
ROUNDS = {2024: 24, 2025: 12}

pytestmark = pytest.mark.skipif(
    not RECORDED.is_dir(), reason="needs recorded Jolpica bodies; PADDOCK_RECORDED_DATA says where they are"
)

Feed = Callable[..., Awaitable[None]]
Json = dict[str, Any]


def body(season: int, path: str) -> Json:
    found: Json = json.loads((RECORDED / str(season) / f"{path}.json").read_text(encoding="utf-8"))["MRData"]
    return found


def calendar(season: int) -> SeasonSynced:
    races = [
        Race(
            race_id=f"{season}-{race['Circuit']['circuitId']}",
            round=int(race["round"]),
            name=race["raceName"],
            circuit_id=race["Circuit"]["circuitId"],
            circuit_name=race["Circuit"]["circuitName"],
            locality=race["Circuit"]["Location"]["locality"],
            country=race["Circuit"]["Location"]["country"],
            sprint="Sprint" in race,
            sessions=[
                Session(kind=SessionKind.RACE, starts_at=datetime.fromisoformat(f"{race['date']}T{race['time']}"))
            ],
        )
        for race in body(season, "races")["RaceTable"]["Races"]
    ]
    drivers = [
        Driver(
            driver_id=driver["driverId"],
            given_name=driver["givenName"],
            family_name=driver["familyName"],
            code=driver.get("code"),
            number=int(driver["permanentNumber"]) if "permanentNumber" in driver else None,
            nationality=driver["nationality"],
        )
        for driver in body(season, "drivers")["DriverTable"]["Drivers"]
    ]
    constructors = [
        Constructor(constructor_id=team["constructorId"], name=team["name"], nationality=team["nationality"])
        for team in body(season, "constructors")["ConstructorTable"]["Constructors"]
    ]
    return SeasonSynced(
        season=season,
        season_version=1,
        simulated=False,
        races=races,
        drivers=drivers,
        constructors=constructors,
        stints=[],
    )


def car(row: Json) -> Car:
    classified = row["positionText"].isdigit()
    return Car(
        driver_id=row["Driver"]["driverId"],
        constructor_id=row["Constructor"]["constructorId"],
        number=int(row["number"]),
        position=int(row["position"]),
        status=CarStatus.FINISHED if classified else STATUS[row["positionText"]],
        status_text=row["status"],
        points=Decimal(row["points"]),
    )


def results(season: int, race: Race) -> list[ResultsSynced]:
    found = []
    for kind, (folder, key) in SESSIONS.items():
        if not (RECORDED / str(season) / folder / f"{race.round}.json").exists():
            continue
        for held in body(season, f"{folder}/{race.round}")["RaceTable"]["Races"]:
            cars = [car(row) for row in held[key]]
            event = ResultsSynced(
                season=season,
                round=race.round,
                race_id=race.race_id,
                session=kind,
                result_version=1,
                status=ResultStatus.FINAL,
                content_hash="",
                observed_at=datetime(season, 12, 31, tzinfo=UTC),
                classification=cars,
            )
            found.append(event)
    return found


def published(season: int, number: int, whose: str) -> list[Json]:
    (standings,) = body(season, f"{whose}standings/{number}")["StandingsTable"]["StandingsLists"]
    rows: list[Json] = standings[f"{whose.title()}Standings"]
    return rows


def expected_drivers(season: int, number: int) -> list[Json]:
    """The whole list, those without a position included."""
    return [
        {
            "position": int(row["position"]) if row["positionText"] != "-" else None,
            "driver_id": row["Driver"]["driverId"],
            "name": f"{row['Driver']['givenName']} {row['Driver']['familyName']}",
            "code": row["Driver"]["code"],
            "nationality": row["Driver"]["nationality"],
            "constructors": [
                {"constructor_id": team["constructorId"], "name": team["name"]} for team in row["Constructors"]
            ],
            "points": row["points"],
            "wins": int(row["wins"]),
        }
        for row in published(season, number, "driver")
    ]


def expected_constructors(season: int, number: int) -> list[Json]:
    return [
        {
            "position": int(row["position"]) if row["positionText"] != "-" else None,
            "constructor_id": row["Constructor"]["constructorId"],
            "name": row["Constructor"]["name"],
            "nationality": row["Constructor"]["nationality"],
            "points": row["points"],
            "wins": int(row["wins"]),
        }
        for row in published(season, number, "constructor")
    ]


async def shown(client: httpx.AsyncClient, whose: str, season: int, number: int) -> list[Json]:
    response = await client.get(f"/api/v1/analytics/standings/{whose}", params={"season": season, "round": number})
    assert response.status_code == 200, response.text
    return [{name: value for name, value in row.items() if name != "number"} for row in response.json()["standings"]]


@pytest.mark.parametrize("season", sorted(ROUNDS))
async def test_the_standings_after_every_round_are_the_recorded_ones(
    season: int, client: httpx.AsyncClient, feed: Feed
) -> None:
    """Fed backwards, with the calendar last. A driver's number is left out: Jolpica tells today's."""
    held = calendar(season)
    raced = [result for race in held.races if race.round <= ROUNDS[season] for result in results(season, race)]
    assert len({result.round for result in raced if result.session is SessionKind.RACE}) == ROUNDS[season]
    await feed(*raced[::-1], held)
    for number in range(1, ROUNDS[season] + 1):
        drivers = await shown(client, "drivers", season, number)
        assert drivers == expected_drivers(season, number), f"drivers after round {number}"
        constructors = await shown(client, "constructors", season, number)
        assert constructors == expected_constructors(season, number), f"constructors after round {number}"
