"""Relay processes die, freeze, and have wrong clocks: another publishes within seconds, once and in order (E5, E28)."""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from sqlalchemy import text

from common import clock, outbox, topology
from common.db import Database
from common.relay import PARTITION_LOCK_KEY, PARTITIONS
from common.settings import Settings
from devstack.testing import eventually
from lab import wire
from lab.events import SERVICE, LapDriven
from lab.process import Process

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("relay"), pytest.mark.timeout(420)]

KILLS = 20
CARS = 64
TAKEOVER_SECONDS = 5
FROZEN_SECONDS = 20
IDLE_SECONDS = 60
DELAY_SECONDS = 1
LATE_SECONDS = 2
SEED = 23
RELAYS = """
SELECT a.client_port, array_agg(l.classid::int - $1) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.mode = 'ExclusiveLock' AND l.objsubid = 2 AND a.datname = current_database()
GROUP BY 1
"""


class Drivers:
    """Drives laps at a pace; every car's laps are numbered in the order of their commits."""

    def __init__(self, url: str) -> None:
        self.database = Database(Settings(database_url=url), SERVICE)
        self.laps = [0] * CARS

    async def lap(self, car: int) -> None:
        async with self.database.transaction() as session:
            await outbox.publish(session, LapDriven(car=str(car), number=self.laps[car]))
        self.laps[car] += 1

    async def one_of_each(self, number: int) -> None:
        """Write events of so many other cars that every partition has some."""
        async with self.database.transaction() as session:
            await outbox.publish_all(session, [LapDriven(car=f"{number} {car}", number=0) for car in range(6 * CARS)])

    async def run(self, pause_seconds: float) -> None:
        dice = random.Random(SEED)  # noqa: S311 - which car
        while True:
            await self.lap(dice.randrange(CARS))
            await asyncio.sleep(pause_seconds)


@contextlib.asynccontextmanager
async def driving(bench: Any, pause_seconds: float) -> AsyncIterator[Drivers]:
    drivers = Drivers(bench.database_url)
    task = asyncio.create_task(drivers.run(pause_seconds))
    try:
        yield drivers
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await drivers.database.close()


async def held(bench: Any) -> dict[int, list[int]]:
    """Give each relay's partitions, by the port of its connection."""
    return {port: sorted(held) for port, held in await bench.ledger.rows(RELAYS, PARTITION_LOCK_KEY)}


