"""The calendar over HTTP."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from sqlalchemy import func, select

from common.contracts.ingest import SessionKind
from common.db import Database

SCHEDULE = "/api/v1/analytics/schedule"
NEXT = f"{SCHEDULE}/next"

Feed = Callable[..., Awaitable[None]]


@pytest.fixture
async def now(database: Database) -> datetime:
    """The database's clock, which is the one that decides."""
    async with database.transaction() as session:
        found: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return found


async def test_a_schedule_has_every_weekend_with_its_sessions_in_order(
    client: httpx.AsyncClient, feed: Feed, make: Any
) -> None:
    races = [make.race(2026, 2), make.race(2026, 1, sprint=True)]
    await feed(make.season(2026, races=races, simulated=True))
    response = await client.get(SCHEDULE)
    assert response.status_code == 200
    body = response.json()
    assert (body["season"], body["simulated"]) == (2026, True)
    assert [race["round"] for race in body["races"]] == [1, 2]
    first = body["races"][0]
    assert first == {
        "race_id": "2026-circuit_1",
        "round": 1,
        "name": "circuit_1 Grand Prix",
        "circuit_id": "circuit_1",
        "circuit_name": "circuit_1 circuit",
        "locality": "Somewhere",
        "country": "Nowhere",
        "sprint": True,
        "starts_at": "2026-03-08T14:00:00Z",
        "sessions": [
            {"kind": "sprint", "starts_at": "2026-03-07T10:00:00Z", "result_version": None},
            {"kind": "qualifying", "starts_at": "2026-03-07T14:00:00Z", "result_version": None},
            {"kind": "race", "starts_at": "2026-03-08T14:00:00Z", "result_version": None},
        ],
    }


async def test_a_session_tells_which_version_of_its_result_is_here(
    client: httpx.AsyncClient, feed: Feed, make: Any
) -> None:
    race = make.race(2026, 1)
    await feed(make.season(2026, races=[race]), make.result(race, "VER NOR", version=2))
    (only,) = (await client.get(SCHEDULE)).json()["races"]
    assert [held["result_version"] for held in only["sessions"]] == [None, 2]


async def test_the_latest_season_is_shown_unless_another_is_asked_for(
    client: httpx.AsyncClient, feed: Feed, make: Any
) -> None:
    await feed(make.season(2025), make.season(2024))
    assert (await client.get(SCHEDULE)).json()["season"] == 2025
    assert (await client.get(SCHEDULE, params={"season": 2024})).json()["season"] == 2024


async def test_a_race_whose_start_is_not_known_is_listed_and_never_the_next(
    client: httpx.AsyncClient, feed: Feed, make: Any
) -> None:
    races = [make.race(2900, number) for number in (1, 2)]
    await feed(
        make.season(2900, races=[replace(races[0], sessions=[]), replace(races[1], sessions=races[1].sessions[:1])])
    )
    shown = (await client.get(SCHEDULE)).json()["races"]
    assert [(race["starts_at"], len(race["sessions"])) for race in shown] == [(None, 0), (None, 1)]
    assert (await client.get(NEXT)).status_code == 404


async def test_the_next_race_is_the_first_whose_start_is_to_come(
    client: httpx.AsyncClient, feed: Feed, make: Any, now: datetime
) -> None:
    hour = timedelta(hours=1)
    races = [
        make.race(2026, 1, starts_at=now - hour),
        make.race(2026, 3, starts_at=now + 3 * hour),
        make.race(2026, 2, starts_at=now + hour),
    ]
    await feed(make.season(2026, races=races, simulated=True))
    body = (await client.get(NEXT)).json()
    assert (body["season"], body["simulated"], body["race"]["round"]) == (2026, True, 2)


async def test_a_weekend_stays_the_next_until_its_race_starts(
    client: httpx.AsyncClient, feed: Feed, make: Any, now: datetime
) -> None:
    """Its qualifying was a day earlier, on whatever date that is where the server stands."""
    race = make.race(2026, 1, starts_at=now + timedelta(minutes=10))
    await feed(make.season(2026, races=[race]))
    body = (await client.get(NEXT)).json()
    assert body["race"]["race_id"] == race.race_id
    assert body["next_session"]["kind"] == "race"


async def test_the_next_session_is_the_first_of_the_weekend_that_has_not_started(
    client: httpx.AsyncClient, feed: Feed, make: Any, now: datetime
) -> None:
    race = make.race(2026, 1, starts_at=now + timedelta(hours=26), sprint=True)
    await feed(make.season(2026, races=[race]))
    assert (await client.get(NEXT)).json()["next_session"]["kind"] == SessionKind.QUALIFYING


async def test_the_next_race_may_be_that_of_the_next_season(
    client: httpx.AsyncClient, feed: Feed, make: Any, now: datetime
) -> None:
    day = timedelta(days=1)
    this, following = make.race(2026, 24, starts_at=now - day), make.race(2027, 1, starts_at=now + 90 * day)
    later = make.race(2025, 1, starts_at=now + 91 * day)
    await feed(make.season(2027, races=[following]), make.season(2026, races=[this]), make.season(2025, races=[later]))
    assert (await client.get(NEXT)).json()["race"]["race_id"] == following.race_id


async def test_when_every_race_has_started_there_is_no_next(
    client: httpx.AsyncClient, feed: Feed, make: Any, now: datetime
) -> None:
    await feed(make.season(2026, races=[make.race(2026, 1, starts_at=now - timedelta(seconds=1))]))
    response = await client.get(NEXT)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "no_next_race"


async def test_without_any_season_there_is_no_schedule_and_no_next(client: httpx.AsyncClient) -> None:
    answers = [await client.get(SCHEDULE), await client.get(SCHEDULE, params={"season": 2026}), await client.get(NEXT)]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert [answer.json()["code"] for answer in answers] == ["no_season", "unknown_season", "no_next_race"]


@pytest.mark.parametrize("season", ["next", "1949", "3000", "99999999999999999999", "2026.5", ""])
async def test_a_season_that_is_no_year_is_refused(client: httpx.AsyncClient, season: str) -> None:
    response = await client.get(SCHEDULE, params={"season": season})
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_request"
