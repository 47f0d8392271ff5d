"""Whatever the order and however often the events come, the tables are those of the highest versions."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from itertools import permutations
from typing import Any

import httpx
from msgspec.structs import asdict, replace
from sqlalchemy import select

from analytics.models import CARS, CONSTRUCTORS, DRIVERS, RACES, RESULTS, SEASONS, SESSIONS, metadata
from common.contracts.ingest import Car, CarStatus, SessionKind
from common.db import Database

STANDINGS = "/api/v1/analytics/standings/drivers"
PROJECTION = (SEASONS, RACES, SESSIONS, DRIVERS, CONSTRUCTORS, RESULTS, CARS)

Feed = Callable[..., Awaitable[None]]
State = dict[str, list[dict[str, Any]]]


async def state(database: Database) -> State:
    async with database.transaction() as session:
        return {
            table.name: [
                dict(row) for row in (await session.execute(select(table).order_by(*table.primary_key))).mappings()
            ]
            for table in PROJECTION
        }


async def empty(database: Database) -> None:
    async with database.transaction() as session:
        for table in reversed(metadata.sorted_tables):
            await session.execute(table.delete())


async def leader(client: httpx.AsyncClient) -> tuple[str, str]:
    row = (await client.get(STANDINGS)).json()["standings"][0]
    return row["driver_id"], row["points"]


async def test_every_order_and_every_repetition_gives_the_same_tables(
    database: Database, feed: Feed, make: Any
) -> None:
    first, second = make.race(2026, 1), make.race(2026, 2, sprint=True)
    events = [
        make.season(2026, version=1, races=[first]),
        make.season(2026, version=2, races=[first, second], simulated=True),
        make.result(first, "VER NOR PIA LEC"),
        make.result(first, "NOR PIA", version=2, out="VER"),
        make.result(first, "PIA NOR LEC", version=3),
    ]
    await feed(*events)
    expected = await state(database)
    assert [car["driver_id"] for car in expected["cars"]] == ["pia", "nor", "lec"]
    assert [season["season_version"] for season in expected["seasons"]] == [2]
    assert [race["race_id"] for race in expected["races"]] == [first.race_id, second.race_id]
    for order in permutations(events):
        await empty(database)
        await feed(*order, *order[::-1])
        assert await state(database) == expected


async def test_an_amended_result_changes_the_standings(client: httpx.AsyncClient, feed: Feed, make: Any) -> None:
    race = make.race(2026, 1)
    await feed(make.season(2026, races=[race]), make.result(race, "VER NOR PIA"))
    assert await leader(client) == ("ver", "25")
    await feed(make.result(race, "NOR PIA", version=2, out="VER"))
    assert await leader(client) == ("nor", "25")
    rows = (await client.get(STANDINGS)).json()["standings"]
    assert [(row["position"], row["driver_id"], row["wins"]) for row in rows] == [
        (1, "nor", 1),
        (2, "pia", 0),
        (None, "ver", 0),
    ]


async def test_versions_handled_at_the_same_time_leave_the_highest(database: Database, feed: Feed, make: Any) -> None:
    """As by several replicas of the service."""
    for number in range(1, 6):
        race = make.race(2026, number)
        versions = [make.result(race, "VER NOR PIA LEC"[: 3 + 4 * version], version=version) for version in (1, 2, 3)]
        calendars = [make.season(2020 + number, version=version) for version in (1, 2, 3)]
        await asyncio.gather(*(feed(event) for event in [*versions, *calendars]))
    kept = await state(database)
    assert [result["result_version"] for result in kept["results"]] == [3] * 5
    assert [season["season_version"] for season in kept["seasons"]] == [3] * 5
    assert len(kept["cars"]) == 5 * 4
    assert len(kept["races"]) == 5 * 3


async def test_an_older_version_that_comes_late_changes_nothing(
    client: httpx.AsyncClient, feed: Feed, make: Any
) -> None:
    race = make.race(2026, 1)
    await feed(make.season(2026, races=[race]), make.result(race, "NOR", version=2, out="VER"))
    await feed(make.result(race, "VER NOR"))
    assert await leader(client) == ("nor", "25")


async def test_the_sprint_and_the_race_have_versions_of_their_own(
    client: httpx.AsyncClient, feed: Feed, make: Any
) -> None:
    race = make.race(2026, 1, sprint=True)
    await feed(
        make.season(2026, races=[race]),
        make.result(race, "VER", version=2, session=SessionKind.SPRINT),
        make.result(race, "VER"),
    )
    assert await leader(client) == ("ver", "33")


async def test_results_wait_for_the_calendar_that_names_their_race(
    client: httpx.AsyncClient, feed: Feed, make: Any
) -> None:
    first, second = make.race(2026, 1), make.race(2026, 2)
    await feed(make.season(2026, races=[first]), make.result(first, "VER"), make.result(second, "VER"))
    assert await leader(client) == ("ver", "25")
    await feed(make.season(2026, version=2, races=[first, second]))
    assert await leader(client) == ("ver", "50")


async def test_the_calendar_says_which_round_a_race_is_however_its_result_was_numbered(
    client: httpx.AsyncClient, feed: Feed, make: Any
) -> None:
    """A cancelled race moves those behind it up by one."""
    moved = make.race(2026, 2, name="imola")
    await feed(make.season(2026, races=[make.race(2026, 1), moved]), make.result(moved, "VER"))
    assert (await client.get(STANDINGS)).json()["round"] == 2
    await feed(make.season(2026, version=2, races=[make.race(2026, 1, name="imola")]))
    assert (await client.get(STANDINGS)).json()["round"] == 1
    assert (await client.get(STANDINGS, params={"round": 2})).json()["code"] == "unknown_round"


async def test_a_classification_is_kept_whole(database: Database, feed: Feed, make: Any) -> None:
    event = make.result(make.race(2026, 1), "VER")
    car = Car(
        driver_id="ver",
        constructor_id="red_bull",
        number=1,
        position=4,
        status=CarStatus.LAPPED,
        status_text="Lapped",
        grid=20,
        laps=57,
        points=Decimal("12.5"),
        time_millis=5_504_742,
        fastest_lap_rank=3,
        q1="1:30.031",
        q2="1:29.374",
        q3="1:29.179",
    )
    await feed(replace(event, classification=[car, car]))
    key = {"race_id": event.race_id, "session": "race"}
    kept = await state(database)
    assert kept["cars"] == [{**key, "place": place, **asdict(car)} for place in (1, 2)]
    assert kept["results"] == [{**key, "result_version": 1, "status": "provisional", "observed_at": event.observed_at}]
