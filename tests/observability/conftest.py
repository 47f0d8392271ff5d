"""Processes that are watched from outside: what they answer, what they export, what they send to a collector."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from devstack.servers import NatsServer, PostgresServer, start_nats, start_postgres
from lab import tables, wire
from lab.process import Lab, Process
from lab.worker import Work


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    laboratory = Lab(tmp_path_factory.mktemp("lab"))
    yield laboratory
    laboratory.close()


@dataclass
class Bench:
    """A database and a broker that a test may stop, and processes on both."""

    lab: Lab
    postgres: PostgresServer
    broker: NatsServer
    database_url: str

    async def serve(self) -> Process:
        """Start a service with one consumer and wait until it is ready."""
        work = Work(
            database_url=self.database_url,
            nats_url=self.broker.url,
            handlers="lab.handlers:plain",
            port=self.lab.port(),
        )
        process = self.lab.work(work)
        async with asyncio.timeout(60):
            while await process.status("/health/ready") != 200:
                assert process.alive, process.log.read_text()
                await asyncio.sleep(0.05)
        return process


@pytest.fixture(scope="module")
async def bench(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("servers")
    postgres = await asyncio.to_thread(start_postgres, folder / "postgres", durable=False)
    broker = await asyncio.to_thread(start_nats, folder / "nats", durable=False)
    await wire.prepare_streams(broker.url)
    url = await tables.make_database(postgres.url, "watched")
    yield Bench(lab, postgres, broker, url)
    await asyncio.to_thread(lab.end)
    broker.stop()
    postgres.stop()
