"""Nothing is skipped and nothing changes places (E4), and the test can tell: three usual relays fail it."""

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
from nats.js import JetStreamContext

from common import outbox, topology
from devstack.testing import eventually
from lab.events import SERVICE, LapDriven

WRITERS = 16
SECONDS = 8
CARS = 24
OPEN_SECONDS = 0.020
SEED = 11

CONTROL = f"""
CREATE TABLE {SERVICE}.cars (car text PRIMARY KEY, laps int NOT NULL);
CREATE TABLE {SERVICE}.control (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text NOT NULL, number int NOT NULL,
    tx xid8 NOT NULL DEFAULT pg_current_xact_id(), taken bool NOT NULL DEFAULT false
);
CREATE INDEX ON {SERVICE}.control (id) WHERE NOT taken;
"""
Seen = list[tuple[str, int]]


async def write(track: Any, seed: int, stopped: asyncio.Event) -> None:
    """Drive laps: the car's row is locked, then the event is stored, and the transaction stays open a while."""
    dice = random.Random(seed)  # noqa: S311 - which car
    while not stopped.is_set():
        car = str(dice.randrange(CARS))
        async with track.transaction() as session:
            connection = await session.connection()
            found = await connection.exec_driver_sql(
                "UPDATE cars SET laps = laps + 1 WHERE car = $1 RETURNING laps", (car,)
            )
            number = found.scalar_one()
            await asyncio.sleep(dice.uniform(0, OPEN_SECONDS / 2))
            await outbox.publish(session, LapDriven(car=car, number=number))
            await connection.exec_driver_sql("INSERT INTO control (key, number) VALUES ($1, $2)", (car, number))
            await asyncio.sleep(dice.uniform(0, OPEN_SECONDS / 2))


async def cursor_relay(connection: asyncpg.Connection, seen: Seen) -> None:
    """Read what is beyond the last id, as most tutorials do."""
    last = 0
    while True:
        for row in await connection.fetch("SELECT * FROM control WHERE id > $1 ORDER BY id LIMIT 1000", last):
            last = row["id"]
            seen.append((row["key"], row["number"]))
        await asyncio.sleep(0.005)


async def horizon_relay(connection: asyncpg.Connection, seen: Seen) -> None:
    """Read what is older than every open transaction, in the order of transactions."""
    tx, last = "0", 0
    while True:
        rows = await connection.fetch(
            "SELECT id, key, number, tx::text FROM control WHERE tx < pg_snapshot_xmin(pg_current_snapshot())"
            " AND (tx, id) > ($1::text::xid8, $2) ORDER BY tx, id LIMIT 1000",
            tx,
            last,
        )
        for row in rows:
            tx, last = row["tx"], row["id"]
            seen.append((row["key"], row["number"]))
        await asyncio.sleep(0.005)


async def skipping_relay(connection: asyncpg.Connection, js: JetStreamContext) -> None:
    """Take rows that nobody else has, send them, mark them; one of three."""
    while True:
        async with connection.transaction():
            rows = await connection.fetch(
                "SELECT * FROM control WHERE NOT taken ORDER BY id LIMIT 20 FOR UPDATE SKIP LOCKED"
            )
            for row in rows:
                await js.publish("laps.skipping", msgspec.json.encode([row["key"], row["number"]]), timeout=5)
            await connection.execute("UPDATE control SET taken = true WHERE id = ANY ($1)", [row["id"] for row in rows])
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def control(track: Any, relay: Callable[..., Awaitable[None]], *arguments: Any) -> AsyncIterator[None]:
    connection = await asyncpg.connect(track.settings.database_url, server_settings={"search_path": SERVICE})
    task = asyncio.ensure_future(relay(connection, *arguments))
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await connection.close()


