"""What the bus promises beyond one event and one effect: batches, order, raw events, redrives, tries, drift."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID, uuid4

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from common import clock, consumers, delivery, messaging, topology
from common.consumers import Consumers, Delivered
from common.contracts import encode, schema_of, type_of
from common.contracts.auth import UserRegistered
from common.db import Database
from common.errors import PoisonError, UnavailableError
from common.messaging import Bus
from common.settings import Settings
from devstack.testing import eventually

SUBJECT = "user.registered"


def registered(name: str = "vroom") -> UserRegistered:
    return UserRegistered(user_id=uuid4(), username=name, registered_at=clock.now())


@pytest.fixture
def service() -> str:
    return f"s{uuid4().hex[:12]}"


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    connected = await topology.connect(settings.nats_url, "test")
    yield connected
    await connected.close()


@pytest.fixture
async def js(client: Client) -> JetStreamContext:
    await client.jetstream().purge_stream(topology.EVENTS)
    return client.jetstream()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is retried at once, and the watchdog looks often."""
    monkeypatch.setattr(delivery, "BUG_DELAYS_SECONDS", (0.01, 0.01, 0.01, 0.01))
    monkeypatch.setattr(messaging, "WATCH_SECONDS", 0.2)


async def send(js: JetStreamContext, event: UserRegistered, *, key: str = "k", event_id: UUID | None = None) -> int:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": str(event_id or uuid4()),
        "ce-type": type_of(SUBJECT),
        "ce-source": "/paddock/auth",
        "ce-subject": key,
        "ce-time": clock.now().isoformat(),
        "ce-dataschema": schema_of(SUBJECT),
    }
    return (await js.publish(SUBJECT, encode(event), headers=headers)).seq


@contextlib.asynccontextmanager
async def consuming(registry: Consumers, database: Database, settings: Settings) -> AsyncIterator[Bus]:
    bus = Bus(registry, database, settings)
    task = asyncio.create_task(bus.run())
    try:
        yield bus
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def noted(database: Database) -> list[str]:
    async with database.transaction() as session:
        return list(await session.scalars(text("SELECT note FROM notes ORDER BY id")))


async def note(session: AsyncSession, *lines: str) -> None:
    for line in lines:
        await session.execute(text("INSERT INTO notes (note) VALUES (:line)"), {"line": line})


