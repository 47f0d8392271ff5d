"""What is committed is published and what is not is not, however a transaction ends (E3)."""

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from common import outbox
from common.db import Database
from lab.events import SERVICE, LapDriven

TRANSACTIONS = 1000
WRITERS = 8
SEED = 3
KILLED = 4
LAPS_BEFORE_DEATH = 15
DRIVER = Path(__file__).with_name("driver.py")
TEST_SOURCES = Path(__file__).parents[5] / "tests" / "src"


class DriverGaveUpError(Exception):
    """The transaction's own reason to roll back."""


async def attempt(database: Database, admin: asyncpg.Connection, number: int, end: str) -> str:
    """Write a lap and its event in one transaction, and end it so."""
    try:
        async with database.transaction() as session:
            await session.execute(
                text("INSERT INTO effects (handler, key, number) VALUES ('lap', 'main', :number)"), {"number": number}
            )
            await outbox.publish(session, LapDriven(car="main", number=number))
            if end == "rolled back":
                raise DriverGaveUpError  # noqa: TRY301 - the transaction is what is left by it
            if end == "crashed":
                pid = await session.scalar(text("SELECT pg_backend_pid()"))
                await admin.fetchval("SELECT pg_terminate_backend($1)", pid)
    except DriverGaveUpError:
        return "rolled back"
    except DBAPIError:
        return "crashed"
    return "committed"


async def killed_driver(url: str, car: str) -> int:
    """Start a process that drives, kill it in the middle; return how many laps it said it had committed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(DRIVER),
        url,
        car,
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ) | {"PYTHONPATH": str(TEST_SOURCES)},
    )
    assert process.stdout is not None
    for _ in range(LAPS_BEFORE_DEATH):
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"lap\n"
    process.kill()
    rest = await process.stdout.read()
    await process.wait()
    return LAPS_BEFORE_DEATH + rest.count(b"lap\n")


async def test_of_a_thousand_transactions_those_that_committed_are_published_and_no_other(
    track: Any, watcher: asyncpg.Connection
) -> None:
    dice = random.Random(SEED)  # noqa: S311 - which way to end
    ends = dice.choices(["committed", "rolled back", "crashed"], weights=[70, 15, 15], k=TRANSACTIONS)
    work = iter(enumerate(ends))
    outcomes: list[str] = []
    terminating = asyncio.Lock()

    class OneAtATime:
        async def fetchval(self, query: str, pid: int) -> Any:
            async with terminating:
                return await watcher.fetchval(query, pid)

    async def writer() -> None:
        for number, end in work:
            outcomes.append(await attempt(track.database, OneAtATime(), number, end))

    track.relay()
    drivers = [
        asyncio.create_task(killed_driver(track.settings.database_url, f"driver {number}")) for number in range(KILLED)
    ]
    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    said = await asyncio.gather(*drivers)
    await track.drained()

    assert {end: outcomes.count(end) for end in ends} == {end: ends.count(end) for end in ends}
    assert ends.count("committed") < 0.75 * TRANSACTIONS
    kept = [tuple(row) for row in await track.rows("SELECT key, number FROM effects ORDER BY 1, 2")]
    laps = [msgspec.json.decode(message.data, type=LapDriven) for message in await track.streamed()]
    assert sorted((lap.car, lap.number) for lap in laps) == kept
    assert sum(car == "main" for car, _ in kept) == ends.count("committed")
    assert sum(car != "main" for car, _ in kept) >= sum(said)
    assert await watcher.fetchval(f"SELECT count(*) FROM {SERVICE}.outbox") == len(kept)
