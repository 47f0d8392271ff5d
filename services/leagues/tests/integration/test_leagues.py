"""Leagues: who may see them, who gets in, and what is told about it."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from common import clock
from leagues import queries, service

if TYPE_CHECKING:
    from services.leagues.tests.integration.conftest import World


async def test_a_league_is_created_with_its_owner_as_the_first_member(world: "World") -> None:
    await world.open()
    ann = world.caller("ann")
    await world.register(ann)
    league = await ann.league("  Sunday   Drivers ", description=" For fun ", private=True)
    assert league["name"] == "Sunday Drivers"
    assert league["description"] == "For fun"
    assert (league["season"], league["mode"], league["private"]) == (2026, "budget", True)
    assert (league["members"], league["max_members"]) == (1, 20)
    assert league["owner"] == {"user_id": str(ann.id), "username": "ann"}
    assert league["membership"]["team_id"] is None
    [created] = await world.events("league.created")
    [joined] = await world.events("league.joined")
    assert (str(created.league_id), created.owner_id, created.name) == (league["league_id"], ann.id, "Sunday Drivers")
    assert (created.season, created.mode, created.private) == (2026, "budget", True)
    assert (joined.league_id, joined.user_id, joined.team_id) == (created.league_id, ann.id, None)
    assert joined.membership_version == 1


async def test_before_any_season_there_is_none_to_play(world: "World") -> None:
    ann = world.caller()
    for path, body in (("/leagues", {"name": "Early Birds"}), ("/teams", {"name": "Early Bird"})):
        response = await ann.post(path, body)
        assert (response.status_code, response.json()["code"]) == (409, "no_season")
    for path in ("/market", "/rounds/next"):
        assert (await ann.get(path)).json()["code"] == "no_season"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "ab"}, 422, "invalid_request"),
        ({"name": "x" * 101}, 422, "invalid_request"),
        ({"name": "   "}, 422, "invalid_name"),
        ({"name": "nul\x00nul"}, 422, "invalid_name"),
        ({}, 422, "invalid_request"),
        ({"name": 7}, 422, "invalid_request"),
        ({"name": "Fine", "private": "yes"}, 422, "invalid_request"),
        ({"name": "Fine", "description": "x" * 1001}, 422, "invalid_request"),
        ({"name": "Fine", "description": "nul\x00"}, 422, "invalid_value"),
        ({"name": "Fine", "max_members": 1}, 422, "invalid_request"),
        ({"name": "Fine", "max_members": 1001}, 422, "invalid_request"),
        ({"name": "Fine", "max_members": None, "private": True}, 422, "unlimited_private"),
        ({"name": "Fine", "mode": "poker"}, 422, "invalid_request"),
        ({"name": "Fine", "mode": "draft"}, 409, "mode_unavailable"),
        ({"name": "Fine", "season": 2001}, 404, "unknown_season"),
        ({"name": "Fine", "team_id": "mine"}, 422, "invalid_request"),
        ({"name": "Fine", "team_id": str(uuid4())}, 404, "unknown_team"),
        ({"name": "Fine", "owner_id": str(uuid4())}, 422, "invalid_request"),
    ],
)
async def test_a_league_that_cannot_be_is_refused_and_leaves_nothing(
    world: "World", body: dict[str, object], status: int, code: str
) -> None:
    await world.open()
    before = await world.snapshot()
    response = await world.caller().post("/leagues", body)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert await world.snapshot() == before


async def test_a_public_league_may_go_without_a_limit(world: "World") -> None:
    await world.open()
    assert (await world.caller().league(max_members=None))["max_members"] is None


async def test_a_taken_code_is_drawn_again(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    await world.open()
    taken = (await world.caller().league())["code"]
    draws = iter([taken, taken, "FREEFREE"])
    monkeypatch.setattr(service, "join_code", lambda _: next(draws))
    assert (await world.caller().league())["code"] == "FREEFREE"


async def test_a_code_that_is_never_free_is_told_and_not_looped_for_ever(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.open()
    taken = (await world.caller().league())["code"]
    monkeypatch.setattr(service, "join_code", lambda _: taken)
    response = await world.caller().post("/leagues", {"name": "Unlucky"})
    assert (response.status_code, response.json()["code"]) == (503, "no_free_code")
    assert response.headers["retry-after"] == "1"


async def test_a_private_league_leaks_nothing_to_outsiders(world: "World") -> None:
    await world.open()
    ann, eve = world.caller(), world.caller()
    league = await ann.league("Secret Circle", private=True)
    path = f"/leagues/{league['league_id']}"
    there, nowhere = await eve.get(path), await eve.get(f"/leagues/{uuid4()}")
    assert (there.status_code, nowhere.status_code) == (404, 404)
    assert {**there.json(), "request_id": ""} == {**nowhere.json(), "request_id": ""}
    assert (await eve.post(f"{path}/join", {})).json()["code"] == "unknown_league"
    for query in ({}, {"search": "secret"}, {"mine": True}):
        page = (await eve.get("/leagues", **query)).json()
        assert (page["items"], page["total"]) == ([], 0)
    assert (await ann.get(path)).json()["code"] == league["code"]
    assert [item["name"] for item in (await ann.get("/leagues", mine=True)).json()["items"]] == ["Secret Circle"]


async def test_nobody_without_a_token_reads_or_writes(world: "World") -> None:
    await world.open()
    league = await world.caller().league()
    for method, path in (
        ("GET", "/leagues"),
        ("POST", "/leagues"),
        ("GET", f"/leagues/{league['league_id']}"),
        ("POST", "/leagues/join"),
        ("POST", f"/leagues/{league['league_id']}/join"),
        ("GET", "/teams"),
        ("POST", "/teams"),
        ("GET", f"/teams/{uuid4()}"),
        ("GET", f"/teams/{uuid4()}/lineup"),
        ("PUT", f"/teams/{uuid4()}/lineup"),
    ):
        response = await world.http.request(method, f"/api/v1{path}", json={} if method != "GET" else None)
        assert (response.status_code, response.json()["code"]) == (401, "invalid_token"), (method, path)


async def test_only_members_see_the_code_of_a_public_league(world: "World") -> None:
    await world.open()
    ann, bob = world.caller(), world.caller()
    league = await ann.league()
    path = f"/leagues/{league['league_id']}"
    seen = (await bob.get(path)).json()
    assert (seen["name"], seen["code"], seen["membership"]) == (league["name"], None, None)
    assert [item["code"] for item in (await bob.get("/leagues")).json()["items"]] == [None]
    assert (await bob.post(f"{path}/join", {})).json()["code"] == league["code"]
    assert (await bob.get("/leagues")).json()["items"][0]["code"] == league["code"]


async def test_leagues_are_listed_newest_first_in_pages_with_the_true_total(world: "World") -> None:
    await world.open()
    ann, bob = world.caller(), world.caller()
    for number in range(5):
        await ann.league(f"League {number}", private=number == 2)
    page = (await bob.get("/leagues", skip=1, limit=2)).json()
    assert ([item["name"] for item in page["items"]], page["total"]) == (["League 3", "League 1"], 4)
    assert (page["skip"], page["limit"]) == (1, 2)
    assert (await bob.get("/leagues", skip=99)).json()["total"] == 4
    assert (await ann.get("/leagues", mine=True)).json()["total"] == 5
    assert (await bob.get("/leagues", mine=True)).json()["total"] == 0


async def test_a_search_takes_what_is_typed_literally(world: "World") -> None:
    await world.open()
    ann = world.caller()
    for name in ("100% Grip", "100 Laps", "Under_cut", "Undercut"):
        await ann.league(name)

    async def found(search: str) -> list[str]:
        return sorted(item["name"] for item in (await ann.get("/leagues", search=search)).json()["items"])

    assert await found("100%") == ["100% Grip"]
    assert await found("under_") == ["Under_cut"]
    assert await found("UNDER") == ["Under_cut", "Undercut"]
    assert await found("\\") == []


@pytest.mark.parametrize("query", [{"skip": -1}, {"limit": 0}, {"limit": 101}, {"limit": "all"}, {"search": "x" * 101}])
async def test_a_list_has_limits(world: "World", query: dict[str, object]) -> None:
    response = await world.caller().get("/leagues", **query)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


async def test_a_code_lets_in_once(world: "World") -> None:
    await world.open()
    ann, bob = world.caller(), world.caller()
    league = await ann.league(private=True)
    joined = await bob.post("/leagues/join", {"code": f" {league['code'].lower()} "})
    assert joined.status_code == 201
    assert (joined.json()["league_id"], joined.json()["members"]) == (league["league_id"], 2)
    for body in ({"code": league["code"]}, {"code": league["code"], "team_id": None}):
        again = await bob.post("/leagues/join", body)
        assert (again.status_code, again.json()["code"]) == (409, "already_member")
    owner = await ann.post("/leagues/join", {"code": league["code"]})
    assert owner.json()["code"] == "already_member"
    assert len(await world.events("league.joined")) == 2
    assert (await ann.get(f"/leagues/{league['league_id']}")).json()["members"] == 2


@pytest.mark.parametrize("code", ["NOSUCHON", "' OR 1=1", "%", "x"])
async def test_a_code_that_no_league_has_is_unknown(world: "World", code: str) -> None:
    await world.open()
    response = await world.caller().post("/leagues/join", {"code": code})
    assert (response.status_code, response.json()["code"]) == (404, "unknown_code")


async def test_a_member_plays_with_the_team_he_names_or_his_first(world: "World") -> None:
    await world.open()
    bob = world.caller()
    first, second = await bob.team("First"), await bob.team("Second")
    by_default = await world.caller().league()
    by_name = await world.caller().league()
    joined = await bob.post("/leagues/join", {"code": by_default["code"]})
    assert joined.json()["membership"]["team_id"] == first
    joined = await bob.post("/leagues/join", {"code": by_name["code"], "team_id": second})
    assert joined.json()["membership"]["team_id"] == second
    assert (await bob.league(team_id=second))["membership"]["team_id"] == second


async def test_nobody_enters_with_a_team_of_somebody_else_or_of_another_season(world: "World") -> None:
    await world.open()
    await world.feed(world.synced([world.race(1, clock.now() - timedelta(days=400), season=2025)], season=2025))
    bob, eve = world.caller(), world.caller()
    foreign, old = await bob.team(), await eve.team(season=2025)
    league = await world.caller().league()
    for team_id, status, code in ((foreign, 404, "unknown_team"), (old, 409, "wrong_season")):
        response = await eve.post("/leagues/join", {"code": league["code"], "team_id": team_id})
        assert (response.status_code, response.json()["code"]) == (status, code)
    assert len(await world.events("league.joined")) == 1


async def test_n_seats_take_n_members_however_many_come_at_once(world: "World") -> None:
    await world.open()
    ann = world.caller()
    league = await ann.league(max_members=8)
    joining = [world.caller().post("/leagues/join", {"code": league["code"]}) for _ in range(17)]
    answers = Counter(
        (answer.status_code, answer.json().get("code", "") if answer.status_code != 201 else "")
        for answer in await asyncio.gather(*joining)
    )
    assert answers == {(201, ""): 7, (409, "league_full"): 10}
    [row] = await world.rows("SELECT members, (SELECT count(*) FROM memberships) AS counted FROM leagues")
    assert (row.members, row.counted) == (8, 8)
    assert len(await world.events("league.joined")) == 8


async def test_one_user_who_joins_many_times_at_once_is_one_member(world: "World") -> None:
    await world.open()
    league, bob = await world.caller().league(), world.caller()
    answers = await asyncio.gather(*(bob.post("/leagues/join", {"code": league["code"]}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert (await bob.get(f"/leagues/{league['league_id']}")).json()["members"] == 2


async def test_a_name_arrives_with_its_event_however_often(world: "World") -> None:
    await world.open()
    ann = world.caller("ann")
    league = await ann.league()
    assert league["owner"]["username"] is None
    await world.register(ann)
    await world.register(ann)
    assert (await ann.get(f"/leagues/{league['league_id']}")).json()["owner"]["username"] == "ann"


async def test_a_league_is_read_as_it_is_and_not_as_it_was_earlier_in_the_transaction(world: "World") -> None:
    await world.open()
    ann = world.caller()
    league_id = UUID((await ann.league())["league_id"])
    async with world.database.transaction() as session:
        earlier = await queries.league_for(session, league_id, ann.id)
        await service.join_public(session, world.caller().id, league_id, None)
        assert (await queries.league_for(session, league_id, ann.id)).league.members == 2
        assert earlier.league.league_id == league_id
