"""The upstream of these tests is `trackside`, over HTTP, at a time that a test sets."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from sqlalchemy import func, select, text

from common.contracts import REGISTRY, Event
from common.db import Database
from devstack.testing import SettingsMaker, eventually
from ingest.jolpica import Jolpica
from ingest.models import metadata, outbox
from ingest.settings import IngestSettings
from trackside.app import create_app
from trackside.config import Config


class Clock:
    """What time it is at the upstream."""

    def __init__(self) -> None:
        self.now: datetime | None = None

    def __call__(self) -> datetime:
        return self.now or datetime.now(UTC)


class Upstream:
    """A running trackside."""

    def __init__(self, origin: str, clock: Clock, http: httpx.AsyncClient) -> None:
        self.url = f"{origin}/ergast/f1"
        self.clock = clock
        self.http = http

    async def fault(self, kind: str, path: str, times: int = 1, **more: Any) -> None:
        body = {"kind": kind, "path": path, "times": times, **more}
        (await self.http.post("/control/faults", json=body)).raise_for_status()

    async def amend(self, **decision: Any) -> None:
        (await self.http.post("/control/amend", json=decision)).raise_for_status()

    async def reset(self) -> None:
        (await self.http.post("/control/reset")).raise_for_status()

    async def requests(self) -> dict[str, int]:
        state: dict[str, Any] = (await self.http.get("/control/state")).json()
        return dict(state["requests"])


Serve = Callable[[Config], Awaitable[Upstream]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a trackside as configured; it stops with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(config: Config) -> Upstream:
            clock = Clock()
            listener = socket.socket(
                socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
            )  # asyncio asks for the proto
            listener.bind(("127.0.0.1", 0))
            app: Any = create_app(config, clock)
            server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
            task = asyncio.create_task(server.serve(sockets=[listener]))

            async def stop() -> None:
                server.should_exit = True
                await task
                listener.close()

            stack.push_async_callback(stop)
            origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=origin))

            async def started() -> bool:
                return server.started

            await eventually(started, what="trackside")
            return Upstream(origin, clock, http)

        yield start


@pytest.fixture
async def settings(settings_for: SettingsMaker) -> IngestSettings:
    made: IngestSettings = await settings_for("ingest", IngestSettings)
    return msgspec.structs.replace(
        made,
        requests_per_second=10_000,
        requests_per_hour=1_000_000,
        retry_attempts=4,
        retry_wait_seconds=0.005,
        request_timeout_seconds=2,
        result_delay_seconds=0,
        poll_seconds=0.1,
        database_pool_size=4,
    )


@pytest.fixture
async def database(settings: IngestSettings) -> AsyncIterator[Database]:
    """An empty schema."""
    database = Database(settings, "ingest")
    async with database.transaction() as session:
        names = ", ".join(table.name for table in metadata.sorted_tables)
        await session.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
    yield database
    await database.close()


@pytest.fixture
async def asking(settings: IngestSettings) -> AsyncIterator[Callable[[Upstream], Jolpica]]:
    """Give a client of an upstream."""
    async with contextlib.AsyncExitStack() as stack:

        def make(upstream: Upstream) -> Jolpica:
            client = Jolpica(msgspec.structs.replace(settings, jolpica_url=upstream.url))
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture
def published(database: Database) -> Callable[[], Awaitable[list[Event]]]:
    """Give what is in the outbox, in order, without timers that are still to go off."""

    async def read() -> list[Event]:
        async with database.transaction() as session:
            query = select(outbox.c.subject, outbox.c.body).where(outbox.c.deliver_at <= func.clock_timestamp())
            rows = await session.execute(query.order_by(outbox.c.id))
            return [msgspec.json.decode(row.body, type=REGISTRY[row.subject]) for row in rows]

    return read


@pytest.fixture
def counts(database: Database) -> Callable[[], Awaitable[dict[str, int]]]:
    """Count the rows of every table but the book of runs."""

    async def read() -> dict[str, int]:
        async with database.transaction() as session:
            return {
                table.name: await session.scalar(select(func.count()).select_from(table)) or 0
                for table in metadata.sorted_tables
                if table.name != "sync_runs"
            }

    return read
