"""The broker dies, or remembers too little: every event is in the stream, and its effect happens once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from common import clock, outbox, telemetry, topology
from common.consumers import Consumers
from common.messaging import Bus
from common.relay import Publisher
from devstack.testing import eventually
from lab.events import SERVICE, LapDriven

EVENTS = 1000
CARS = 20
DEATHS_AT = (100, 450, 900)
"""Which publish the broker does not survive."""


async def test_a_broker_killed_during_a_thousand_publishes_has_every_event_once(
    track: Any, count_inversions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E9. A publish without its acknowledgement may have arrived or not; it is sent again either way."""
    publishes = 0
    dead = asyncio.Event()
    send = Publisher._publish

    async def publish(publisher: Publisher, row: Any) -> Any:
        nonlocal publishes
        publishes += 1
        if publishes in DEATHS_AT:
            track.broker.kill()
            dead.set()
        return await send(publisher, row)

    monkeypatch.setattr(Publisher, "_publish", publish)
    failures = telemetry.OUTBOX_FAILURES._value.get()
    async with track.transaction() as session:
        laps = [LapDriven(car=str(number % CARS), number=number) for number in range(EVENTS)]
        await outbox.publish_all(session, laps)
    track.relay()
    for _ in DEATHS_AT:
        await asyncio.wait_for(dead.wait(), 30)
        dead.clear()
        await asyncio.to_thread(track.broker.restart)
    await track.drained(seconds=40)
    assert telemetry.OUTBOX_FAILURES._value.get() - failures >= len(DEATHS_AT)
    assert publishes > EVENTS, "what had no acknowledgement was sent again"
    ids = {str(row[0]) for row in await track.rows("SELECT event_id FROM outbox")}
    streamed = await track.streamed()
    assert len(ids) == EVENTS
    assert {message.headers["Nats-Msg-Id"] for message in streamed} == ids
    assert len(streamed) == EVENTS, "within the window a second copy is dropped"
    arrived = [msgspec.json.decode(message.data, type=LapDriven) for message in streamed]
    assert count_inversions([(lap.car, lap.number) for lap in arrived]) == 0
    kept = {str(event_id): seq for event_id, seq in await track.rows("SELECT event_id, stream_seq FROM outbox")}
    assert {message.headers["Nats-Msg-Id"]: message.metadata.sequence.stream for message in streamed} == kept


@contextlib.asynccontextmanager
async def writing_laps(track: Any) -> AsyncIterator[None]:
    consumers = Consumers(SERVICE)

    @consumers.on(LapDriven)
    async def write_lap(event: LapDriven, session: AsyncSession) -> None:
        await session.execute(
            text("INSERT INTO effects (handler, key, number) VALUES ('lap', :car, :number)"),
            {"car": event.car, "number": event.number},
        )

    task = asyncio.create_task(Bus(consumers, track.database, track.settings).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_event_sent_again_after_the_duplicate_window_is_there_twice_and_works_once(track: Any) -> None:
    """E10."""
    events = next(stream for stream in topology.STREAMS if stream.name == topology.EVENTS)
    await track.js.update_stream(events.evolve(duplicate_window=2))
    track.relay()
    async with writing_laps(track):
        await track.drive("1", 1)

        async def effects(count: int) -> bool:
            return bool(await track.value("SELECT count(*) = :count FROM effects", count=count))

        await eventually(lambda: effects(1), what="the effect")

        async def window_passed() -> bool:
            return bool(await track.value("SELECT now() - max(published_at) > interval '5 s' FROM outbox"))

        await eventually(window_passed, seconds=20, what="the end of the window")
        async with track.transaction() as session:
            await session.execute(text("UPDATE outbox SET published_at = NULL"))
            await session.execute(text(f"NOTIFY {outbox.channel(SERVICE)}"))
        await track.drained()
        await track.drive("1", 2)
        await eventually(lambda: effects(2), what="the event behind the copy")
    streamed = [message.headers["ce-id"] for message in await track.streamed()]
    assert len(streamed) == 3
    assert len(set(streamed)) == 2
    assert [tuple(row) for row in await track.rows("SELECT number FROM effects ORDER BY number")] == [(1,), (2,)]


async def test_a_lock_goes_off_in_time_although_the_broker_dies_a_second_before(track: Any) -> None:
    """E28, first half; the second, with clocks that are wrong, is in the chaos tests."""
    track.relay()
    await track.all_held()
    async with track.transaction() as session:
        deliver_at = clock.now() + timedelta(seconds=4)
        await outbox.publish(session, LapDriven(car="1", number=1), deliver_at=deliver_at, slot="lock")
    remaining = (deliver_at - clock.now()).total_seconds() - 1
    await asyncio.sleep(remaining)
    await asyncio.to_thread(track.broker.kill)
    await asyncio.to_thread(track.broker.restart)
    await track.drained()
    late = await track.value("SELECT extract(epoch FROM published_at - deliver_at) FROM outbox")
    assert 0 <= late <= 2
    assert len(await track.streamed()) == 1
