"""Timers leave once, when they are due by the database's clock, and whoever moves one agrees with the relay."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
from sqlalchemy import text

from common import clock, outbox
from common.relay import Publisher, drain_batch
from devstack.testing import eventually
from lab import wire
from lab.events import LapDriven

EVERY = list(range(16))


class GatedPublisher(Publisher):
    """Waits on the way to JetStream until it is told to go on."""

    def __init__(self, js: Any) -> None:
        super().__init__(wire.client_of(js))
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def send(self, rows: Any) -> Any:
        self.reached.set()
        await self.go.wait()
        return await super().send(rows)


async def sending(track: Any, watcher: asyncpg.Connection) -> tuple[GatedPublisher, "asyncio.Task[bool]"]:
    """Have the timer on its way."""
    async with track.transaction() as session:
        await outbox.publish(session, LapDriven(car="1", number=1), deliver_at=clock.now(), slot="lock")
    publisher = GatedPublisher(track.js)
    task = asyncio.create_task(drain_batch(watcher, publisher, EVERY))
    await asyncio.wait_for(publisher.reached.wait(), 10)
    return publisher, task


async def test_a_timer_on_its_way_cannot_be_taken_back(track: Any, watcher: asyncpg.Connection) -> None:
    publisher, task = await sending(track, watcher)
    async with track.transaction() as session:
        assert await outbox.cancel(session, "lock") is False
    publisher.go.set()
    await task
    assert len(await track.streamed()) == 1


async def test_a_slot_scheduled_again_while_its_timer_is_on_its_way_holds_a_new_timer(
    track: Any, watcher: asyncpg.Connection
) -> None:
    publisher, task = await sending(track, watcher)
    async with track.transaction() as session:
        later = clock.now() + timedelta(hours=1)
        await outbox.publish(session, LapDriven(car="1", number=2), deliver_at=later, slot="lock")
    publisher.go.set()
    await task
    rows = await track.rows("SELECT published_at IS NOT NULL, stream_seq FROM outbox ORDER BY id")
    assert [tuple(row) for row in rows] == [(True, 1), (False, None)]
    async with track.transaction() as session:
        assert await outbox.cancel(session, "lock") is True


async def test_a_timer_whose_sending_failed_stays_with_the_relay(track: Any, watcher: asyncpg.Connection) -> None:
    """The publish that failed may have arrived, so another event in its place would be a second one."""

    class Deaf(Publisher):
        async def send(self, rows: Any) -> Any:
            await super().send(rows)
            return [], ["deaf"] * len(rows)

    async with track.transaction() as session:
        await outbox.publish(session, LapDriven(car="1", number=1), deliver_at=clock.now(), slot="lock")
    deaf = Deaf(wire.client_of(track.js))
    failed = await asyncio.gather(drain_batch(watcher, deaf, EVERY), return_exceptions=True)
    assert isinstance(failed[0], TimeoutError)
    async with track.transaction() as session:
        assert await outbox.cancel(session, "lock") is False
    track.relay()
    await track.drained()
    assert len(await track.streamed()) == 1


async def test_a_timer_that_somebody_is_moving_holds_up_nobody(track: Any) -> None:
    async with track.transaction() as session:
        await outbox.publish(session, LapDriven(car="1", number=1), deliver_at=clock.now(), slot="lock")
    async with track.transaction() as session:
        await session.execute(text("SELECT 1 FROM outbox WHERE slot = 'lock' FOR UPDATE"))
        track.relay()
        await track.all_held()
        await track.drive("1", 2)

        async def published() -> bool:
            return bool(await track.value("SELECT count(*) FROM outbox WHERE published_at IS NOT NULL"))

        await eventually(published, seconds=5, what="the event beside the timer")
    await track.drained(seconds=5)
    assert await track.value("SELECT count(*) FROM outbox WHERE slot IS NOT NULL AND stream_seq = 2") == 1


async def test_a_timer_fires_within_a_second_of_its_time(track: Any) -> None:
    track.relay()
    await track.all_held()
    async with track.transaction() as session:
        await outbox.publish(session, LapDriven(car="1", number=1), deliver_at=clock.now() + timedelta(seconds=2.5))
    await track.drained()
    late = await track.value("SELECT extract(epoch FROM published_at - deliver_at) FROM outbox")
    assert 0 <= late <= 1
