"""A laboratory for each test: processes that can be hurt, a database of its own, a broker of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from nats.js import JetStreamContext

from devstack.servers import NatsServer, start_nats
from devstack.testing import Servers
from lab import tables, wire
from lab.events import SERVICE
from lab.process import Lab, Ledger, Process
from lab.worker import Work

LONGEST_FIRST = ("test_kill", "test_storm", "test_outages", "test_crash_points", "test_race_storm", "test_start_order")
"""So that nobody waits for one of them alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    names = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: names.get(item.path.stem, len(names)))


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    laboratory = Lab(tmp_path_factory.mktemp("lab"))
    laboratory.warm_up()
    yield laboratory
    laboratory.close()


@pytest.fixture
def lab(preloaded: Lab) -> Iterator[Lab]:
    """Processes; what a test leaves is killed."""
    yield preloaded
    preloaded.end()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    """A broker that the test may hurt, as production has it: each write is synced."""
    server = start_nats(tmp_path / "nats", durable=True)
    yield server
    server.stop()


@dataclass
class Bench:
    """A broker with streams, a database with tables, and processes on both."""

    lab: Lab
    broker: NatsServer
    database_url: str
    ledger: Ledger
    js: JetStreamContext

    def work(self, **changes: Any) -> Work:
        """Say what a process is to do."""
        return Work(**({"database_url": self.database_url, "nats_url": self.broker.url} | changes))

    def start(self, **changes: Any) -> Process:
        """Start a process."""
        return self.lab.work(self.work(**changes))

    def serve(self, **changes: Any) -> Process:
        """Start a process that serves HTTP."""
        return self.start(port=self.lab.port(), **changes)


@contextlib.asynccontextmanager
async def a_bench(lab: Lab, broker: NatsServer, servers: Servers) -> AsyncIterator[Bench]:
    url = await tables.make_database(servers.database_url, f"lab_{uuid4().hex[:12]}")
    ledger = Ledger(url, SERVICE)
    await wire.prepare_streams(broker.url)
    async with wire.connected(broker.url) as js:
        yield Bench(lab, broker, url, ledger, js)
    await ledger.close()


@pytest.fixture
async def bench(lab: Lab, broker: NatsServer, servers: Servers) -> AsyncIterator[Bench]:
    async with a_bench(lab, broker, servers) as made:
        yield made
        await asyncio.to_thread(lab.end)


@pytest.fixture(scope="module")
async def benches(
    preloaded: Lab, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Callable[[], Awaitable[Bench]]]:
    """Give a function that makes a bench on a broker of its own; all last as long as the module."""
    async with contextlib.AsyncExitStack() as stack:

        async def make() -> Bench:
            server = await asyncio.to_thread(start_nats, tmp_path_factory.mktemp("nats"), durable=True)
            stack.callback(server.stop)
            return await stack.enter_async_context(a_bench(preloaded, server, servers))

        yield make
        await asyncio.to_thread(preloaded.end)