def has(database: Database, count: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return len(await noted(database)) >= count

    return look


async def tries(database: Database) -> list[int]:
    async with database.transaction() as session:
        return list(await session.scalars(text("SELECT tries FROM attempts")))


async def letters(js: JetStreamContext, durable: str) -> int:
    info = await js.stream_info(topology.DEAD_LETTERS, subjects_filter=f"dlq.{durable}.>")
    return len(info.state.subjects or {})


async def test_a_batch_is_one_call_and_a_duplicate_in_it_has_no_effect(
    service: str, js: JetStreamContext, database: Database, settings: Settings
) -> None:
    registry, sizes = Consumers(service), []

    @registry.batch(UserRegistered, size=50)
    async def keep(events: list[UserRegistered], session: AsyncSession) -> None:
        sizes.append(len(events))
        await note(session, *(event.username for event in events))

    twice = uuid4()
    for number in range(10):
        await send(js, registered(f"user {number}"), event_id=twice if number in {3, 4} else None)
    async with consuming(registry, database, settings):
        await eventually(has(database, 9), what="the batch")
    assert await noted(database) == [f"user {number}" for number in range(10) if number != 4]
    assert sizes == [9]


@pytest.mark.usefixtures("quick")
async def test_one_event_that_fails_condemns_nobody_else_in_its_batch(
    service: str, js: JetStreamContext, database: Database, settings: Settings
) -> None:
    registry = Consumers(service)

    @registry.batch(UserRegistered, size=50)
    async def keep(events: list[UserRegistered], session: AsyncSession) -> None:
        await note(session, *(event.username for event in events))
        if any(event.username == "bad" for event in events):
            raise LookupError("no such driver")

    for name in ("a", "b", "bad", "c"):
        await send(js, registered(name))
    durable = f"{service}_keep_user-registered"

    async def buried() -> bool:
        return await letters(js, durable) == 1

    async with consuming(registry, database, settings):
        await eventually(buried, what="the dead letter")
    assert sorted(await noted(database)) == ["a", "b", "c"]
    assert await tries(database) == []


@pytest.mark.usefixtures("quick")
async def test_events_of_a_key_keep_their_order_through_failures_and_a_restart(
    service: str, js: JetStreamContext, database: Database, settings: Settings
) -> None:
    registry = Consumers(service)
    failed: set[str] = set()

    @registry.ordered("follow", UserRegistered, partitions=2, size=7)
    async def follow(event: UserRegistered, session: AsyncSession) -> None:
        if event.username.endswith("5") and event.username not in failed:
            failed.add(event.username)
            raise RuntimeError("try again")
        await note(session, event.username)

    names = [f"{key}/{number}" for number in range(30) for key in ("ham", "ver", "nor")]
    for name in names[:45]:
        await send(js, registered(name), key=name[:3])
    async with consuming(registry, database, settings):
        await eventually(has(database, 45), what="the first half")
    for name in names[45:]:
        await send(js, registered(name), key=name[:3])
    async with consuming(registry, database, settings):
        await eventually(has(database, 90), what="the second half")
    got = await noted(database)
    assert len(got) == 90
    for key in ("ham", "ver", "nor"):
        assert [name for name in got if name.startswith(key)] == [name for name in names if name.startswith(key)]


@pytest.mark.usefixtures("quick")
async def test_a_poisoned_event_lets_its_partition_go_on(
    service: str, js: JetStreamContext, database: Database, settings: Settings
) -> None:
    registry = Consumers(service)

    @registry.ordered("follow", UserRegistered, partitions=1)
    async def follow(event: UserRegistered, session: AsyncSession) -> None:
        if event.username == "bad":
            raise PoisonError("no_driver", "nobody drives this car")
        await note(session, event.username)

    for name in ("a", "bad", "b"):
        await send(js, registered(name))
    async with consuming(registry, database, settings):
        await eventually(has(database, 2), what="the event behind the poisoned one")
        assert await letters(js, f"{service}_follow") == 1
    assert await noted(database) == ["a", "b"]


async def test_a_raw_consumer_passes_an_event_on_as_it_came(
    service: str, js: JetStreamContext, database: Database, settings: Settings
) -> None:
    registry, seen = Consumers(service), []

    @registry.raw("carry", [UserRegistered])
    async def carry(delivered: Delivered, session: AsyncSession) -> None:
        seen.append(delivered)
        await note(session, "carried")

    event = registered()
    sequence = await send(js, event)
    async with consuming(registry, database, settings):
        await eventually(has(database, 1), what="the event")
    assert (seen[0].body, seen[0].sequence, seen[0].envelope.type) == (encode(event), sequence, type_of(SUBJECT))


@pytest.mark.usefixtures("quick")
async def test_a_redriven_letter_is_applied_once_however_often_it_comes(
    service: str, js: JetStreamContext, database: Database, settings: Settings
) -> None:
    registry, broken = Consumers(service), [True]

    @registry.on(UserRegistered)
    async def keep(event: UserRegistered, session: AsyncSession) -> None:
        if broken[0]:
            raise RuntimeError("a bug")
        await note(session, event.username)

    durable = f"{service}_keep_user-registered"
    sequence = await send(js, registered("again"))

    async def buried() -> bool:
        return await letters(js, durable) == 1

    async with consuming(registry, database, settings):
        await eventually(buried, what="the dead letter")
        broken[0] = False
        letter = await js.get_last_msg(topology.DEAD_LETTERS, f"dlq.{durable}.{sequence}")
        assert letter.headers is not None
        assert letter.headers["paddock-tries"] == "5"
        assert letter.headers["paddock-error"] == "RuntimeError"
        kept = {name: value for name, value in letter.headers.items() if name.startswith(("ce-", "paddock-subject"))}
        for _ in range(2):
            await js.publish(f"redrive.{service}.{durable}", letter.data or b"", headers=kept)
        await send(js, registered("marker"))
        await eventually(has(database, 2), what="the redriven event and the marker")

        async def settled() -> bool:
            info = await js.consumer_info(topology.DEAD_LETTERS, f"{service}_redrive")
            return not info.num_pending and not info.num_ack_pending

        await eventually(settled, what="both redrives")
    assert sorted(await noted(database)) == ["again", "marker"]


async def test_a_service_that_is_away_costs_an_event_no_try(
    service: str,
    js: JetStreamContext,
    database: Database,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "OUTAGE_DELAYS_SECONDS", (0.01,))
    registry, calls = Consumers(service), [0]

    @registry.on(UserRegistered)
    async def keep(event: UserRegistered, session: AsyncSession) -> None:
        calls[0] += 1
        if calls[0] <= 20:
            raise UnavailableError("auth_away", "auth does not answer")
        await note(session, event.username)

    await send(js, registered())
    async with consuming(registry, database, settings):
        await eventually(has(database, 1), what="the effect after twenty outages")
    assert await letters(js, f"{service}_keep_user-registered") == 0


@pytest.mark.usefixtures("quick")
async def test_a_durable_that_differs_from_the_code_is_set_right_and_tells(
    service: str, js: JetStreamContext, database: Database, settings: Settings
) -> None:
    registry = Consumers(service)

    @registry.on(UserRegistered)
    async def keep(event: UserRegistered, session: AsyncSession) -> None:
        await note(session, event.username)

    durable = f"{service}_keep_user-registered"
    async with consuming(registry, database, settings) as bus:

        async def attached() -> bool:
            return bus.attached

        await eventually(attached, what="the consumers")
        drifted = registry.all[0].config().evolve(ack_wait=7, max_deliver=3, filter_subject="user.deleted")
        await js.add_consumer(topology.EVENTS, drifted)

        async def right() -> bool:
            config = (await js.consumer_info(topology.EVENTS, durable)).config
            return (config.ack_wait, config.max_deliver, config.filter_subject) == (
                consumers.ACK_WAIT_SECONDS,
                -1,
                SUBJECT,
            )

        await eventually(right, what="the durable as the code has it")


@pytest.mark.usefixtures("quick")
async def test_a_bus_ends_although_a_library_swallowed_its_cancellation(
    service: str, database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, looking = Consumers(service), asyncio.Event()

    @registry.on(UserRegistered)
    async def keep(event: UserRegistered, session: AsyncSession) -> None:
        await note(session, event.username)

    bus = Bus(registry, database, settings)
    task = asyncio.create_task(bus.run())

    async def attached() -> bool:
        return bus.attached

    await eventually(attached, what="the consumers")

    async def deaf(_: object) -> None:
        looking.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(bus, "_ensure", deaf)
    await asyncio.wait_for(looking.wait(), 10)
    task.cancel()
    ended, _ = await asyncio.wait([task], timeout=10)
    assert ended


async def test_a_durable_that_was_deleted_comes_back(
    service: str, js: JetStreamContext, database: Database, settings: Settings
) -> None:
    registry = Consumers(service)

    @registry.on(UserRegistered)
    async def keep(event: UserRegistered, session: AsyncSession) -> None:
        await note(session, event.username)

    async with consuming(registry, database, settings):
        await send(js, registered("before"))
        await eventually(has(database, 1), what="the first event")
        await js.delete_consumer(topology.EVENTS, f"{service}_keep_user-registered")
        await send(js, registered("after"))
        await eventually(has(database, 2), seconds=15, what="the event after the durable was deleted")
    assert await noted(database) == ["before", "after"]
