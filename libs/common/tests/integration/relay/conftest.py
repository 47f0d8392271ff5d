"""A track for each test: a database of its own, a broker of its own that may be hurt, and relays."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from common import outbox, topology
from common.db import Database
from common.relay import PARTITIONS, Relay
from common.settings import Settings
from devstack.servers import NatsServer, start_nats
from devstack.testing import Servers, eventually
from lab import tables, wire
from lab.events import SERVICE, LapDriven


@dataclass
class Track:
    """Where events are written and relayed."""

    settings: Settings
    database: Database
    broker: NatsServer
    js: JetStreamContext
    relays: list["asyncio.Task[None]"] = field(default_factory=list)
    others: list[Database] = field(default_factory=list)

    def relay(self) -> Relay:
        """Start a relay as a replica has it, with a pool of its own."""
        database = Database(self.settings, SERVICE)
        self.others.append(database)
        relay = Relay(database, self.settings)
        self.relays.append(asyncio.create_task(relay.run()))
        return relay

    async def stop(self, number: int = 0) -> None:
        """Stop a relay."""
        task = self.relays.pop(number)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        async with self.database.transaction() as session:
            yield session

    async def drive(self, car: str, *numbers: int) -> None:
        """Publish laps of a car, in one transaction."""
        async with self.transaction() as session:
            for number in numbers:
                await outbox.publish(session, LapDriven(car=car, number=number))

    async def rows(self, query: str, **values: Any) -> list[Any]:
        async with self.transaction() as session:
            return [*(await session.execute(text(query), values)).all()]

    async def value(self, query: str, **values: Any) -> Any:
        return (await self.rows(query, **values))[0][0]

    async def drained(self, seconds: float = 20) -> None:
        """Wait until every event has left."""

        async def empty() -> bool:
            return not await self.value("SELECT count(*) FROM outbox WHERE published_at IS NULL")

        await eventually(empty, seconds=seconds, what="an empty outbox")

    async def streamed(self) -> list[Msg]:
        """Read the whole stream."""
        return await wire.read_all(self.js, topology.EVENTS)

    async def all_held(self) -> None:
        """Wait until every partition has its relay."""

        async def held() -> bool:
            return len(await self.holders()) == PARTITIONS

        await eventually(held, seconds=20, what="a relay for every partition")

    async def holders(self) -> list[int]:
        """Give the database process that holds each held partition."""
        return [
            row[0]
            for row in await self.rows(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND objsubid = 2"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        ]

    async def close(self) -> None:
        while self.relays:
            await self.stop()
        for database in [*self.others, self.database]:
            await database.close()


def inversions(messages: list[tuple[str, int]]) -> int:
    """Count, over (key, number) in the order of arrival, the numbers that are less than one before them."""
    last: dict[str, int] = {}
    found = 0
    for key, number in messages:
        found += number < last.get(key, number)
        last[key] = max(number, last.get(key, number))
    return found


@pytest.fixture(scope="session")
def count_inversions() -> Any:
    return inversions


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    server = start_nats(tmp_path / "nats", durable=False)
    yield server
    server.stop()


@pytest.fixture
async def track(servers: Servers, broker: NatsServer) -> AsyncIterator[Track]:
    url = await tables.make_database(servers.database_url, f"track_{uuid4().hex[:12]}")
    await wire.prepare_streams(broker.url)
    settings = Settings(database_url=url, nats_url=broker.url, database_pool_size=20)
    async with wire.connected(broker.url) as js:
        track = Track(settings, Database(settings, SERVICE), broker, js)
        try:
            yield track
        finally:
            await track.close()


@pytest.fixture
async def watcher(track: Track) -> AsyncIterator[asyncpg.Connection]:
    """A connection outside of every pool."""
    connection = await asyncpg.connect(track.settings.database_url, server_settings={"search_path": SERVICE})
    yield connection
    await connection.close()
