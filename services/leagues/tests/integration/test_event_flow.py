"""With NATS: what arrives is projected once, and a lock is told once, on time, whatever restarts in between."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import msgspec
import nats.errors
import pytest
from nats.js import JetStreamContext

from common import clock, topology
from common.contracts import Event, encode
from common.contracts.leagues import LineupsLocked
from devstack.testing import TokenMaker, eventually, running
from leagues.app import create_app
from leagues.settings import LeaguesSettings

if TYPE_CHECKING:
    from services.leagues.tests.integration.conftest import World

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FIVE, TWO = ["albon", "alonso", "gasly", "hamilton", "leclerc"], ["ferrari", "mclaren"]


@pytest.fixture
async def js(settings: LeaguesSettings) -> AsyncIterator[JetStreamContext]:
    client = await topology.connect(settings.nats_url, "test")
    yield client.jetstream()
    await client.close()


@pytest.fixture
async def empty(world: "World") -> AsyncIterator["World"]:
    """Nothing of other tests is published from here, and nothing of these is left for others."""
    yield world
    await world.execute("TRUNCATE outbox")


async def deliver(js: JetStreamContext, *events: Event) -> None:
    """Publish each event twice with one id, and once more with another, as a careless producer would."""
    for event in events:
        once = str(uuid4())
        for event_id in (once, once, str(uuid4())):
            headers = {
                "ce-id": event_id,
                "ce-type": event.subject,
                "ce-source": f"/paddock/{event.source}",
                "ce-subject": event.key(),
                "ce-time": "2026-03-07T05:00:00Z",
            }
            await js.publish(event.subject, encode(event), stream=topology.EVENTS, headers=headers)


async def told(js: JetStreamContext, season: int) -> list[LineupsLocked]:
    """Every `lineups.locked` of the season that is in the stream."""
    subscription = await js.subscribe(LineupsLocked.subject, ordered_consumer=True)
    found = []
    with contextlib.suppress(nats.errors.TimeoutError):
        while True:
            message = await subscription.next_msg(timeout=0.5)
            found.append(msgspec.json.decode(message.data, type=LineupsLocked))
    await subscription.unsubscribe()
    return [event for event in found if event.season == season]


async def priced(http: httpx.AsyncClient, season: int) -> Any:
    response = await http.get("/api/v1/market", params={"season": season})
    return response.status_code == 200 and response.json()["drivers"][0]["price"] is not None


def slot(season: int) -> str:
    return f"lineups.locked:{season}-circuit1"


async def published(world: "World", season: int) -> bool:
    """Tell whether the relay has sent the lock of round 1."""
    rows = await world.rows("SELECT published_at FROM outbox WHERE slot = :slot", slot=slot(season))
    return [row.published_at is not None for row in rows] == [True]


async def test_a_weekend_from_the_calendar_to_the_late_change(
    empty: "World", settings: LeaguesSettings, js: JetStreamContext, tokens: TokenMaker
) -> None:
    season = 2150
    body = {"drivers": FIVE, "constructors": TWO}
    headers = tokens.headers(uuid4())

    def calendar(version: int, lock_at: datetime) -> Event:
        races = [empty.race(number, lock_at + 7 * (number - 1) * DAY, season=season) for number in (1, 2)]
        return empty.synced(races, version, season)

    async with running(create_app(settings)) as http:
        await deliver(js, empty.priced(season=season), calendar(1, clock.now() + HOUR))
        await eventually(lambda: priced(http, season), what="the market", seconds=20)
        entry = {"name": "Late Brakers", "season": season}
        team = (await http.post("/api/v1/teams", json=entry, headers=headers)).json()
        path = f"/api/v1/teams/{team['team_id']}/lineup"
        assert (await http.put(path, json=body, headers=headers)).status_code == 200
        lock_at = clock.now() + timedelta(seconds=2)
        await deliver(js, calendar(2, lock_at))
        await eventually(lambda: published(empty, season), what="the lock", seconds=20)
        late = await http.put(path, json=body, headers=headers)
        assert (late.status_code, late.json()["code"]) == (409, "round_locked")
    [event] = await told(js, season)
    assert (event.round, event.race_id, event.locked_at) == (1, f"{season}-circuit1", lock_at)
    rows = await empty.rows("SELECT published_at FROM outbox WHERE slot = :slot", slot=slot(season))
    assert [lock_at <= row.published_at < lock_at + timedelta(seconds=2) for row in rows] == [True]
    for subject in ("team.created", "lineup.submitted"):
        assert len(await empty.rows("SELECT 1 FROM outbox WHERE subject = :subject", subject=subject)) == 1


async def test_a_lock_that_comes_while_the_service_is_down_is_told_once_it_is_up(
    empty: "World", settings: LeaguesSettings, js: JetStreamContext
) -> None:
    season = 2151
    lock_at = clock.now() + timedelta(seconds=1)
    await empty.feed(empty.synced([empty.race(1, lock_at, season=season)], season=season))

    async def passed() -> bool:
        [row] = await empty.rows("SELECT bool_and(lock_at < clock_timestamp()) AS passed FROM locks")
        return bool(row.passed)

    await eventually(passed, what="the time of the lock")
    assert not await published(empty, season)
    for _ in range(2):
        async with running(create_app(settings)):
            await eventually(lambda: published(empty, season), what="the lock")
    [event] = await told(js, season)
    assert event.locked_at == lock_at