async def shared(bench: Any, relays: int) -> None:
    async def evenly() -> bool:
        return sorted(len(each) for each in (await held(bench)).values()) == [PARTITIONS // relays] * relays

    await eventually(evenly, seconds=90, what=f"{relays} equal shares")


async def drained(bench: Any) -> None:
    async def empty() -> bool:
        return not await bench.ledger.value("SELECT count(*) FROM outbox WHERE published_at IS NULL")

    await eventually(empty, seconds=30, what="an empty outbox")


async def check(bench: Any) -> None:
    """Hold the stream against the outbox: nothing lost, nothing in the wrong place."""
    written = {str(row[0]) for row in await bench.ledger.rows("SELECT event_id FROM outbox")}
    streamed = await wire.read_all(bench.js, topology.EVENTS)
    assert {(message.headers or {})["Nats-Msg-Id"] for message in streamed} == written
    assert len(streamed) == len(written)
    laps: dict[str, list[int]] = {}
    for message in streamed:
        lap = msgspec.json.decode(message.data, type=LapDriven)
        laps.setdefault(lap.car, []).append(lap.number)
    assert {car: numbers for car, numbers in laps.items() if numbers != [*range(len(numbers))]} == {}


async def passed(bench: Any, since: int, seconds: float) -> float:
    """Wait until every partition has published something that was written after ``since``; return how long it took."""
    started = time.monotonic()

    async def everywhere() -> bool:
        return bool(
            await bench.ledger.value(
                f"SELECT count(DISTINCT hashtext(key) & {PARTITIONS - 1}) = {PARTITIONS} FROM outbox"
                " WHERE id > $1 AND published_at IS NOT NULL",
                since,
            )
        )

    await eventually(everywhere, seconds=seconds + 10, what="an event of every partition")
    return time.monotonic() - started


async def test_of_two_relays_one_dies_twenty_times_and_the_other_has_its_partitions_within_seconds(bench: Any) -> None:
    relays: list[Process] = [bench.start(relay=True) for _ in range(2)]
    took: list[float] = []
    async with driving(bench, 0.005) as drivers:
        for number in range(KILLS):
            await shared(bench, 2)
            victim = relays.pop(number % 2)
            await victim.kill()
            last = await bench.ledger.value("SELECT max(id) FROM outbox")
            await drivers.one_of_each(number)
            took.append(await passed(bench, last, TAKEOVER_SECONDS))
            relays.append(bench.start(relay=True))
    await drained(bench)
    assert max(took) <= TAKEOVER_SECONDS, took
    await check(bench)


async def test_a_frozen_relay_loses_its_partitions_and_does_no_harm_when_it_thaws(bench: Any) -> None:
    frozen, _ = bench.start(relay=True), bench.start(relay=True)
    async with driving(bench, 0.01) as drivers:
        await shared(bench, 2)
        last = await bench.ledger.value("SELECT max(id) FROM outbox")
        await drivers.one_of_each(0)
        await passed(bench, last, TAKEOVER_SECONDS)
        frozen.signal(signal.SIGSTOP)

        async def taken_over() -> bool:
            return [len(each) for each in (await held(bench)).values()] == [PARTITIONS]

        await eventually(taken_over, seconds=FROZEN_SECONDS, what="all partitions with the other relay")
        frozen.signal(signal.SIGCONT)
        await shared(bench, 2)
    await drained(bench)
    await check(bench)


async def test_a_transaction_left_open_elsewhere_does_not_hold_up_the_relay(bench: Any) -> None:
    bench.start(relay=True)
    idle = await asyncpg.connect(bench.database_url, server_settings={"search_path": SERVICE})
    await shared(bench, 1)
    transaction = idle.transaction(isolation="repeatable_read")
    await transaction.start()
    await idle.execute("INSERT INTO effects (handler, key, number) VALUES ('idle', '', 0)")
    await idle.execute("SELECT count(*) FROM outbox")
    async with driving(bench, 0.005):
        await asyncio.sleep(IDLE_SECONDS)
    await drained(bench)
    await transaction.rollback()
    await idle.close()
    slowest = await bench.ledger.value("SELECT extract(epoch FROM max(published_at - created_at)) FROM outbox")
    assert await bench.ledger.value("SELECT count(*) FROM outbox") > 10 * IDLE_SECONDS
    assert slowest <= DELAY_SECONDS
    await check(bench)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_lock_goes_off_by_the_database_clock_whatever_that_of_the_relay_says(bench: Any, hours: int) -> None:
    """E28: the broker dies a second before, and the relay's clock is an hour wrong."""
    bench.start(relay=True, faults=["lab.faults:clock_an_hour_late" if hours < 0 else "lab.faults:clock_an_hour_early"])
    await shared(bench, 1)
    database = Database(Settings(database_url=bench.database_url), SERVICE)
    async with database.transaction() as session:
        now = await session.scalar(text("SELECT clock_timestamp()"))
        deliver_at = now + timedelta(seconds=4)
        await outbox.publish(session, LapDriven(car="1", number=0), deliver_at=deliver_at, slot="lock")
    await database.close()
    await asyncio.sleep((deliver_at - clock.now()).total_seconds() - 1)
    await asyncio.to_thread(bench.broker.kill)
    await asyncio.to_thread(bench.broker.restart)
    await drained(bench)
    late = await bench.ledger.value("SELECT extract(epoch FROM published_at - deliver_at) FROM outbox")
    assert 0 <= late <= LATE_SECONDS
    await check(bench)
