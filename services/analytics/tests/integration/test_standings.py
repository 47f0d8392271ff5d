"""The championships over HTTP."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from common.contracts.ingest import SessionKind

DRIVERS = "/api/v1/analytics/standings/drivers"
CONSTRUCTORS = "/api/v1/analytics/standings/constructors"

Feed = Callable[..., Awaitable[None]]


def table(response: httpx.Response) -> list[tuple[int | None, str, str, int]]:
    assert response.status_code == 200, response.text
    return [
        (row["position"], row.get("driver_id") or row["constructor_id"], row["points"], row["wins"])
        for row in response.json()["standings"]
    ]


@pytest.fixture
async def season(feed: Feed, make: Any) -> list[Any]:
    """Three weekends, the second with a sprint; two of them have been raced."""
    races = [make.race(2026, 1), make.race(2026, 2, sprint=True), make.race(2026, 3, sprint=True)]
    await feed(
        make.season(2026, races=races, simulated=True),
        make.result(races[0], "VER NOR PIA", out="LEC"),
        make.result(races[1], "NOR PIA VER LEC", session=SessionKind.SPRINT),
        make.result(races[1], "PIA NOR LEC", out="VER"),
    )
    return races


async def test_standings_are_those_after_the_latest_race(client: httpx.AsyncClient, season: list[Any]) -> None:
    response = await client.get(DRIVERS)
    assert table(response) == [
        (1, "pia", "47", 1),
        (2, "nor", "44", 0),
        (3, "ver", "31", 1),
        (4, "lec", "20", 0),
    ]
    body = response.json()
    basis = {name: value for name, value in body.items() if name != "standings"}
    assert basis == {
        "season": 2026,
        "simulated": True,
        "round": 2,
        "race_id": season[1].race_id,
        "race_name": "circuit_2 Grand Prix",
        "provisional": False,
    }
    assert body["standings"][0] == {
        "position": 1,
        "driver_id": "pia",
        "name": "Given PIA Family PIA",
        "code": "PIA",
        "number": 3,
        "nationality": "Dutch",
        "constructors": [{"constructor_id": "mclaren", "name": "Mclaren"}],
        "points": "47",
        "wins": 1,
    }


async def test_constructors_add_up_their_cars(client: httpx.AsyncClient, season: list[Any]) -> None:
    assert season
    response = await client.get(CONSTRUCTORS)
    assert table(response) == [(1, "mclaren", "91", 1), (2, "red_bull", "31", 1), (3, "ferrari", "20", 0)]
    body = response.json()
    assert (body["season"], body["round"], body["simulated"], body["provisional"]) == (2026, 2, True, False)
    assert body["standings"][2] == {
        "position": 3,
        "constructor_id": "ferrari",
        "name": "Ferrari",
        "nationality": "British",
        "points": "20",
        "wins": 0,
    }


async def test_standings_after_an_earlier_round_know_nothing_of_later_ones(
    client: httpx.AsyncClient, season: list[Any]
) -> None:
    assert season
    response = await client.get(DRIVERS, params={"season": 2026, "round": 1})
    assert table(response) == [(1, "ver", "25", 1), (2, "nor", "18", 0), (3, "pia", "15", 0), (None, "lec", "0", 0)]
    response = await client.get(CONSTRUCTORS, params={"round": 1})
    assert table(response) == [(1, "mclaren", "33", 0), (2, "red_bull", "25", 1), (None, "ferrari", "0", 0)]


async def test_a_sprint_counts_at_once_where_its_round_is_asked_for_and_makes_it_provisional(
    client: httpx.AsyncClient, feed: Feed, make: Any, season: list[Any]
) -> None:
    await feed(make.result(season[2], "VER", session=SessionKind.SPRINT))
    assert (await client.get(DRIVERS)).json()["round"] == 2
    response = await client.get(DRIVERS, params={"round": 3})
    assert response.json()["provisional"] is True
    assert table(response)[2] == (3, "ver", "39", 1)


async def test_a_qualifying_gives_nothing(client: httpx.AsyncClient, feed: Feed, make: Any, season: list[Any]) -> None:
    before = (await client.get(DRIVERS)).json()
    for race in season:
        await feed(replace(make.result(race, "LEC VER"), session=SessionKind.QUALIFYING))
    assert (await client.get(DRIVERS)).json() == before
    response = await client.get(DRIVERS, params={"round": 3})
    assert (response.status_code, response.json()["code"]) == (404, "no_standings")


async def test_who_is_level_stands_in_the_order_of_the_calendar_the_sprint_first_and_of_each_list(
    client: httpx.AsyncClient, feed: Feed, make: Any
) -> None:
    races = [make.race(2026, 1, sprint=True), make.race(2026, 2)]
    await feed(
        make.season(2026, races=races),
        make.result(races[1], "", out="LEC PIA NOR VER"),
        make.result(races[0], "", out="VER PIA"),
        make.result(races[0], "", out="NOR VER", session=SessionKind.SPRINT),
    )
    assert [row[1] for row in table(await client.get(DRIVERS))] == ["nor", "ver", "pia", "lec"]


async def test_without_a_season_the_latest_with_a_race_result_is_shown(
    client: httpx.AsyncClient, feed: Feed, make: Any, season: list[Any]
) -> None:
    """The next year's calendar comes out while this year is raced."""
    assert season
    qualifying = replace(make.result(make.race(2027, 1), "VER"), session=SessionKind.QUALIFYING)
    await feed(make.season(2027), qualifying)
    assert (await client.get(DRIVERS)).json()["season"] == 2026
    assert (await client.get(CONSTRUCTORS, params={"round": 1})).json()["season"] == 2026


