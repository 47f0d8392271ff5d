"""Everything starts in any order: whoever is absent at first, nobody gives up and all are ready soon after (E26)."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from common import migrate
from devstack.servers import start_nats, start_postgres, start_valkey
from devstack.testing import PASSWORD, Servers
from lab import registry, wire
from lab.process import Lab, Process

pytestmark = pytest.mark.timed

SERVERS = ("nats", "postgres", "valkey")
ALIVE_SECONDS = 5.0
READY_SECONDS = 10.0
PATIENCE_SECONDS = 2.0
"""How long the absent stay away once everybody is alive."""
GATEWAY = "gateway"
COMBINATIONS = [absent for size in range(len(SERVERS) + 1) for absent in itertools.combinations(SERVERS, size)]


@dataclass
class Ground:
    """The three servers, with schemas and streams."""

    servers: dict[str, Any]
    urls: Servers
    lab: Lab

    async def away(self, names: tuple[str, ...]) -> None:
        for name in names:
            await asyncio.to_thread(self.servers[name].kill)

    async def back(self, names: tuple[str, ...]) -> None:
        await asyncio.gather(*(asyncio.to_thread(self.servers[name].revive) for name in names))

    def start(self) -> dict[str, Process]:
        """Start every deployable as it is deployed."""
        names = [*migrate.SERVICES, GATEWAY]
        ports = {name: self.lab.port() for name in names}
        shared = {f"{name.upper()}_URL": f"http://127.0.0.1:{port}" for name, port in ports.items()}
        shared |= {
            "PADDOCK_ENV": "development",
            "NATS_URL": self.urls.nats_url,
            "REDIS_URL": self.urls.redis_url,
            "INGEST_JOLPICA_URL": f"http://127.0.0.1:{self.lab.port()}",
        }
        return {
            name: self.lab.run(
                name,
                shared | {"PORT": str(port)} | self.database(name),
                name,
                port,
            )
            for name, port in ports.items()
        }

    def database(self, name: str) -> dict[str, str]:
        return {} if name == GATEWAY else {"DATABASE_URL": self.urls.database_url_of(name)}


def waits_for(name: str, absent: tuple[str, ...]) -> bool:
    """Whether a deployable cannot do its work without those who are absent."""
    if name == GATEWAY:
        return False
    return "postgres" in absent or ("nats" in absent and name in registry.services())


@pytest.fixture(scope="module")
async def ground(preloaded: Lab, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    folder: Path = tmp_path_factory.mktemp("ground")
    postgres = await asyncio.to_thread(start_postgres, folder / "postgres", durable=False)
    nats = start_nats(folder / "nats", durable=False)
    valkey = start_valkey(folder / "valkey")
    urls = Servers(database_url=postgres.url, nats_url=nats.url, redis_url=valkey.url)
    await migrate.bootstrap(postgres.url, dict.fromkeys(migrate.SERVICES, PASSWORD))
    for service in migrate.SERVICES:
        await migrate.upgrade(service, urls.database_url_of(service))
    await wire.prepare_streams(nats.url)
    yield Ground({"nats": nats, "postgres": postgres, "valkey": valkey}, urls, preloaded)
    preloaded.end()
    for server in (valkey, nats, postgres):
        server.stop()


async def since(began: float, process: Process, path: str, seconds: float) -> float:
    """Ask until the answer is 200; return how long after ``began``, or infinity when the time is up."""
    while (passed := time.monotonic() - began) < seconds:
        if await process.status(path) == 200:
            return time.monotonic() - began
        await asyncio.sleep(0.05)
    return float("inf") if passed >= seconds else passed


@pytest.mark.parametrize("absent", COMBINATIONS, ids=lambda absent: "-".join(absent) or "nobody")
async def test_everybody_waits_for_whoever_is(absent: tuple[str, ...], ground: Ground) -> None:
    await ground.away(absent)
    began = time.monotonic()
    processes = ground.start()
    try:
        alive = await asyncio.gather(
            *(since(began, process, "/health/live", ALIVE_SECONDS + 1) for process in processes.values())
        )
        assert max(alive) <= ALIVE_SECONDS, dict(zip(processes, alive, strict=True))
        await asyncio.sleep(PATIENCE_SECONDS if absent else 0)
        for name, process in processes.items():
            if waits_for(name, absent):
                assert await process.status("/health/ready") == 503, name
            assert process.alive, f"{name} gave up: {process.log.read_text()[-2000:]}"
        await ground.back(absent)
        began = time.monotonic()
        ready = await asyncio.gather(
            *(since(began, process, "/health/ready", READY_SECONDS + 2) for process in processes.values())
        )
        assert max(ready) <= READY_SECONDS, dict(zip(processes, ready, strict=True))
        assert await asyncio.gather(*(process.stop() for process in processes.values())) == [0] * len(processes)
        print(f"E26 without {absent}: alive {max(alive):.1f} s, ready {max(ready):.1f} s")  # noqa: T201 - a figure
    finally:
        await ground.back(tuple(name for name in SERVERS if not ground.servers[name].running))
        await asyncio.gather(*(process.kill() for process in processes.values()))
