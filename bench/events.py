"""What the event flow carries: relay, batch consumer, ordered consumer, and the way from commit to effect, in one run.

python bench/events.py [--events 50000] [--seconds 20] [--json]

| key | what |
|---|---|
| `relay_vs_raw_publish` | events per second from outbox to acknowledged and marked, over raw `publish_async` |
| `inbox_consumer_per_s` | events per second of a batch consumer, each with its inbox row and its effect |
| `ordered_per_s` | events per second of an ordered consumer on 4 partitions, in the order of each of 200 keys |
| `commit_to_effect_p99_ms` | 99th percentile at 500 commits per second: outbox, relay, JetStream, consumer, commit |

The way from commit to effect is measured with a process for each part and with a broker that syncs every write.
"""

import argparse
import asyncio
import contextlib
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from nats.aio.client import Client
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from common import clock, outbox, relay, topology
from common.consumers import Consumers
from common.contracts import encode
from common.contracts.auth import UserRegistered
from common.db import Database, service_metadata
from common.inbox import attempts_table, inbox_table
from common.messaging import Bus
from common.ordered import cursors_table
from common.outbox import outbox_table
from common.settings import Settings
from devstack import servers

SCHEMA = "auth"
ROUNDS = 3
KEYS = 200
PER_SECOND = 500
WRITERS = 8
PARTITIONS = list(range(relay.PARTITIONS))
ADDRESSES = "BENCH_ADDRESSES"
TARGETS = {
    "relay_vs_raw_publish": (">=", 0.5),
    "inbox_consumer_per_s": (">=", 5000),
    "ordered_per_s": (">=", 1000),
    "commit_to_effect_p99_ms": ("<=", 100),
}


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where the servers of the run are."""

    database_url: str
    nats_url: str

    def database(self) -> Database:
        """Open a pool."""
        return Database(self.settings(), SCHEMA)

    def settings(self) -> Settings:
        """The settings of a part."""
        return Settings(database_url=self.database_url, nats_url=self.nats_url)


async def prepare(addresses: Addresses) -> None:
    """Make empty tables and streams."""
    metadata = service_metadata()
    for declare in (outbox_table, inbox_table, attempts_table, cursors_table):
        declare(metadata)
    connection = await asyncpg.connect(addresses.database_url)
    await connection.execute(f"CREATE SCHEMA {SCHEMA}")
    await connection.execute(f"CREATE TABLE {SCHEMA}.effects (id bigserial PRIMARY KEY, event uuid NOT NULL)")
    await connection.close()
    database = addresses.database()
    async with database.engine.begin() as engine:
        await engine.run_sync(metadata.create_all)
    await database.close()
    await streams(addresses.nats_url)


async def streams(url: str) -> None:
    """Create the streams."""
    client = await topology.connect(url, "bench")
    await topology.apply(client.jetstream())
    await client.close()


def registered(user_id: UUID | None = None) -> UserRegistered:
    """Make an event."""
    return UserRegistered(user_id=user_id or uuid4(), username="benchmark", registered_at=clock.now())


async def fill(connection: asyncpg.Connection, events: int) -> None:
    """Store events that wait to be published."""
    rows = []
    for _ in range(events):
        event = registered()
        rows.append((uuid4(), event.subject, event.key(), event.source, encode(event)))
    columns = ["event_id", "subject", "key", "source", "body"]
    await connection.copy_records_to_table("outbox", records=rows, columns=columns)
    await connection.execute("ANALYZE outbox")


async def publish_raw(client: Client, rows: Sequence[Any]) -> float:
    """Publish rows that are already in memory, with the library's own window and no barrier; return seconds."""
    js = client.jetstream()
    started = time.perf_counter()
    futures = []
    for row in rows:
        headers = {**relay.headers_of(row), "Nats-Msg-Id": uuid4().hex}
        futures.append(await js.publish_async(row["subject"], row["body"], stream=topology.EVENTS, headers=headers))
    await asyncio.gather(*futures)
    return time.perf_counter() - started