async def test_seasons_are_kept_apart(client: httpx.AsyncClient, feed: Feed, make: Any, season: list[Any]) -> None:
    assert season
    other = make.race(2025, 1)
    await feed(make.season(2025, races=[other]), make.result(other, "LEC"))
    assert table(await client.get(DRIVERS, params={"season": 2025})) == [(1, "lec", "25", 1)]
    assert table(await client.get(DRIVERS))[0] == (1, "pia", "47", 1)


async def test_a_driver_that_the_entry_list_does_not_name_yet_stands_with_his_id(
    client: httpx.AsyncClient, feed: Feed, make: Any
) -> None:
    race = make.race(2026, 1)
    nobody = replace(make.season(2026, races=[race]), drivers=[], constructors=[])
    await feed(nobody, make.result(race, "VER"))
    (row,) = (await client.get(DRIVERS)).json()["standings"]
    assert (row["name"], row["code"], row["constructors"]) == (
        "ver",
        None,
        [{"constructor_id": "red_bull", "name": "red_bull"}],
    )
    (row,) = (await client.get(CONSTRUCTORS)).json()["standings"]
    assert row["name"] == "red_bull"


@pytest.mark.parametrize("path", [DRIVERS, CONSTRUCTORS])
async def test_what_is_not_there_is_told_by_its_code(
    path: str, client: httpx.AsyncClient, feed: Feed, make: Any
) -> None:
    async def code(**params: int) -> str:
        response = await client.get(path, params=params)
        assert response.status_code == 404
        return str(response.json()["code"])

    assert await code() == "no_season"
    assert await code(round=1) == "no_season"
    await feed(make.season(2026))
    assert await code() == "no_standings"
    assert await code(season=2026) == "no_standings"
    assert await code(season=2026, round=3) == "no_standings"
    assert await code(season=2026, round=4) == "unknown_round"
    assert await code(season=2025) == "unknown_season"
    assert await code(season=2025, round=1) == "unknown_season"


@pytest.mark.parametrize("path", [DRIVERS, CONSTRUCTORS])
@pytest.mark.parametrize(
    "params",
    [{"season": "1949"}, {"season": "last"}, {"round": "0"}, {"round": "101"}, {"round": "-1"}, {"round": "x"}],
)
async def test_parameters_out_of_bounds_are_refused(
    path: str, params: dict[str, str], client: httpx.AsyncClient
) -> None:
    response = await client.get(path, params=params)
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_request"
