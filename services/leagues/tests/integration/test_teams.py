"""Teams: three in a season, and the first one plays where none was named."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from common import clock

if TYPE_CHECKING:
    from services.leagues.tests.integration.conftest import World


async def test_a_team_is_created_for_the_current_season_and_told_of(world: "World") -> None:
    await world.open()
    ann = world.caller("ann")
    await world.register(ann)
    response = await ann.post("/teams", {"name": " Slip  Stream "})
    team = response.json()
    assert response.status_code == 201
    assert (team["name"], team["season"], team["lineup"]) == ("Slip Stream", 2026, None)
    assert team["owner"] == {"user_id": str(ann.id), "username": "ann"}
    [created] = await world.events("team.created")
    assert (str(created.team_id), created.user_id, created.name) == (team["team_id"], ann.id, "Slip Stream")
    assert (await ann.get(f"/teams/{team['team_id']}")).json() == team
    assert (await ann.get("/teams")).json() == {"items": [team], "total": 1, "skip": 0, "limit": 20}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "ab"}, 422, "invalid_request"),
        ({"name": "a  "}, 422, "invalid_name"),
        ({"name": "x" * 101}, 422, "invalid_request"),
        ({"name": "a\x00bc"}, 422, "invalid_name"),
        ({"name": ["Team"]}, 422, "invalid_request"),
        ({"name": "Fine", "season": 1949}, 422, "invalid_request"),
        ({"name": "Fine", "season": 2001}, 404, "unknown_season"),
        ({"name": "Fine", "user_id": str(uuid4())}, 422, "invalid_request"),
    ],
)
async def test_a_team_that_cannot_be_is_refused_and_leaves_nothing(
    world: "World", body: dict[str, object], status: int, code: str
) -> None:
    await world.open()
    before = await world.snapshot()
    response = await world.caller().post("/teams", body)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert await world.snapshot() == before


async def test_a_name_is_taken_once_by_each_user_and_season(world: "World") -> None:
    await world.open()
    await world.feed(world.synced([], season=2025))
    ann, bob = world.caller(), world.caller()
    await ann.team("Slipstream")
    again = await ann.post("/teams", {"name": "Slipstream"})
    assert (again.status_code, again.json()["code"]) == (409, "team_name_taken")
    await bob.team("Slipstream")
    await ann.team("Slipstream", season=2025)


async def test_a_fourth_team_is_refused_but_not_in_another_season(world: "World") -> None:
    await world.open()
    await world.feed(world.synced([], season=2025))
    ann = world.caller()
    for number in range(3):
        await ann.team(f"Team {number}")
    fourth = await ann.post("/teams", {"name": "Team 3"})
    assert (fourth.status_code, fourth.json()["code"]) == (409, "too_many_teams")
    await ann.team("Team 3", season=2025)
    page = (await ann.get("/teams", season=2026, limit=2)).json()
    assert ([item["name"] for item in page["items"]], page["total"]) == (["Team 0", "Team 1"], 3)
    assert (await ann.get("/teams")).json()["total"] == 4


async def test_of_many_teams_at_once_three_are_created(world: "World") -> None:
    await world.open()
    ann = world.caller()
    answers = await asyncio.gather(*(ann.post("/teams", {"name": f"Team {n}"}) for n in range(10)))
    assert Counter(answer.status_code for answer in answers) == {201: 3, 409: 7}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"too_many_teams"}
    assert len(await world.events("team.created")) == 3
    assert [row.slot for row in await world.rows("SELECT slot FROM teams ORDER BY slot")] == [1, 2, 3]


async def test_the_first_team_plays_in_every_league_that_waited_for_one(world: "World") -> None:
    await world.open()
    await world.feed(world.synced([], season=2025))
    bob = world.caller()
    waiting = [await world.caller().league() for _ in range(2)]
    other = await world.caller().league(season=2025)
    for league in [*waiting, other]:
        await bob.post("/leagues/join", {"code": league["code"]})
    team = await bob.team("First")
    await bob.team("Second")
    for league in waiting:
        seen = (await bob.get(f"/leagues/{league['league_id']}")).json()
        assert seen["membership"]["team_id"] == team
    assert (await bob.get(f"/leagues/{other['league_id']}")).json()["membership"]["team_id"] is None
    told = [event for event in await world.events("league.joined") if event.user_id == bob.id]
    named = [event for event in told if event.team_id == UUID(team)]
    assert Counter(event.membership_version for event in told) == {1: 3, 2: 2}
    assert {event.membership_version for event in named} == {2}
    assert {str(event.league_id) for event in named} == {league["league_id"] for league in waiting}


async def test_joining_and_the_first_team_cannot_miss_each_other(world: "World") -> None:
    await world.open()
    for _ in range(10):
        league, bob = await world.caller().league(), world.caller()
        _, team = await asyncio.gather(bob.post("/leagues/join", {"code": league["code"]}), bob.team())
        seen = (await bob.get(f"/leagues/{league['league_id']}")).json()
        assert seen["membership"]["team_id"] == team


async def test_the_current_season_is_the_first_that_has_a_race_ahead(world: "World") -> None:
    now = clock.now()
    ann = world.caller()
    past = world.race(1, now - timedelta(days=400), season=2025)
    await world.feed(world.synced([past], season=2025))
    assert (await ann.get("/market")).json()["season"] == 2025
    await world.open()
    assert (await ann.get("/market")).json()["season"] == 2026
    await world.feed(world.synced([], season=2027))
    assert (await ann.get("/market")).json()["season"] == 2026
    await world.execute("UPDATE rounds SET race_starts_at = now() - interval '1 day'")
    assert (await ann.get("/market")).json()["season"] == 2027


async def test_a_team_that_is_not_there_is_unknown(world: "World") -> None:
    await world.open()
    ann = world.caller()
    for path in (f"/teams/{uuid4()}", f"/teams/{uuid4()}/lineup"):
        response = await ann.get(path)
        assert (response.status_code, response.json()["code"]) == (404, "unknown_team")
    assert (await ann.get("/teams/seven")).json()["code"] == "not_found"
