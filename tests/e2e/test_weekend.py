"""The main job, as two people live it: register, make a league, submit, be locked, score, understand why."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from devstack.stack import Stack

pytestmark = pytest.mark.e2e

PACE_SECONDS = 24


@pytest.fixture(scope="module")
def stack(stacks: Callable[..., Stack]) -> Stack:
    return stacks(pace=PACE_SECONDS, seed=7, start=datetime.now(UTC) + timedelta(seconds=8), rounds="1-2")


async def test_two_people_play_a_weekend(
    stack: Stack,
    player_at: Callable[[Stack, str], Any],
    make_lineups: Callable[[Any, int], list[dict[str, list[str]]]],
) -> None:
    first = await player_at(stack, "first_driver").enter()
    second = await player_at(stack, "second_driver").enter()
    market = await first.market()
    ours, theirs = make_lineups(market, 2)

    team, rival = await first.team("Box Box"), await second.team("Plan B")
    league = await first.call("POST", "/leagues", 201, json={"name": "Late Brakers", "private": True})
    await second.call("GET", f"/leagues/{league['league_id']}", 404)
    await second.call("POST", "/leagues/join", 201, json={"code": league["code"]})
    assert (await first.submit(team, ours))["effective_round"] == 1
    await second.submit(rival, theirs)
    await second.call("PUT", f"/teams/{team}/lineup", 404, json=theirs)

    upcoming = await first.get("/rounds/next")
    assert upcoming["round"] == 1
    refusal = await late_change(first, team, theirs, datetime.fromisoformat(upcoming["lock_at"]))
    assert refusal["code"] == "round_locked"
    assert refusal["status"] == 409

    scores = await first.scored(1, seconds=PACE_SECONDS + 20)
    points = {asset["asset_id"]: asset["points"] for asset in scores["assets"]}
    expected = {
        "Box Box": sum(points[asset] for asset in ours["drivers"] + ours["constructors"]),
        "Plan B": sum(points[asset] for asset in theirs["drivers"] + theirs["constructors"]),
    }
    board = await first.get(f"/leagues/{league['league_id']}/leaderboard")
    assert {row["team_name"]: row["total"] for row in board["items"]} == expected

    winner = max(scores["assets"], key=lambda asset: asset["points"] if asset["kind"] == "driver" else -999)
    why = await first.get(f"/rounds/2026/1/explain/driver/{winner['asset_id']}")
    assert sum(row["points"] for row in why["rows"]) == why["total"] == winner["points"]
    assert any(row["missing"] for row in why["rows"])

    schedule = await first.get("/analytics/schedule")
    assert len(schedule["races"]) == 2
    standings = await first.get("/analytics/standings/drivers")
    assert standings["round"] == 1


async def late_change(player: Any, team: str, lineup: dict[str, list[str]], lock_at: datetime) -> Any:
    """Change the line-up as soon as the lock has come, and return the refusal."""
    await asyncio.sleep(max(0.0, (lock_at - datetime.now(UTC)).total_seconds()) + 0.2)
    return await player.submit(team, lineup, status=409)


@pytest.fixture
async def listener(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.gateway_url, timeout=httpx.Timeout(10, read=90)) as client:
        yield client


async def test_the_stream_tells_of_the_second_race_and_resumes(listener: httpx.AsyncClient) -> None:
    path = "/api/v1/stream?topics=race.scored,leaderboard.updated"
    seen: list[str] = []
    last_id = ""
    async with listener.stream("GET", path) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        async for line in stream.aiter_lines():
            if line.startswith("event: "):
                seen.append(line.removeprefix("event: "))
            if line.startswith("id: "):
                last_id = line.removeprefix("id: ")
            if {"race.scored", "leaderboard.updated"} <= set(seen) and last_id:
                break
    async with listener.stream("GET", path, headers={"Last-Event-ID": str(int(last_id) - 1)}) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("id: "):
                assert line == f"id: {last_id}"
                break
