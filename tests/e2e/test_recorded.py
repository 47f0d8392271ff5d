"""A recorded season gives back what really happened: every point, and the standings after every round."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.stack import Stack

pytestmark = pytest.mark.e2e

PACE_SECONDS = 12
ROUNDS = (1, 2, 3)


@pytest.fixture(scope="module")
def season(stacks: Callable[..., Stack], recorded_seasons: Path) -> Stack:
    start = datetime.now(UTC) + timedelta(seconds=5)
    return stacks(recorded=recorded_seasons, season=2024, rounds="1-3", pace=PACE_SECONDS, start=start)


def body(folder: Path, name: str, number: int) -> Any:
    return json.loads((folder / f"2024/{name}/{number}.json").read_text())["MRData"]


@pytest.fixture(scope="module")
async def raced(season: Stack, player_at: Callable[[Stack, str], Any]) -> Stack:
    """All three rounds are run and analytics has them."""
    watcher = player_at(season, "watcher")
    await watcher.scored(ROUNDS[-1], seconds=PACE_SECONDS * len(ROUNDS) + 30)
    return season


@pytest.mark.parametrize("number", ROUNDS)
async def test_stored_points_equal_the_real_ones(
    number: int,
    raced: Stack,
    recorded_seasons: Path,
    observe: Callable[[Stack], Any],
) -> None:
    race = body(recorded_seasons, "results", number)["RaceTable"]["Races"][0]
    real = {row["Driver"]["driverId"]: Decimal(row["points"]) for row in race["Results"]}
    async with httpx.AsyncClient(base_url=raced.gateway_url) as client:
        race_id = f"2024-{race['Circuit']['circuitId']}"
        answer = (await client.get(f"/api/v1/races/{race_id}/results", params={"session": "race"})).json()
    assert {row["driver_id"]: Decimal(row["points"]) for row in answer["rows"]} == real
    versions = await observe(raced).rows(
        f"SELECT max(result_version) FROM ingest.results WHERE race_id = '{race_id}' AND session = 'race'"
    )
    assert versions == [(1,)]


@pytest.mark.parametrize("number", ROUNDS)
async def test_standings_equal_the_recorded_ones_after_each_round(
    number: int, raced: Stack, recorded_seasons: Path
) -> None:
    recorded = body(recorded_seasons, "driverstandings", number)["StandingsTable"]["StandingsLists"][0]
    real = [
        (row["Driver"]["driverId"], int(row["position"]), Decimal(row["points"]), int(row["wins"]))
        for row in recorded["DriverStandings"]
    ]
    async with httpx.AsyncClient(base_url=raced.gateway_url) as client:
        params = {"season": 2024, "round": number}
        answer = (await client.get("/api/v1/analytics/standings/drivers", params=params)).json()
    ours = [(row["driver_id"], row["position"], Decimal(row["points"]), row["wins"]) for row in answer["standings"]]
    assert sorted(ours) == sorted(real)