async def relay_against_raw(addresses: Addresses, events: int) -> dict[str, float]:
    """Alternate relay and raw, and keep the best round of each."""
    connection = await addresses.database().connect_raw("bench")
    client = await topology.connect(addresses.nats_url, "bench")
    publisher = relay.Publisher(client)
    best = {"relay": 0.0, "raw": 0.0}
    for _ in range(ROUNDS):
        await fill(connection, events)
        started = time.perf_counter()
        while await relay.drain_batch(connection, publisher, PARTITIONS):
            pass
        best["relay"] = max(best["relay"], events / (time.perf_counter() - started))
        rows = await connection.fetch("SELECT * FROM outbox LIMIT $1", events)
        best["raw"] = max(best["raw"], events / await publish_raw(client, rows))
        await connection.execute("TRUNCATE outbox")
    await client.jetstream().purge_stream(topology.EVENTS)
    await client.close()
    await connection.close()
    return best


async def take(events: Sequence[UserRegistered], session: AsyncSession) -> None:
    """Have one effect for each event, in one statement."""
    await session.execute(
        text("INSERT INTO effects (event) SELECT unnest(CAST(:events AS uuid[]))"),
        {"events": [event.user_id for event in events]},
    )


async def take_one(event: UserRegistered, session: AsyncSession) -> None:
    """Have one effect."""
    await take([event], session)


