"""State, outbox, relay, JetStream, consumer, inbox: one fact, one effect."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from common import clock, outbox, relay, telemetry, topology
from common.consumers import Consumers
from common.contracts.auth import UserRegistered
from common.db import Database
from common.messaging import Bus
from common.settings import Settings
from devstack.testing import eventually


def registered() -> UserRegistered:
    return UserRegistered(user_id=uuid4(), username="vroom", registered_at=clock.now())


@contextlib.asynccontextmanager
async def relaying(database: Database, settings: Settings) -> AsyncIterator[None]:
    task = asyncio.create_task(relay.Relay(database, settings).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def consuming(consumers: Consumers, database: Database, settings: Settings) -> AsyncIterator[Bus]:
    bus = Bus(consumers, database, settings)
    task = asyncio.create_task(bus.run())
    try:
        yield bus
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def notes(database: Database, note: str) -> int:
    async with database.transaction() as session:
        return int(await session.scalar(text("SELECT count(*) FROM notes WHERE note = :note"), {"note": note}) or 0)


async def waiting(database: Database, count: int) -> bool:
    async with database.transaction() as session:
        left = await session.scalar(text("SELECT count(*) FROM outbox WHERE published_at IS NULL"))
        return bool(left == count)


async def publish_and_fail(database: Database, event: UserRegistered) -> None:
    async with database.transaction() as session:
        await outbox.publish(session, event)
        _ = 1 / 0


def note_taker(name: str) -> Consumers:
    consumers = Consumers(name)

    @consumers.on(UserRegistered)
    async def take_note(event: UserRegistered, session: AsyncSession) -> None:
        await session.execute(text("INSERT INTO notes (note) VALUES (:note)"), {"note": str(event.user_id)})

    return consumers


async def test_an_event_published_in_a_transaction_has_one_effect(database: Database, settings: Settings) -> None:
    event = registered()
    async with relaying(database, settings), consuming(note_taker(uuid4().hex), database, settings):
        async with database.transaction() as session:
            await outbox.publish(session, event)
        await eventually(lambda: notes(database, str(event.user_id)), what="the effect")
    assert await notes(database, str(event.user_id)) == 1


async def test_a_rolled_back_transaction_publishes_nothing(database: Database, settings: Settings) -> None:
    lost, kept = registered(), registered()
    async with relaying(database, settings), consuming(note_taker(uuid4().hex), database, settings):
        with pytest.raises(ZeroDivisionError):
            await publish_and_fail(database, lost)
        async with database.transaction() as session:
            await outbox.publish(session, kept)
        await eventually(lambda: notes(database, str(kept.user_id)), what="the later event")
    assert await notes(database, str(lost.user_id)) == 0


async def test_a_timer_waits_for_its_time_and_moves_with_its_slot(database: Database, settings: Settings) -> None:
    first, second = registered(), registered()
    async with relaying(database, settings), consuming(note_taker(uuid4().hex), database, settings):
        async with database.transaction() as session:
            await outbox.publish(session, first, deliver_at=clock.now() + timedelta(hours=1), slot="timer")
        async with database.transaction() as session:
            await outbox.publish(session, second, deliver_at=clock.now() + timedelta(seconds=0.3), slot="timer")
        await eventually(lambda: notes(database, str(second.user_id)), what="the timer")
        await eventually(lambda: waiting(database, 0), what="an empty outbox")
    async with database.transaction() as session:
        early = await session.scalar(text("SELECT count(*) FROM outbox WHERE published_at < deliver_at"))
    assert early == 0
    assert await notes(database, str(first.user_id)) == 0


async def test_a_body_that_is_no_event_becomes_a_dead_letter_and_blocks_nobody(
    database: Database, settings: Settings
) -> None:
    name = uuid4().hex
    event = registered()
    client = await topology.connect(settings.nats_url, "test")
    js = client.jetstream()
    sequence = (await js.publish("user.registered", b"{not json", headers={"ce-id": str(uuid4())})).seq
    async with relaying(database, settings), consuming(note_taker(name), database, settings):
        async with database.transaction() as session:
            await outbox.publish(session, event)
        await eventually(lambda: notes(database, str(event.user_id)), what="the event behind the malformed one")
    letter = await js.get_last_msg(topology.DEAD_LETTERS, f"dlq.{name}_take-note_user-registered.{sequence}")
    await client.close()
    assert letter.data == b"{not json"
    assert letter.headers is not None
    assert letter.headers["paddock-tries"] == "1"
    assert letter.headers["paddock-error"] == "PoisonError"


async def test_one_trace_goes_from_the_request_to_the_consumer(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = TracerProvider()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    seen: dict[UUID, tuple[int, int]] = {}
    consumers = Consumers(uuid4().hex)

    @consumers.on(UserRegistered)
    async def follow(event: UserRegistered, session: AsyncSession) -> None:  # noqa: ARG001 - a handler's shape
        span = trace.get_current_span()
        parent = getattr(span, "parent", None)
        seen[event.user_id] = (span.get_span_context().trace_id, parent.span_id if parent else 0)

    async def followed() -> bool:
        return event.user_id in seen

    event = registered()
    async with relaying(database, settings), consuming(consumers, database, settings):
        with telemetry.span("POST /register") as request:
            async with database.transaction() as session:
                await outbox.publish(session, event)
        await eventually(followed, what="the consumer")
    context = request.get_span_context()
    assert seen[event.user_id] == (context.trace_id, context.span_id)


async def test_a_second_delivery_changes_nothing(database: Database, settings: Settings) -> None:
    event, marker = registered(), registered()
    client = await topology.connect(settings.nats_url, "test")
    js = client.jetstream()
    async with relaying(database, settings), consuming(note_taker(uuid4().hex), database, settings):
        async with database.transaction() as session:
            await outbox.publish(session, event)
        await eventually(lambda: notes(database, str(event.user_id)), what="the first delivery")
        first = await js.get_last_msg(topology.EVENTS, "user.registered")
        assert first.headers is not None
        headers = {key: value for key, value in first.headers.items() if key.startswith("ce-")}
        await js.publish("user.registered", first.data or b"", headers=headers)
        async with database.transaction() as session:
            await outbox.publish(session, marker)
        await eventually(lambda: notes(database, str(marker.user_id)), what="the marker behind the duplicate")
    await client.close()
    assert await notes(database, str(event.user_id)) == 1


async def test_many_events_stored_at_once_leave_in_their_order(database: Database, settings: Settings) -> None:
    events = [registered() for _ in range(50)]
    async with relaying(database, settings), consuming(note_taker(uuid4().hex), database, settings):
        async with database.transaction() as session:
            await outbox.publish_all(session, events)
            await outbox.publish_all(session, [])
        await eventually(lambda: notes(database, str(events[-1].user_id)), what="the last of many")
    async with database.transaction() as session:
        sent = await session.scalars(text("SELECT key FROM outbox ORDER BY stream_seq"))
    assert list(sent) == [str(event.user_id) for event in events]
