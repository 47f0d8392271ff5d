"""The API, read by clients with and without a token."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from common.contracts.ingest import CarStatus, SessionKind
from devstack.testing import running
from scoring import leaderboards
from scoring.app import create_app

FIVE = ("d00", "d02", "d04", "d06", "d08")


@pytest.fixture(scope="module")
async def client(settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The API alone: nobody is there to bring events, and the tests score when they want to."""
    alone = msgspec.structs.replace(settings, nats_url="nats://127.0.0.1:1")
    async with running(create_app(alone)) as http:
        yield http


async def ask(client: httpx.AsyncClient, path: str, *, headers: dict[str, str] | None = None, **query: Any) -> Any:
    response = await client.get(f"/api/v1{path}", params=query, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


async def refused(client: httpx.AsyncClient, path: str, *, headers: dict[str, str] | None = None) -> tuple[int, str]:
    response = await client.get(f"/api/v1{path}", headers=headers)
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


@pytest.fixture
async def played(stage: Any, story: Any, luck: Any) -> Any:
    """Two rounds for five teams, of which 1 to 3 are in league 1, which is private, and 4 and 5 in league 2."""
    await stage.tell(story.calendar(), story.league(1, private=True), story.league(2, owner=4))
    for team in range(1, 6):
        await stage.tell(story.team(team), story.random_lineup(team, luck), story.joined(1 if team < 4 else 2, team))
    for number in (1, 2):
        order = luck.sample(story.drivers, 20)
        cars = story.cars(SessionKind.RACE, order, {order[3]: CarStatus.DNF}, seed=number)
        await stage.tell(
            story.lock(number), story.result(number, SessionKind.QUALIFYING), story.result(number, cars=cars)
        )
    await stage.settle()
    return stage


@pytest.mark.usefixtures("stage")
async def test_without_any_season_the_leaderboard_is_empty(client: httpx.AsyncClient) -> None:
    board = await ask(client, "/leaderboard")
    assert (board["season"], board["round"], board["items"], board["total"]) == (None, None, [], 0)
    assert (await ask(client, "/prices"))["items"] == []


async def test_before_the_first_score_everybody_stands_first_with_nothing(
    stage: Any, story: Any, client: httpx.AsyncClient
) -> None:
    await stage.play(story.calendar(), story.team(1, name="Zulu"), story.team(2, name="Alpha"))
    board = await ask(client, "/leaderboard")
    assert (board["season"], board["round"], board["total"], board["provisional"]) == (2026, None, 2, True)
    rows = [(row["rank"], row["team_name"], row["total"], row["change"]) for row in board["items"]]
    assert rows == [(1, "Alpha", 0, None), (1, "Zulu", 0, None)]


@pytest.mark.usefixtures("played")
async def test_the_global_leaderboard_shows_rank_change_points_and_total(client: httpx.AsyncClient) -> None:
    first = await ask(client, "/leaderboard", season=2026, round=1)
    latest = await ask(client, "/leaderboard")
    assert (first["round"], latest["round"], latest["total"], latest["provisional"]) == (1, 2, 5, False)
    assert {row["change"] for row in first["items"]} == {None}
    before = {row["team_id"]: row for row in first["items"]}
    for row in latest["items"]:
        assert row["total"] == before[row["team_id"]]["total"] + row["round_points"]
        assert row["change"] == before[row["team_id"]]["rank"] - row["rank"]
    assert [row["rank"] for row in latest["items"]] == sorted(row["rank"] for row in latest["items"])
    assert any(row["change"] for row in latest["items"])


async def test_a_round_is_provisional_until_its_race(stage: Any, story: Any, client: httpx.AsyncClient) -> None:
    await stage.play(story.calendar(), story.team(1), story.result(1, SessionKind.QUALIFYING))
    assert (await ask(client, "/leaderboard"))["provisional"]
    await stage.play(story.result(1))
    assert not (await ask(client, "/leaderboard"))["provisional"]


@pytest.mark.usefixtures("played")
async def test_pages_cover_a_leaderboard_without_overlap(client: httpx.AsyncClient) -> None:
    whole = await ask(client, "/leaderboard")
    pages = [await ask(client, "/leaderboard", skip=skip, limit=2) for skip in (0, 2, 4, 6)]
    assert [row for page in pages for row in page["items"]] == whole["items"]
    assert [len(page["items"]) for page in pages] == [2, 2, 1, 0]
    assert {page["total"] for page in pages} == {5}


@pytest.mark.usefixtures("played")
async def test_a_league_ranks_its_teams_among_themselves(client: httpx.AsyncClient, tokens: Any) -> None:
    somebody = tokens.headers(uuid4())
    league = UUID(int=50_002)
    board = await ask(client, f"/leagues/{league}/leaderboard", headers=somebody)
    everybody = await ask(client, "/leaderboard")
    expected = [row for row in everybody["items"] if UUID(row["team_id"]).int in {4, 5}]
    assert [(row["team_id"], row["total"]) for row in board["items"]] == [
        (row["team_id"], row["total"]) for row in expected
    ]
    assert [row["rank"] for row in board["items"]] == [1, 2]
    first = await ask(client, f"/leagues/{league}/leaderboard", headers=somebody, round=1)
    ranks = {row["team_id"]: row["rank"] for row in first["items"]}
    assert {row["team_id"]: ranks[row["team_id"]] - row["rank"] for row in board["items"]} == {
        row["team_id"]: row["change"] for row in board["items"]
    }
    assert (board["league_id"], board["total"], board["round"]) == (str(league), 2, 2)


async def test_a_team_that_joins_after_the_round_stands_in_its_league_with_nothing(
    played: Any, story: Any, client: httpx.AsyncClient, tokens: Any
) -> None:
    await played.play(story.team(9, before_round=3), story.joined(2, 9), story.joined(2, 8, with_team=False))
    board = await ask(client, f"/leagues/{UUID(int=50_002)}/leaderboard", headers=tokens.headers(uuid4()))
    new = next(row for row in board["items"] if UUID(row["team_id"]).int == 9)
    assert (new["total"], new["round_points"], new["change"], board["total"]) == (0, 0, None, 3)


@pytest.mark.usefixtures("played")
async def test_a_private_league_is_hidden_from_everybody_but_its_members(
    client: httpx.AsyncClient, tokens: Any
) -> None:
    path = f"/leagues/{UUID(int=50_001)}/leaderboard"
    assert len((await ask(client, path, headers=tokens.headers(UUID(int=10_002))))["items"]) == 3
    assert await refused(client, path, headers=tokens.headers(UUID(int=10_004))) == (404, "unknown_league")
    assert await refused(client, f"/leagues/{uuid4()}/leaderboard", headers=tokens.headers()) == (404, "unknown_league")
    assert await refused(client, path) == (401, "invalid_token")


async def test_a_league_before_the_first_score_lists_its_teams(
    stage: Any, story: Any, client: httpx.AsyncClient, tokens: Any
) -> None:
    await stage.play(story.calendar(), story.league(1, private=True), story.team(2), story.joined(1, 2))
    path = f"/leagues/{UUID(int=50_001)}/leaderboard"
    board = await ask(client, path, headers=tokens.headers(UUID(int=10_001)))
    assert [(row["rank"], row["total"]) for row in board["items"]] == [(1, 0)]
    assert (board["round"], board["score_version"]) == (None, None)


@pytest.mark.usefixtures("played")
async def test_points_of_a_team_are_those_of_its_assets(client: httpx.AsyncClient) -> None:
    points = await ask(client, f"/teams/{UUID(int=1)}/points")
    assert [one["round"] for one in points["rounds"]] == [1, 2]
    total = 0
    for one in points["rounds"]:
        scores = await ask(client, f"/rounds/2026/{one['round']}/scores")
        by_asset = {(asset["kind"], asset["asset_id"]): asset["points"] for asset in scores["assets"]}
        assert len(one["assets"]) == 7
        assert all(asset["points"] == by_asset[asset["kind"], asset["asset_id"]] for asset in one["assets"])
        assert one["points"] == sum(asset["points"] for asset in one["assets"])
        total += one["points"]
        assert one["total"] == total
    assert points["total"] == total


async def test_a_lineup_does_not_show_before_its_round_is_scored(
    played: Any, story: Any, client: httpx.AsyncClient
) -> None:
    await played.play(story.lineup(1, FIVE, ("c09",), version=5, from_round=3))
    assert "c09" not in str((await ask(client, f"/teams/{UUID(int=1)}/points"))["rounds"])


@pytest.mark.usefixtures("played")
async def test_every_assets_rows_add_up_to_its_points(client: httpx.AsyncClient) -> None:
    scores = await ask(client, "/rounds/2026/1/scores")
    assert len(scores["assets"]) == 30
    for asset in scores["assets"]:
        explained = await ask(client, f"/rounds/2026/1/explain/{asset['kind']}/{asset['asset_id']}")
        assert sum(row["points"] for row in explained["rows"]) == explained["total"] == asset["points"]
        assert sum(session["points"] for session in asset["sessions"]) == asset["points"]
        assert all(row["explanation"] for row in explained["rows"])
        assert asset["missing"] == any(row["missing"] for row in explained["rows"])
        assert explained["rule_hash"] == scores["rule_hash"]
        assert explained["results"] == [
            {"session": "qualifying", "result_version": 1},
            {"session": "race", "result_version": 1},
        ]


@pytest.mark.usefixtures("played")
async def test_prices_of_a_season_are_listed_once_each(client: httpx.AsyncClient) -> None:
    prices = await ask(client, "/prices", season=2026)
    assert (prices["season"], prices["price_version"], len(prices["items"])) == (2026, 1, 30)
    assert prices == await ask(client, "/prices")


async def test_rule_sets_are_listed(client: httpx.AsyncClient) -> None:
    names = [one["name"] for one in (await ask(client, "/rule-sets"))["items"]]
    assert {"official-2025", "official-2026"} <= set(names)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/leaderboard?round=7", (404, "round_not_scored")),
        ("/leaderboard?round=0", (422, "invalid_request")),
        ("/leaderboard?skip=-1", (422, "invalid_request")),
        ("/leaderboard?limit=0", (422, "invalid_request")),
        ("/leaderboard?limit=101", (422, "invalid_request")),
        ("/leaderboard?limit=many", (422, "invalid_request")),
        ("/leaderboard?season=99999999999999999999", (422, "invalid_request")),
        ("/rounds/2026/7/scores", (404, "round_not_scored")),
        ("/rounds/1951/1/scores", (404, "round_not_scored")),
        ("/rounds/99999999999/1/scores", (422, "invalid_request")),
        ("/rounds/2026/1/explain/driver/nobody", (404, "asset_not_scored")),
        ("/rounds/2026/1/explain/driver/c00", (404, "asset_not_scored")),
        ("/rounds/2026/1/explain/driver/a%00b", (404, "asset_not_scored")),
        ("/rounds/2026/1/explain/mechanic/d00", (422, "invalid_request")),
        ("/rounds/2026/7/explain/driver/d00", (404, "round_not_scored")),
        ("/rounds/first/1/scores", (404, "not_found")),
        ("/teams/00000000-0000-0000-0000-0000000f0000/points", (404, "unknown_team")),
        ("/teams/me/points", (404, "not_found")),
        ("/prices?season=12", (422, "invalid_request")),
    ],
)
@pytest.mark.usefixtures("played")
async def test_what_cannot_be_answered_is_a_problem_with_a_code(
    client: httpx.AsyncClient, path: str, answer: tuple[int, str]
) -> None:
    assert await refused(client, path) == answer