@contextlib.asynccontextmanager
async def consuming(addresses: Addresses, consumers: Consumers) -> AsyncIterator[None]:
    """Run a bus."""
    database = addresses.database()
    task = asyncio.create_task(Bus(consumers, database, addresses.settings()).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.close()


async def consumer_speed(addresses: Addresses, consumers: Consumers, count: str, events: int) -> float:
    """Publish events, then start the consumer; return its events per second from the first effect it had."""
    connection = await asyncpg.connect(addresses.database_url, server_settings={"search_path": SCHEMA})
    await connection.execute("TRUNCATE effects, inbox, cursors, outbox")
    client = await topology.connect(addresses.nats_url, "bench")
    await client.jetstream().purge_stream(topology.EVENTS)
    keys = [uuid4() for _ in range(KEYS)]
    rows = []
    for number in range(events):
        event = registered(keys[number % KEYS])
        now = clock.now()
        rows.append(
            {
                "event_id": uuid4(),
                "subject": event.subject,
                "key": event.key(),
                "source": event.source,
                "body": encode(event),
                "created_at": now,
                "deliver_at": now,
                "traceparent": None,
            }
        )
    await publish_as_relay(client, rows)
    await client.close()
    async with consuming(addresses, consumers):
        first = begun = 0.0
        while (done := await connection.fetchval(count)) < events:
            if done and not begun:
                first, begun = done, time.perf_counter()
            await asyncio.sleep(0.05)
    seconds = time.perf_counter() - begun
    await connection.close()
    return (events - first) / seconds


async def publish_as_relay(client: Client, rows: Sequence[Any]) -> None:
    """Publish with the ids that the inbox will see."""
    js = client.jetstream()
    futures = [
        await js.publish_async(row["subject"], row["body"], stream=topology.EVENTS, headers=relay.headers_of(row))
        for row in rows
    ]
    await asyncio.gather(*futures)


async def batches(addresses: Addresses, events: int) -> float:
    """Measure the batch consumer."""
    consumers = Consumers(SCHEMA)
    consumers.batch(UserRegistered, size=500)(take)
    return await consumer_speed(addresses, consumers, "SELECT count(*) FROM effects", events)


async def in_order(addresses: Addresses, events: int) -> float:
    """Measure the ordered consumer."""
    consumers = Consumers(SCHEMA)
    consumers.ordered("bench", UserRegistered, partitions=4)(take_one)
    return await consumer_speed(addresses, consumers, "SELECT count(*) FROM effects", events)


async def run_relay(addresses: Addresses) -> None:
    """Be the relay of the way from commit to effect."""
    await relay.Relay(addresses.database(), addresses.settings()).run()


async def run_consumer(addresses: Addresses) -> None:
    """Be its consumer; whoever listens is told of an effect when it is committed."""
    consumers = Consumers(SCHEMA)

    @consumers.batch(UserRegistered, size=500)
    async def tell(events: Sequence[UserRegistered], session: AsyncSession) -> None:
        await take(events, session)
        await session.execute(
            text("SELECT count(pg_notify('effects', event)) FROM unnest(CAST(:events AS text[])) AS event"),
            {"events": [str(event.user_id) for event in events]},
        )

    async with consuming(addresses, consumers):
        await asyncio.Event().wait()


async def run_writer(addresses: Addresses) -> None:
    """Be the services that commit, as users come; print, for each event, when its commit was acknowledged.

    What `outbox.publish` stores is stored without SQLAlchemy: the measure begins with the commit, and a small machine
    would be crowded by the writers.
    """
    pool = await asyncpg.create_pool(
        addresses.database_url, min_size=WRITERS, max_size=WRITERS, server_settings={"search_path": SCHEMA}
    )
    store = "INSERT INTO outbox (event_id, subject, key, source, body) VALUES ($1, $2, $3, $4, $5)"
    loop = asyncio.get_running_loop()
    due = loop.time()

    async def user() -> None:
        nonlocal due
        while True:
            due += random.expovariate(PER_SECOND)
            await asyncio.sleep(due - loop.time())
            event = registered()
            async with pool.acquire() as connection:
                async with connection.transaction():
                    await connection.execute(store, uuid4(), event.subject, event.key(), event.source, encode(event))
                    await connection.execute(f"NOTIFY {outbox.channel(SCHEMA)}")
                print(event.user_id, time.time(), flush=True)

    await asyncio.gather(*(user() for _ in range(WRITERS)))


PARTS: dict[str, Callable[[Addresses], Coroutine[Any, Any, None]]] = {
    "relay": run_relay,
    "consumer": run_consumer,
    "writer": run_writer,
}


@contextlib.asynccontextmanager
async def part(name: str, addresses: Addresses) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a part in a process of its own."""
    environ = dict(os.environ) | {ADDRESSES: msgspec.json.encode(addresses).decode()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--part", name, stdout=asyncio.subprocess.PIPE, env=environ, limit=1 << 20
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def commit_to_effect(addresses: Addresses, seconds: float) -> list[float]:
    """Return the milliseconds of every event of so many seconds, after a while to warm up."""
    effects: dict[str, float] = {}
    commits: dict[str, float] = {}
    listener = await asyncpg.connect(addresses.database_url, server_settings={"search_path": SCHEMA})
    await listener.execute("TRUNCATE effects, inbox, cursors, outbox")
    await listener.add_listener("effects", lambda *told: effects.setdefault(told[-1], time.time()))
    async with (
        part("relay", addresses),
        part("consumer", addresses),
        part("writer", addresses) as writer,
    ):
        assert writer.stdout is not None  # noqa: S101 - it was asked for
        while not effects:  # noqa: ASYNC110 - the listener is no coroutine
            await asyncio.sleep(0.1)
        begin = time.time() + seconds / 4
        async with asyncio.timeout(seconds * 2 + 60):
            while (line := await writer.stdout.readline()) and time.time() < begin + seconds:
                user_id, at = line.decode().split()
                if float(at) >= begin:
                    commits[user_id] = float(at)
            while not commits.keys() <= effects.keys():  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.1)
    await listener.close()
    return sorted(1000 * max(0.0, effects[user_id] - at) for user_id, at in commits.items())


async def measure(events: int, seconds: float, folder: Path) -> dict[str, float]:
    """Measure everything."""
    postgres = servers.start_postgres(folder / "postgres", durable=True)
    nats = servers.start_nats(folder / "nats", durable=False)
    synced = servers.start_nats(folder / "synced", durable=True)
    try:
        addresses = Addresses(database_url=postgres.url, nats_url=nats.url)
        await prepare(addresses)
        best = await relay_against_raw(addresses, events)
        batch = await batches(addresses, events)
        ordered = await in_order(addresses, events // 2)
        await streams(synced.url)
        latency = await commit_to_effect(Addresses(database_url=postgres.url, nats_url=synced.url), seconds)
    finally:
        synced.stop()
        nats.stop()
        postgres.stop()
    return {
        "relay_vs_raw_publish": best["relay"] / best["raw"],
        "inbox_consumer_per_s": batch,
        "ordered_per_s": ordered,
        "commit_to_effect_p99_ms": statistics.quantiles(latency, n=100)[98],
        "commit_to_effect_p50_ms": statistics.median(latency),
        "commits_per_s": len(latency) / seconds,
        "relay_per_s": best["relay"],
        "raw_publish_per_s": best["raw"],
    }


def main() -> None:
    """Print the table, and with --json one object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        asyncio.run(PARTS[arguments.part](msgspec.json.decode(os.environ[ADDRESSES], type=Addresses)))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(arguments.events, arguments.seconds, Path(folder)))
    for name, figure in figures.items():
        sign, target = TARGETS.get(name, ("", ""))
        print(f"{name:<26}{figure:>12,.2f}  {sign} {target}".rstrip())
    if arguments.json:
        print(msgspec.json.encode(figures).decode())


if __name__ == "__main__":
    main()
