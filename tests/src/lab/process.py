"""Starting, ending and questioning processes of the laboratory."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from devstack import spawn
from devstack.ports import free_port
from devstack.preload import Nursery
from lab.worker import Work

SOURCES = Path(__file__).parents[1]
PRELOADED = (
    "common.app",
    "common.migrate",
    "analytics.app",
    "auth.app",
    "gateway.app",
    "ingest.app",
    "leagues.app",
    "scoring.app",
    "lab.handlers",
)
STOP_SECONDS = 30.0
TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """One process that can be hurt."""

    def __init__(self, process: spawn.Process, log: Path, port: int | None) -> None:
        self._process = process
        self.log = log
        self.port = port

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """How it ended."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def stop(self) -> int:
        """End it in order; return its exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    async def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end; return its exit code."""
        return await asyncio.to_thread(self.wait_blocking, seconds)

    def wait_blocking(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end without a loop."""
        return self._process.wait(seconds)

    def cpu_seconds(self) -> float:
        """Processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    async def get(self, path: str) -> httpx.Response:
        """Ask it over HTTP."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=5) as client:
            return await client.get(path)

    async def status(self, path: str) -> int:
        """Ask for a status; 0 when nobody answers."""
        try:
            return (await self.get(path)).status_code
        except httpx.TransportError:
            return 0

    async def metric(self, name: str, **labels: str) -> float | None:
        """Read one of its metrics."""
        families = text_string_to_metric_families((await self.get("/metrics")).text)
        for family in families:
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None


class Lab:
    """Starts processes, from a preloaded one where the system can fork it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environ = dict(os.environ) | {
            "PYTHONPATH": os.pathsep.join([str(SOURCES), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
            "PYTHONUNBUFFERED": "1",
        }
        self._nursery = Nursery(folder / "nursery.log", self._environ, PRELOADED) if Nursery.possible() else None
        self._started: list[spawn.Process] = []
        self._numbers = 0
        if self._nursery is not None:
            self._nursery.start()

    def work(self, work: Work, name: str = "worker") -> Process:
        """Start a process of the bus."""
        return self.run("lab.worker", {Work.variable: msgspec.json.encode(work).decode()}, name, work.port)

    def run(self, module: str, environ: dict[str, str], name: str, port: int | None = None) -> Process:
        """Start ``python -m module``."""
        self._numbers += 1
        log = self.folder / f"{name}-{self._numbers}.log"
        argv = (sys.executable, "-m", module)
        environ = self._environ | environ
        process: spawn.Process
        if self._nursery is not None:
            process = self._nursery.spawn(argv, log=log, env=environ)
        else:
            process = spawn.spawn(argv, log=log, env=environ)
        self._started.append(process)
        return Process(process, log, port)

    def warm_up(self) -> None:
        """Wait until the preloaded process has imported what it is to import."""
        self.run("lab.events", {}, "warm").wait_blocking()

    def end(self) -> None:
        """Kill what the last test left."""
        for process in self._started:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        for process in self._started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        self._started.clear()

    def close(self) -> None:
        """End everything."""
        self.end()
        if self._nursery is not None:
            self._nursery.kill()

    @staticmethod
    def port() -> int:
        """Choose a free port."""
        return free_port()


class Ledger:
    """Reads a laboratory's database, through the deaths of its server."""

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._schema = schema
        self._connection: asyncpg.Connection | None = None

    async def rows(self, query: str, *arguments: Any, seconds: float = 20) -> list[tuple[Any, ...]]:
        """Run a query, again when the server is away."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(
                        self._url, timeout=5, server_settings={"search_path": self._schema}
                    )
                return [tuple(row) for row in await self._connection.fetch(query, *arguments, timeout=15)]
            except (
                OSError,
                asyncpg.PostgresConnectionError,
                asyncpg.InterfaceError,
                asyncpg.OperatorInterventionError,
            ):
                await self.close()
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)

    async def value(self, query: str, *arguments: Any) -> Any:
        """Run a query that gives one value."""
        return (await self.rows(query, *arguments))[0][0]

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
