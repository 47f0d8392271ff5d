"""The public API over what the poller has gathered."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from common import clock
from common.db import Database
from devstack.testing import eventually, running
from ingest.app import create_app
from ingest.settings import IngestSettings
from trackside.config import Config

DAY = 86_400


@pytest.fixture
async def client(serve: Any, settings: IngestSettings, database: Database) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ARG001 - an empty database
    """Two weekends are over, a third is to come."""
    upstream = await serve(Config(start=clock.now() - timedelta(days=2), pace=DAY, rounds=(1, 3)))
    async with running(create_app(msgspec.structs.replace(settings, jolpica_url=upstream.url))) as http:

        async def caught_up() -> bool:
            races = (await http.get("/api/v1/races")).json()["items"]
            return [len(race["results"]) for race in races] == [2, 3, 0]

        await eventually(caught_up, what="all results")
        yield http


async def problem(client: httpx.AsyncClient, path: str) -> tuple[int, str]:
    response = await client.get(path)
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


async def test_races_come_in_order_with_their_sessions(client: httpx.AsyncClient) -> None:
    page = (await client.get("/api/v1/races")).json()
    assert (page["total"], page["skip"], page["limit"]) == (3, 0, 50)
    assert [race["round"] for race in page["items"]] == [1, 2, 3]
    sprint = page["items"][1]
    assert sprint["race_id"] == "2026-shanghai"
    assert [held["kind"] for held in sprint["sessions"]] == ["fp1", "sprint_qualifying", "sprint", "qualifying", "race"]
    assert sprint["starts_at"] == sprint["sessions"][-1]["starts_at"]
    assert [found["session"] for found in sprint["results"]] == ["sprint", "qualifying", "race"]
    assert (await client.get("/api/v1/races/2026-shanghai")).json() == sprint


async def test_a_list_is_cut_into_pages(client: httpx.AsyncClient) -> None:
    page = (await client.get("/api/v1/races", params={"skip": 1, "limit": 1})).json()
    assert [race["round"] for race in page["items"]] == [2]
    assert page["total"] == 3
    drivers = (await client.get("/api/v1/drivers", params={"skip": 20, "limit": 20})).json()
    assert (drivers["total"], len(drivers["items"])) == (22, 2)


async def test_a_race_has_its_classification_with_names_and_places_won(client: httpx.AsyncClient) -> None:
    result = (await client.get("/api/v1/races/2026-albert_park/results")).json()
    assert (result["session"], result["result_version"], result["status"]) == ("race", 1, "provisional")
    assert (result["season"], result["round"], result["reason"]) == (2026, 1, None)
    assert len(result["rows"]) == 22
    first = result["rows"][0]
    assert first["position_change"] == first["grid"] - 1
    assert first["points"] == "25"
    assert first["driver_name"]
    assert first["constructor_name"]
    out = [row for row in result["rows"] if row["status"] not in {"finished", "lapped"}]
    assert all(row["position_change"] is None for row in out)


async def test_qualifying_and_sprint_have_theirs(client: httpx.AsyncClient) -> None:
    path = "/api/v1/races/2026-shanghai/results"
    qualifying = (await client.get(path, params={"session": "qualifying"})).json()
    assert qualifying["rows"][0]["q3"]
    assert qualifying["rows"][0]["grid"] is None
    sprint = (await client.get(path, params={"session": "sprint"})).json()
    assert [row["points"] for row in sprint["rows"][:9]] == ["8", "7", "6", "5", "4", "3", "2", "1", "0"]


async def test_drivers_and_constructors_know_each_other(client: httpx.AsyncClient) -> None:
    drivers = (await client.get("/api/v1/drivers")).json()
    teams = (await client.get("/api/v1/constructors", params={"season": 2026})).json()
    assert (drivers["season"], drivers["total"], teams["total"]) == (2026, 22, 11)
    seats = {driver["driver_id"]: driver["constructor_id"] for driver in drivers["items"]}
    assert {name: team["constructor_id"] for team in teams["items"] for name in team["drivers"]} == seats
    assert drivers["items"][0]["stints"] == [
        {"constructor_id": drivers["items"][0]["constructor_id"], "from_round": 1, "to_round": None}
    ]


async def test_an_unknown_season_is_an_empty_list(client: httpx.AsyncClient) -> None:
    for path in ("races", "drivers", "constructors"):
        page = (await client.get(f"/api/v1/{path}", params={"season": 1999})).json()
        assert (page["total"], page["items"]) == (0, [])


async def test_what_is_not_there_and_what_makes_no_sense_are_problems(client: httpx.AsyncClient) -> None:
    races = "/api/v1/races"
    assert await problem(client, f"{races}/2026-nowhere") == (404, "no_race")
    assert await problem(client, f"{races}/2026-nowhere/results") == (404, "no_race")
    assert await problem(client, f"{races}/2026-suzuka/results") == (404, "no_result")
    assert await problem(client, f"{races}/2026-albert_park/results?session=sprint") == (404, "no_result")
    assert await problem(client, f"{races}/2026-albert_park/results?session=fp1") == (404, "no_result")
    assert await problem(client, f"{races}/2026-albert_park/results?session=warmup") == (422, "invalid_request")
    assert await problem(client, f"{races}?season=soon") == (422, "invalid_request")
    assert await problem(client, f"{races}?season=99999999999999999999") == (422, "invalid_request")
    assert await problem(client, f"{races}?skip=-1") == (422, "invalid_request")
    assert await problem(client, f"{races}?limit=101") == (422, "invalid_request")
    assert await problem(client, f"{races}/a%00b") == (422, "invalid_value")
    assert await problem(client, f"{races}/{'x' * 101}") == (422, "invalid_request")


async def test_the_document_names_every_status(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/schema/openapi.json")).json()["paths"]
    assert set(paths) == {
        "/api/v1/races",
        "/api/v1/races/{race_id}",
        "/api/v1/races/{race_id}/results",
        "/api/v1/drivers",
        "/api/v1/constructors",
    }
    assert set(paths["/api/v1/races"]["get"]["responses"]) >= {"200", "422", "503"}
    assert set(paths["/api/v1/races/{race_id}/results"]["get"]["responses"]) >= {"200", "404", "422", "503"}
