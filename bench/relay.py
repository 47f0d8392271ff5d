"""Events per second: the outbox relay against raw `publish_async`, in one run, on one server.

python bench/relay.py [--events 50000] [--json]

The relay reads rows, publishes, waits for JetStream's acknowledgements and marks the rows with their sequences. The raw
figure publishes the same bodies and headers with no database.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
from nats.aio.client import Client

from common import clock, outbox, topology
from common.contracts import encode
from common.contracts.auth import UserRegistered
from common.db import Database, service_metadata
from common.inbox import inbox_table
from common.outbox import outbox_table
from common.settings import Settings
from devstack import servers

SCHEMA = "auth"
ROUNDS = 3


async def prepare(database: Database) -> None:
    """Make an empty outbox."""
    metadata = service_metadata()
    outbox_table(metadata)
    inbox_table(metadata)
    connection = await asyncpg.connect(database.dsn)
    await connection.execute(f"CREATE SCHEMA {SCHEMA}")
    await connection.close()
    async with database.engine.begin() as engine:
        await engine.run_sync(metadata.create_all)


async def fill(connection: asyncpg.Connection, events: int) -> None:
    """Store events that wait to be published."""
    rows = []
    for _ in range(events):
        event = UserRegistered(user_id=uuid4(), username="benchmark", registered_at=clock.now())
        rows.append((uuid4(), event.subject, event.key(), event.source, encode(event)))
    columns = ["event_id", "subject", "key", "source", "body"]
    await connection.copy_records_to_table("outbox", records=rows, columns=columns)
    await connection.execute("ANALYZE outbox")


async def relay(connection: asyncpg.Connection, publisher: outbox.Publisher) -> float:
    """Drain the outbox as the relay does; return seconds."""
    started = time.perf_counter()
    while await outbox.drain_batch(connection, publisher):
        pass
    return time.perf_counter() - started


async def raw(client: Client, rows: list[Any]) -> float:
    """Publish rows that are already in memory, with the library's own window and no barrier; return seconds."""
    js = client.jetstream()
    started = time.perf_counter()
    futures = []
    for row in rows:
        headers = {**outbox.headers_of(row), "Nats-Msg-Id": uuid4().hex}
        futures.append(await js.publish_async(row["subject"], row["body"], stream=topology.EVENTS, headers=headers))
    await asyncio.gather(*futures)
    return time.perf_counter() - started


async def measure(events: int, folder: Path) -> dict[str, float]:
    """Alternate relay and raw, and keep the best round of each."""
    postgres = servers.start_postgres(folder / "postgres", durable=True)
    nats = servers.start_nats(folder / "nats", durable=False)
    database = Database(Settings(database_url=postgres.url, nats_url=nats.url), SCHEMA)
    try:
        await prepare(database)
        connection = await database.connect_raw()
        client = await topology.connect(nats.url, "bench")
        await topology.apply(client.jetstream())
        publisher = outbox.Publisher(client)
        best = {"relay": 0.0, "raw": 0.0}
        for _ in range(ROUNDS):
            await fill(connection, events)
            best["relay"] = max(best["relay"], events / await relay(connection, publisher))
            rows = await connection.fetch("SELECT * FROM outbox LIMIT $1", events)
            best["raw"] = max(best["raw"], events / await raw(client, rows))
            await connection.execute("TRUNCATE outbox")
        await client.close()
        await connection.close()
    finally:
        await database.close()
        nats.stop()
        postgres.stop()
    return best


def main() -> None:
    """Print the table, and with --json one object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        best = asyncio.run(measure(arguments.events, Path(folder)))
    ratio = best["relay"] / best["raw"]
    print(f"{'outbox relay':<22}{best['relay']:>10,.0f} events/s")
    print(f"{'raw publish_async':<22}{best['raw']:>10,.0f} events/s")
    print(f"{'ratio':<22}{ratio:>10.2f}")
    if arguments.json:
        print(msgspec.json.encode({**best, "ratio": ratio, "events": arguments.events}).decode())


if __name__ == "__main__":
    main()