async def test_sixteen_writers_lose_nothing_and_keep_their_order_where_three_usual_relays_do_not(
    track: Any, watcher: asyncpg.Connection, count_inversions: Any
) -> None:
    await watcher.execute(CONTROL)
    await watcher.executemany("INSERT INTO cars VALUES ($1, 0)", [(str(car),) for car in range(CARS)])
    cursor: Seen = []
    horizon: Seen = []
    stopped = asyncio.Event()
    async with contextlib.AsyncExitStack() as controls:
        await controls.enter_async_context(control(track, cursor_relay, cursor))
        await controls.enter_async_context(control(track, horizon_relay, horizon))
        for _ in range(3):
            await controls.enter_async_context(control(track, skipping_relay, track.js))
        track.relay()
        track.relay()
        writers = [asyncio.create_task(write(track, SEED + number, stopped)) for number in range(WRITERS)]
        await asyncio.sleep(SECONDS / 2)
        await track.stop()
        track.relay()
        await asyncio.sleep(SECONDS / 2)
        stopped.set()
        await asyncio.gather(*writers)
        await track.drained()
        written = await watcher.fetchval("SELECT count(*) FROM outbox")

    streamed = [message for message in await track.streamed() if message.subject == "laps.driven"]
    laps = [msgspec.json.decode(message.data, type=LapDriven) for message in streamed]
    skipping = [
        msgspec.json.decode(message.data, type=tuple[str, int])
        for message in await track.streamed()
        if message.subject == "laps.skipping"
    ]
    figures = {
        "written": written,
        "lost": written - len({message.headers["Nats-Msg-Id"] for message in streamed if message.headers}),
        "inversions": count_inversions([(lap.car, lap.number) for lap in laps]),
        "cursor lost": written - len(set(cursor)),
        "horizon inversions": count_inversions(horizon),
        "skipping inversions": count_inversions(skipping),
    }
    sys.stdout.write(f"{figures}\n")
    assert (figures["lost"], figures["inversions"]) == (0, 0), figures
    assert len(streamed) == written, "nobody published twice"
    assert written > 300, figures
    assert figures["cursor lost"] > 0, figures
    assert figures["horizon inversions"] > 0, figures
    assert figures["skipping inversions"] > 0, figures


async def test_an_event_waits_for_the_refused_one_before_it_and_other_keys_do_not(track: Any) -> None:
    """Once the stream takes the first again, they leave in their order."""
    wide = next(stream for stream in topology.STREAMS if stream.name == topology.EVENTS)
    await track.js.update_stream(wide.evolve(max_msg_size=4096))
    async with track.transaction() as session:
        await outbox.publish(session, LapDriven(car="1", number=1, note="x" * 5000))
        for number in range(2, 5):
            await outbox.publish(session, LapDriven(car="1", number=number))
            await outbox.publish(session, LapDriven(car="2", number=number))
    track.relay()

    async def others() -> bool:
        return bool(await track.value("SELECT count(*) = 3 FROM outbox WHERE published_at IS NOT NULL"))

    await eventually(others, seconds=15, what="the events of the other key")
    first = [msgspec.json.decode(message.data, type=LapDriven) for message in await track.streamed()]
    assert [(lap.car, lap.number) for lap in first] == [("2", 2), ("2", 3), ("2", 4)]
    await track.js.update_stream(wide)
    await track.drained()
    laps = [msgspec.json.decode(message.data, type=LapDriven) for message in await track.streamed()]
    assert [lap.number for lap in laps if lap.car == "1"] == [1, 2, 3, 4]


async def test_an_event_that_the_stream_would_refuse_is_refused_when_it_is_stored(track: Any) -> None:
    async with track.transaction() as session:
        try:
            await outbox.publish(session, LapDriven(car="1", number=1, note="x" * 1_040_000))
        except ValueError as error:
            assert "JetStream takes" in str(error)  # noqa: PT017 - the transaction ends in order
        else:
            raise AssertionError
    assert await track.value("SELECT count(*) FROM outbox") == 0


async def test_the_waiting_rows_are_read_from_the_partial_index_however_much_was_published(
    track: Any, watcher: asyncpg.Connection
) -> None:
    from common import relay  # noqa: PLC0415 - the query is its own

    await watcher.execute(
        "INSERT INTO outbox (event_id, subject, key, source, body, published_at)"
        " SELECT gen_random_uuid(), 'laps.driven', n::text, 'auth', '', now() FROM generate_series(1, 20000) n"
    )
    await watcher.execute("ANALYZE outbox")
    async with track.transaction() as session:
        await outbox.publish_all(session, [LapDriven(car=uuid4().hex, number=number) for number in range(20)])
    plan = await watcher.fetch(f"EXPLAIN {relay._DUE}", list(range(16)))
    assert "ix_outbox_waiting" in str(plan)