async def test_every_answer_is_as_documented(client: httpx.AsyncClient) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    answers = {path: set(item["get"]["responses"]) for path, item in document["paths"].items()}
    assert answers["/api/v1/leaderboard"] >= {"200", "404", "422", "503"}
    assert answers["/api/v1/leagues/{league_id}/leaderboard"] >= {"200", "401", "404", "422", "503"}
    assert answers["/api/v1/rounds/{season}/{round}/explain/{kind}/{asset_id}"] >= {"200", "404", "422", "503"}
    assert answers["/api/v1/rule-sets"] == {"200", "503"}


async def test_a_reader_sees_the_round_before_or_after_a_scoring_and_never_a_mix(
    played: Any, story: Any, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await ask(client, "/leaderboard")
    name_versions = leaderboards._versions

    async def score_in_between(*arguments: Any) -> dict[str, Any]:
        monkeypatch.setattr(leaderboards, "_versions", name_versions)
        cars = story.cars(SessionKind.RACE, reversed(story.drivers))
        await played.play(story.result(1, version=2, cars=cars), story.result(2, version=2, cars=cars))
        return await name_versions(*arguments)

    monkeypatch.setattr(leaderboards, "_versions", score_in_between)
    assert await ask(client, "/leaderboard") == before
    after = await ask(client, "/leaderboard")
    assert after["score_version"] > before["score_version"]
    assert after["items"] != before["items"]
