"""Whatever is sent, the answer is a documented problem and nothing is stored."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from services.leagues.tests.integration.conftest import World

WRITES = [
    ("POST", "/leagues"),
    ("POST", "/leagues/join"),
    ("POST", "/leagues/{league}/join"),
    ("POST", "/teams"),
    ("PUT", "/teams/{team}/lineup"),
]
BODIES = [
    (b"", 422, "invalid_request"),
    (b"{", 400, "malformed_request"),
    (b'{"name": "Slipstream', 400, "malformed_request"),
    (b"\xff\xfe\x00", 400, "malformed_request"),
    (b'{"name": "\\ud800"}', 400, "malformed_request"),
    (b"null", 422, "invalid_request"),
    (b"[]", 422, "invalid_request"),
    (b'"name"', 422, "invalid_request"),
    (b"1e999", 400, "malformed_request"),
    (b'{"no_such_field": 1}', 422, "invalid_request"),
    (b"[" * 100_000, 400, "malformed_request"),
    (b'{"name": "' + b"x" * 2_000_000 + b'"}', 413, "body_too_large"),
]

NOBODYS = "3d594650-3436-4c9c-8f5d-5ad9f7c1b2aa"
"""A team that does not exist; the same in every run, for it names tests."""


@pytest.mark.parametrize(("method", "path"), WRITES)
async def test_a_body_that_cannot_be_used_is_a_problem_and_stores_nothing(
    world: "World", method: str, path: str
) -> None:
    await world.open()
    ann = world.caller()
    team, league = await ann.team(), await world.caller().league()
    before = await world.snapshot()
    answers = {}
    for body, status, code in BODIES:
        response = await ann.raw(method, path.format(team=team, league=league["league_id"]), body)
        answers[body[:24]] = (response.status_code, response.json()["code"]), (status, code)
        assert response.headers["content-type"] == "application/problem+json"
    assert {body: got for body, (got, _) in answers.items()} == {body: want for body, (_, want) in answers.items()}
    assert await world.snapshot() == before


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/leagues", {"search": "nul\x00"}, 422),
        ("/leagues", {"mine": "perhaps"}, 422),
        ("/leagues", {"skip": 10**30}, 422),
        ("/teams", {"season": "latest"}, 422),
        ("/teams", {"season": 10**12}, 422),
        ("/market", {"season": -1}, 422),
        ("/rounds/next", {"season": 3000}, 422),
        ("/rounds/next", {"season": 2199}, 404),
        (f"/teams/{NOBODYS}/lineup", {"round": 0}, 422),
        (f"/teams/{NOBODYS}/lineup", {"round": "x"}, 422),
        (f"/teams/{NOBODYS}x", {}, 404),
        ("/leagues/00000000-0000-0000-0000-00000000000g", {}, 404),
        ("/leagues/join", {}, 405),
    ],
)
async def test_a_query_that_cannot_be_used_is_a_problem(
    world: "World", path: str, query: dict[str, object], status: int
) -> None:
    await world.open()
    response = await world.caller().get(path, **query)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


async def test_no_two_routes_answer_for_the_same_path(world: "World") -> None:
    document = (await world.http.get("/schema/openapi.json")).json()
    paths = {path for path in document["paths"] if path.startswith("/api/")}
    assert paths == {
        "/api/v1/leagues",
        "/api/v1/leagues/join",
        "/api/v1/leagues/{league_id}",
        "/api/v1/leagues/{league_id}/join",
        "/api/v1/market",
        "/api/v1/rounds/next",
        "/api/v1/teams",
        "/api/v1/teams/{team_id}",
        "/api/v1/teams/{team_id}/lineup",
    }
