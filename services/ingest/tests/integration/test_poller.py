"""The poller in real time: it asks for what is due, alone among replicas, and nothing stops it for long."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select, text

from common import clock
from common.contracts.ingest import RaceFinished, ResultsAmended, ResultsSynced
from common.db import Database
from devstack.testing import eventually
from ingest.lease import LOCK_KEY
from ingest.models import races, results, sync_runs
from ingest.poller import Poller
from ingest.settings import IngestSettings
from trackside.config import Config

DAY = 86_400
HOLDER = text("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = :key AND granted")


@contextlib.asynccontextmanager
async def in_background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def poller(database: Database, asking: Any, settings: IngestSettings) -> Callable[..., Poller]:
    """Give a poller of an upstream."""

    def make(upstream: Any, **changes: Any) -> Poller:
        return Poller(database, asking(upstream), msgspec.structs.replace(settings, **changes))

    return make


async def count(database: Database, table: Any, *where: Any) -> int:
    async with database.transaction() as session:
        return await session.scalar(select(func.count()).select_from(table).where(*where)) or 0


def has(database: Database, table: Any, number: int) -> Callable[[], Coroutine[Any, Any, bool]]:
    async def probe() -> bool:
        return await count(database, table) == number

    return probe


async def holder(database: Database) -> int | None:
    async with database.transaction() as session:
        pid: int | None = await session.scalar(HOLDER, {"key": LOCK_KEY})
        return pid


async def test_what_happened_during_a_stop_is_caught_up_and_asked_for_once(
    serve: Any, poller: Any, database: Database
) -> None:
    upstream = await serve(Config(start=clock.now() - timedelta(days=3), pace=DAY, rounds=(1, 4)))
    async with in_background(poller(upstream).run()):
        await eventually(has(database, results, 7), what="qualifying and race of three weekends, and one sprint")
        await eventually(has(database, races, 4), what="the calendar")
        asked = await upstream.requests()
    sessions = {path: times for path, times in asked.items() if path.count("/") == 5 and "constructors" not in path}
    assert sessions == {
        "/ergast/f1/2026/1/qualifying.json": 1,
        "/ergast/f1/2026/1/results.json": 1,
        "/ergast/f1/2026/2/qualifying.json": 1,
        "/ergast/f1/2026/2/sprint.json": 1,
        "/ergast/f1/2026/2/results.json": 1,
        "/ergast/f1/2026/3/qualifying.json": 1,
        "/ergast/f1/2026/3/results.json": 1,
    }


async def test_a_weekend_is_followed_as_it_happens(serve: Any, poller: Any, database: Database, published: Any) -> None:
    upstream = await serve(Config(start=clock.now(), pace=4, rounds=(1, 1)))
    async with in_background(poller(upstream, recheck_seconds=0.2).run()):
        await eventually(has(database, results, 2), what="both results")
        [winner] = [event.winner for event in await published() if isinstance(event, RaceFinished)]
        await upstream.amend(season=2026, round=1, session="race", driver_id=winner, action="disqualify")
        await eventually(has(database, results, 3), what="the amended result")
    told = [type(event) for event in await published() if isinstance(event, ResultsSynced | ResultsAmended)]
    assert told == [ResultsSynced, ResultsSynced, ResultsAmended]


async def test_a_failing_session_does_not_hold_up_the_others(serve: Any, poller: Any, database: Database) -> None:
    upstream = await serve(Config(start=clock.now() - timedelta(days=3), pace=DAY, rounds=(1, 2)))
    await upstream.fault("500", "/1/qualifying", times=100_000)
    async with in_background(poller(upstream).run()):
        await eventually(has(database, results, 4), what="every result but one")
        failed = sync_runs.c.outcome == "failed"
        what = sync_runs.c.what == "result:2026-albert_park:qualifying"
        assert await count(database, sync_runs, failed, what) >= 1
        await upstream.reset()
        async with database.transaction() as session:
            await session.execute(text("UPDATE sessions SET failed_at = failed_at - interval '1 day'"))
        await eventually(has(database, results, 5), what="the last result")


async def test_of_two_pollers_one_works(serve: Any, poller: Any, database: Database) -> None:
    upstream = await serve(Config(start=clock.now() - timedelta(days=2), pace=DAY, rounds=(1, 2)))
    async with in_background(poller(upstream).run(), poller(upstream).run()):
        await eventually(has(database, results, 5), what="all results")
        assert await holder(database) is not None
        assert set((await upstream.requests()).values()) == {1}


async def test_a_poller_that_loses_its_connection_is_followed_by_one_that_works(
    serve: Any, poller: Any, database: Database
) -> None:
    upstream = await serve(Config(start=clock.now() - timedelta(days=2), pace=DAY, rounds=(1, 1)))
    await upstream.fault("500", "/1/results", times=100_000)
    async with in_background(poller(upstream).run(), poller(upstream).run()):
        await eventually(has(database, results, 1), what="the qualifying")
        first = await holder(database)
        async with database.transaction() as session:
            await session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": first})
            await session.execute(text("UPDATE sessions SET failed_at = NULL"))
        await upstream.reset()

        async def taken_over() -> bool:
            return await holder(database) not in {first, None}

        await eventually(taken_over, what="another holder of the lock")
        await eventually(has(database, results, 2), what="the race")


async def test_a_killed_replica_is_followed_by_another(
    serve: Any, poller: Any, database: Database, settings: IngestSettings
) -> None:
    upstream = await serve(Config(start=clock.now() - timedelta(days=2), pace=DAY, rounds=(1, 2)))
    await upstream.fault("slow", "/1/results", times=1, seconds=4)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ingest",
        env={
            **os.environ,
            "PORT": "0",
            "DATABASE_URL": settings.database_url,
            "NATS_URL": settings.nats_url,
            "INGEST_JOLPICA_URL": upstream.url,
            "INGEST_REQUESTS_PER_SECOND": "1000",
            "INGEST_RESULT_DELAY_SECONDS": "0",
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:

        async def in_the_middle() -> bool:
            return "/ergast/f1/2026/1/results.json" in await upstream.requests()

        await eventually(in_the_middle, seconds=30, what="a request on its way")
        async with in_background(poller(upstream).run()):
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await eventually(has(database, results, 5), seconds=10, what="all results")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
