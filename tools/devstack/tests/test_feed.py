import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from common import topology
from common.contracts import Event, encode
from common.contracts.leagues import LineupsLocked, TeamCreated
from devstack import feed
from devstack.servers import NatsServer, start_nats

NOW = datetime(2026, 3, 8, tzinfo=UTC)


def locked(number: int) -> LineupsLocked:
    return LineupsLocked(season=2026, round=number, race_id=f"2026-{number}", locked_at=NOW)


async def publish(server: NatsServer, *events: Event | bytes) -> None:
    client = await topology.connect(server.url, "test")
    for event in events:
        body = event if isinstance(event, bytes) else encode(event)
        subject = LineupsLocked.subject if isinstance(event, bytes) else event.subject
        await client.jetstream().publish(subject, body)
    await client.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    running = start_nats(tmp_path, durable=False)
    client = await topology.connect(running.url, "test")
    await topology.apply(client.jetstream())
    await client.close()
    yield running
    running.stop()


async def test_events_are_followed_across_a_crash_of_nats_without_gap_or_repetition(server: NatsServer) -> None:
    await publish(server, locked(1))
    ready = asyncio.Event()
    async with asyncio.timeout(20), contextlib.aclosing(feed.follow(server.url, (LineupsLocked,), ready.set)) as events:
        first = asyncio.ensure_future(anext(events))
        await ready.wait()
        await publish(server, locked(2))
        assert await first == locked(2)
        server.kill()
        server.restart()
        await publish(server, locked(3), locked(4))
        assert [await anext(events), await anext(events)] == [locked(3), locked(4)]


async def test_what_is_not_told_and_what_cannot_be_read_is_skipped(server: NatsServer) -> None:
    team = TeamCreated(team_id=uuid4(), user_id=uuid4(), name="x", season=2026, created_at=NOW)
    ready = asyncio.Event()
    async with asyncio.timeout(20), contextlib.aclosing(feed.follow(server.url, (LineupsLocked,), ready.set)) as events:
        first = asyncio.ensure_future(anext(events))
        await ready.wait()
        await publish(server, team, b"not json", locked(5))
        assert await first == locked(5)
