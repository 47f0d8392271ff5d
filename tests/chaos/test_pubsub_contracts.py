"""What anybody may expect of a publish-subscribe system, asked of ours: outbox, relay, JetStream and bus (E29).

The contracts are those of Watermill's universal suite, in our words. The last one runs several of them at once.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy.ext.asyncio import AsyncSession

from common import outbox, topology
from common.consumers import Consumers
from common.contracts import Event
from common.db import Database
from common.messaging import Bus
from common.relay import Relay
from common.settings import Settings
from devstack.testing import eventually
from lab import wire
from lab.events import SERVICE, LapDriven, LapTimed

MANY = 100
SECONDS = 30.0
SOON = {"BUG_DELAYS_SECONDS": (0.05,) * 4, "OUTAGE_DELAYS_SECONDS": (0.05,) * 5}

Lap = tuple[str, int]
Before = Callable[[LapDriven | LapTimed], Awaitable[None]]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Hundreds of intended failures, each with a coloured traceback, would take longer than the test."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Subscriber:
    """A named group of consumers that remembers what it was told."""

    def __init__(self, bench: Any, group: str | None = None, before: Before | None = None) -> None:
        self.group = group or f"g{uuid4().hex[:8]}"
        self.heard: list[Lap] = []
        self.timed: list[Lap] = []
        self.traces: list[int] = []
        self.consumers = Consumers(self.group)
        self._before = before
        self.settings = Settings(database_url=bench.database_url, nats_url=bench.broker.url, database_pool_size=4)

        @self.consumers.on(LapDriven)
        async def hear(event: LapDriven, session: AsyncSession) -> None:  # noqa: ARG001 - a handler's shape
            await self._take(event)
            self.traces.append(trace.get_current_span().get_span_context().trace_id)
            self.heard.append((event.car, event.number))

        @self.consumers.on(LapTimed)
        async def hear_time(event: LapTimed, session: AsyncSession) -> None:  # noqa: ARG001 - a handler's shape
            await self._take(event)
            self.timed.append((event.car, event.number))

    async def _take(self, event: LapDriven | LapTimed) -> None:
        if self._before is not None:
            await self._before(event)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Bus]:
        """Consume while the block lasts, then stop as a service does."""
        database = Database(self.settings, SERVICE)
        bus = Bus(self.consumers, database, self.settings)
        task = asyncio.create_task(bus.run())
        try:
            yield bus
        finally:
            async with asyncio.timeout(20):
                await bus.drain()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await database.close()

    async def has(self, wanted: list[Lap]) -> None:
        """Wait until everything wanted was heard."""

        async def all_heard() -> bool:
            return set(wanted) <= set(self.heard)

        await eventually(all_heard, seconds=SECONDS, what=f"{len(wanted)} laps, of which came {len(set(self.heard))}")


def laps(count: int, car: str = "44") -> list[LapDriven]:
    return [LapDriven(car=car, number=number) for number in range(count)]


def pairs(events: list[LapDriven]) -> list[Lap]:
    return [(event.car, event.number) for event in events]


@contextlib.asynccontextmanager
async def publisher(bench: Any) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """A relay that runs, and a function that commits events to its outbox."""
    settings = Settings(database_url=bench.database_url, nats_url=bench.broker.url, database_pool_size=4)
    database = Database(settings, SERVICE)
    task = asyncio.create_task(Relay(database, settings).run())

    async def publish(*events: Event) -> None:
        async with database.transaction() as session:
            await outbox.publish_all(session, events)

    try:
        yield publish
    finally:
        async with asyncio.timeout(10):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await database.close()


async def test_what_is_published_is_heard_once_as_it_was(bench: Any) -> None:
    subscriber, sent = Subscriber(bench), laps(MANY)
    async with publisher(bench) as publish, subscriber.listening():
        await publish(*sent)
        await subscriber.has(pairs(sent))
    assert Counter(subscriber.heard) == Counter(pairs(sent))


async def test_replicas_share_the_work_and_double_none_of_it(bench: Any) -> None:
    async def work(_: object) -> None:
        await asyncio.sleep(0.01)

    replicas = [Subscriber(bench, "shared", work) for _ in range(3)]
    sent = laps(MANY)
    async with contextlib.AsyncExitStack() as stack:
        publish = await stack.enter_async_context(publisher(bench))
        for replica in replicas:
            await stack.enter_async_context(replica.listening())
        await eventually(lambda: attached(bench, "shared"), seconds=SECONDS, what="the durable")
        await publish(*sent)

        async def all_heard() -> bool:
            return sum(len(replica.heard) for replica in replicas) >= MANY

        await eventually(all_heard, seconds=SECONDS, what="every lap")
    assert Counter(lap for replica in replicas for lap in replica.heard) == Counter(pairs(sent))
    assert sum(1 for replica in replicas if replica.heard) > 1


async def attached(bench: Any, group: str) -> bool:
    infos = await bench.js.consumers_info(topology.EVENTS)
    return any(info.name.startswith(f"{group}_") and info.num_waiting for info in infos)


async def test_a_subject_reaches_those_who_asked_for_it_and_nobody_else(bench: Any) -> None:
    subscriber = Subscriber(bench)
    async with publisher(bench) as publish, subscriber.listening():
        await publish(LapTimed(car="1", number=1), LapDriven(car="2", number=2))
        await subscriber.has([("2", 2)])

        async def timed() -> bool:
            return bool(subscriber.timed)

        await eventually(timed, seconds=SECONDS, what="the time")
    assert (subscriber.heard, subscriber.timed) == ([("2", 2)], [("1", 1)])


async def test_groups_hear_everything_each(bench: Any) -> None:
    groups = [Subscriber(bench) for _ in range(3)]
    sent = laps(20)
    async with contextlib.AsyncExitStack() as stack:
        publish = await stack.enter_async_context(publisher(bench))
        for group in groups:
            await stack.enter_async_context(group.listening())
        await publish(*sent)
        for group in groups:
            await group.has(pairs(sent))
    assert [Counter(group.heard) for group in groups] == [Counter(pairs(sent))] * 3


async def test_a_newcomer_hears_what_was_said_before(bench: Any) -> None:
    sent = laps(20)
    early, late = Subscriber(bench), Subscriber(bench)
    async with publisher(bench) as publish:
        async with early.listening():
            await publish(*sent)
            await early.has(pairs(sent))
        async with late.listening():
            await late.has(pairs(sent))
    assert Counter(late.heard) == Counter(pairs(sent))


async def test_a_failure_brings_the_event_back(bench: Any, monkeypatch: Any) -> None:
    soon(monkeypatch)
    failures: Counter[Lap] = Counter()

    async def fail_twice(event: LapDriven | LapTimed) -> None:
        failures[event.car, event.number] += 1
        if failures[event.car, event.number] <= 2:
            raise ZeroDivisionError

    subscriber = Subscriber(bench, before=fail_twice)
    async with publisher(bench) as publish, subscriber.listening():
        await publish(*laps(5))
        await subscriber.has(pairs(laps(5)))
    assert Counter(subscriber.heard) == Counter(pairs(laps(5)))
    assert set(failures.values()) == {3}


def soon(monkeypatch: Any) -> None:
    for name, value in SOON.items():
        monkeypatch.setattr(f"common.delivery.{name}", value)
    for module in ("consumers", "delivery"):
        monkeypatch.setattr(f"common.{module}.ACK_WAIT_SECONDS", 3)


async def test_failures_of_some_do_not_stop_the_others(bench: Any, monkeypatch: Any) -> None:
    soon(monkeypatch)
    seen: set[Lap] = set()

    async def fail_some(event: LapDriven | LapTimed) -> None:
        lap = (event.car, event.number)
        if event.number % 3 == 0 and lap not in seen:
            seen.add(lap)
            raise ZeroDivisionError

    subscriber, sent = Subscriber(bench, before=fail_some), laps(MANY)
    async with publisher(bench) as publish, subscriber.listening():
        await publish(*sent)
        await subscriber.has(pairs(sent))
    assert Counter(subscriber.heard) == Counter(pairs(sent))


async def test_what_is_not_acknowledged_comes_again(bench: Any) -> None:
    patches = {"common.consumers.ACK_WAIT_SECONDS": 1, "common.delivery.ACK_WAIT_SECONDS": 1}
    work = {"handlers": "lab.handlers:slow", "patches": patches}
    await wire.publish(bench.js, LapDriven(car="44", number=1))
    first = bench.start(**work, options={"url": bench.database_url, "seconds": 60.0})

    async def begun() -> bool:
        return bool(await bench.ledger.value("SELECT count(*) = 2 FROM runs"))

    await eventually(begun, seconds=SECONDS, what="the first try")
    await first.kill()
    bench.start(**work, options={"url": bench.database_url, "seconds": 0.0})

    async def done() -> bool:
        return bool(await bench.ledger.value("SELECT count(*) = 2 FROM effects"))

    await eventually(done, seconds=SECONDS, what="the second try")


async def test_a_subscriber_that_closed_goes_on_where_it_was(bench: Any) -> None:
    sent = laps(MANY)
    heard: list[Lap] = []
    async with publisher(bench) as publish:
        await publish(*sent)
        for share in (30, 60, MANY):
            subscriber = Subscriber(bench, "again")
            async with subscriber.listening():

                async def enough(wanted: int = share - len(heard), one: Subscriber = subscriber) -> bool:
                    return len(one.heard) >= wanted

                await eventually(enough, seconds=SECONDS, what=f"{share} laps")
            heard += subscriber.heard
    assert Counter(heard) == Counter(pairs(sent))


async def test_a_close_lets_the_event_in_hand_finish(bench: Any) -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def linger(_: object) -> None:
        begun.set()
        await finish.wait()

    subscriber = Subscriber(bench, "gentle", linger)
    await wire.publish(bench.js, LapDriven(car="44", number=1))
    async with asyncio.timeout(SECONDS), subscriber.listening() as bus:
        await begun.wait()
        draining = asyncio.create_task(bus.drain())
        done, _ = await asyncio.wait([draining], timeout=0.3)
        assert not done, "it waits for the event in hand"
        finish.set()
        await draining
    assert subscriber.heard == [("44", 1)]
    another = Subscriber(bench, "gentle")
    async with another.listening():
        await wire.publish(bench.js, LapDriven(car="44", number=2))
        await another.has([("44", 2)])
    assert another.heard == [("44", 2)], "the first lap was done with"


async def test_many_close_at_once_while_events_come(bench: Any) -> None:
    subscribers = [Subscriber(bench, f"crowd{number % 3}") for number in range(9)]
    sent = laps(MANY)

    async def listen(subscriber: Subscriber) -> None:
        async with subscriber.listening():

            async def some() -> bool:
                group = [other for other in subscribers if other.group == subscriber.group]
                return sum(len(other.heard) for other in group) >= MANY // 2

            await eventually(some, seconds=SECONDS, what="half of the laps")

    async with publisher(bench) as publish:
        await publish(*sent)
        await asyncio.gather(*(listen(subscriber) for subscriber in subscribers))
    for group in ("crowd0", "crowd1", "crowd2"):
        rest = Subscriber(bench, group)
        async with rest.listening():
            heard = [lap for other in subscribers if other.group == group for lap in other.heard]
            await rest.has(sorted(set(pairs(sent)) - set(heard)))
        assert Counter(heard + rest.heard) == Counter(pairs(sent))


async def test_a_publisher_that_closed_keeps_what_it_was_given(bench: Any) -> None:
    subscriber = Subscriber(bench)
    async with publisher(bench) as publish:
        await publish(*laps(1))
    await publish(*laps(20)[1:])
    assert len(await wire.read_all(bench.js, topology.EVENTS)) <= 1
    async with subscriber.listening(), publisher(bench):
        await subscriber.has(pairs(laps(20)))
    assert Counter(subscriber.heard) == Counter(pairs(laps(20)))


async def test_a_restart_of_the_broker_is_survived_by_both_sides(bench: Any) -> None:
    subscriber, sent = Subscriber(bench), laps(MANY)
    async with publisher(bench) as publish, subscriber.listening():
        await publish(*sent[:30])
        await subscriber.has(pairs(sent[:30]))
        await asyncio.to_thread(bench.broker.kill)
        await publish(*sent[30:60])
        await asyncio.to_thread(bench.broker.revive)
        await publish(*sent[60:])
        await subscriber.has(pairs(sent))
    assert Counter(subscriber.heard) == Counter(pairs(sent))


async def test_ordered_consumers_hear_each_key_in_its_order(bench: Any) -> None:
    heard: list[Lap] = []
    consumers = Consumers(f"g{uuid4().hex[:8]}")

    @consumers.ordered("order", LapDriven, partitions=2)
    async def hear(event: LapDriven, session: AsyncSession) -> None:  # noqa: ARG001 - a handler's shape
        heard.append((event.car, event.number))

    subscriber = Subscriber(bench)
    subscriber.consumers = consumers
    sent = [lap for both in zip(laps(MANY, "1"), laps(MANY, "2"), strict=True) for lap in both]
    async with publisher(bench) as publish, subscriber.listening():
        await publish(*sent)

        async def all_heard() -> bool:
            return len(heard) >= 2 * MANY

        await eventually(all_heard, seconds=SECONDS, what="every lap")
    for car in ("1", "2"):
        assert [number for of, number in heard if of == car] == list(range(MANY))


async def test_the_trace_of_the_publisher_is_that_of_the_handler(bench: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider())
    subscriber = Subscriber(bench)
    async with publisher(bench) as publish, subscriber.listening():
        with trace.get_tracer("test").start_as_current_span("request") as request:
            await publish(*laps(1))
        await subscriber.has(pairs(laps(1)))
    assert subscriber.traces == [request.get_span_context().trace_id]


async def test_a_subscriber_whose_task_is_cancelled_ends_and_hands_back_what_it_had(bench: Any) -> None:
    begun = asyncio.Event()

    async def hang(_: object) -> None:
        begun.set()
        await asyncio.sleep(3600)

    stuck = Subscriber(bench, "cancelled", hang)
    database = Database(stuck.settings, SERVICE)
    await wire.publish(bench.js, LapDriven(car="44", number=1))
    task = asyncio.create_task(short_stop(Bus(stuck.consumers, database, stuck.settings)))
    async with asyncio.timeout(SECONDS):
        await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await database.close()
    other = Subscriber(bench, "cancelled")
    async with other.listening():
        started = asyncio.get_running_loop().time()
        await other.has([("44", 1)])
        assert asyncio.get_running_loop().time() - started < 5, "sooner than the ack wait"


async def short_stop(bus: Bus) -> None:
    from common import messaging  # noqa: PLC0415 - to be patient for a moment only

    usual, messaging.STOP_SECONDS = messaging.STOP_SECONDS, 1
    try:
        await bus.run()
    finally:
        messaging.STOP_SECONDS = usual


async def test_under_stress_the_contracts_hold_together(bench: Any, monkeypatch: Any) -> None:
    soon(monkeypatch)
    failed: set[tuple[str, Lap]] = set()

    def flaky(group: str) -> Before:
        async def fail(event: LapDriven | LapTimed) -> None:
            lap = (event.car, event.number)
            if (event.number + len(group)) % 10 == 0 and (group, lap) not in failed:
                failed.add((group, lap))
                raise ZeroDivisionError

        return fail

    names = ["stress", "stress2", "stress33"]
    replicas = [Subscriber(bench, name, flaky(name)) for name in names for _ in range(2)]
    sent = [lap for car in range(10) for lap in laps(MANY // 2, str(car))]
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            publish = await stack.enter_async_context(publisher(bench))
        for replica in replicas:
            await stack.enter_async_context(replica.listening())
        await asyncio.gather(*(publish(*sent[begin : begin + 50]) for begin in range(0, len(sent), 50)))
        await asyncio.to_thread(bench.broker.kill)
        await asyncio.to_thread(bench.broker.revive)

        async def all_heard() -> bool:
            return all(set(group_heard(name)) == set(pairs(sent)) for name in names)

        def group_heard(name: str) -> list[Lap]:
            return [lap for replica in replicas if replica.group == name for lap in replica.heard]

        await eventually(all_heard, seconds=90, what="every lap in every group")
    for name in names:
        doubled = await bench.ledger.value("SELECT count(*) FROM inbox WHERE consumer LIKE $1", f"{name}\\_hear\\_%")
        assert doubled == len(sent)
