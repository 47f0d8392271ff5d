"""The outbox: state and event commit together, and only the relay publishes.

Rows leave in the order of their ids, in batches, under one advisory lock for each service, so two replicas never
overtake each other. A row may carry ``deliver_at``: that is how timers survive a restart. A timer that can be moved
has a ``slot``, and scheduling the slot again replaces what it holds as long as it has not been published.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.api import PubAck
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy import delete as sql_delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from common import telemetry, topology
from common.contracts import Event, encode, schema_of, type_of
from common.db import Database
from common.log import get_logger
from common.settings import Settings

log = get_logger(__name__)

BATCH = 1000
ACK_SECONDS = 5
IDLE_SECONDS = 1.0
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0)
LOCK_KEY = 7_301_001
"""First half of the advisory lock's key; the second is a hash of the schema."""

_UNCLAIMED = "published_at IS NULL AND claimed_at IS NULL"


def outbox_table(metadata: MetaData) -> Table:
    """Declare the outbox among a service's tables."""
    table = Table(
        "outbox",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("event_id", Uuid, nullable=False, unique=True),
        Column("subject", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("source", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("traceparent", Text),
        Column("slot", Text),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("deliver_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("claimed_at", DateTime(timezone=True)),
        Column("published_at", DateTime(timezone=True)),
        Column("stream_seq", BigInteger),
    )
    waiting = text("published_at IS NULL")
    Index("ix_outbox_waiting", table.c.id, postgresql_where=waiting)
    Index("uq_outbox_slot_unclaimed", table.c.slot, unique=True, postgresql_where=text(_UNCLAIMED))
    return table


_OUTBOX = outbox_table(MetaData())


def channel(service: str) -> str:
    """Name the NOTIFY channel that wakes a service's relay."""
    return f"{service}_outbox"


async def publish(
    session: AsyncSession, event: Event, *, deliver_at: datetime | None = None, slot: str | None = None
) -> UUID:
    """Store the event in the caller's transaction; the relay sends it after the commit, not before ``deliver_at``."""
    values = _values(event) | {"slot": slot}
    if deliver_at is not None:
        values["deliver_at"] = deliver_at
    row = insert(_OUTBOX).values(**values)
    if slot is not None:
        row = row.on_conflict_do_update(
            index_elements=[_OUTBOX.c.slot],
            index_where=text(_UNCLAIMED),
            set_={name: row.excluded[name] for name in ("event_id", "body", "traceparent", "deliver_at")},
        )
    await session.execute(row)
    await session.execute(text(f"NOTIFY {channel(event.source)}"))
    event_id: UUID = values["event_id"]
    return event_id


async def publish_all(session: AsyncSession, events: Sequence[Event]) -> None:
    """Store many events of one service in the caller's transaction, in their order and in one round trip."""
    if events:
        await session.execute(insert(_OUTBOX), [_values(event) for event in events])
        await session.execute(text(f"NOTIFY {channel(events[0].source)}"))


def _values(event: Event) -> dict[str, Any]:
    return {
        "event_id": uuid4(),
        "subject": event.subject,
        "key": event.key(),
        "source": event.source,
        "body": encode(event),
        "traceparent": telemetry.current_traceparent(),
    }


async def cancel(session: AsyncSession, slot: str) -> bool:
    """Take back a timer that has not gone off; return False when there is none."""
    row = sql_delete(_OUTBOX).where(_OUTBOX.c.slot == slot, text(_UNCLAIMED))
    result = await session.execute(row.returning(_OUTBOX.c.id))
    return result.first() is not None


_DUE = f"""
SELECT id, event_id, subject, key, source, body, traceparent, created_at, deliver_at FROM outbox
WHERE published_at IS NULL AND deliver_at <= clock_timestamp() ORDER BY id LIMIT {BATCH} FOR UPDATE
"""  # noqa: S608 - a constant
_MARK = """
UPDATE outbox SET published_at = clock_timestamp(), stream_seq = acked.seq
FROM unnest($1::bigint[], $2::bigint[]) AS acked(id, seq) WHERE outbox.id = acked.id
"""
_STATE = """
SELECT count(*) FILTER (WHERE deliver_at <= clock_timestamp()) AS due,
       min(deliver_at) FILTER (WHERE deliver_at <= clock_timestamp()) AS oldest,
       extract(epoch FROM min(deliver_at) FILTER (WHERE deliver_at > clock_timestamp()) - clock_timestamp()) AS next_in,
       clock_timestamp() AS now
FROM outbox WHERE published_at IS NULL
"""


class Relay:
    """Moves a service's outbox to JetStream for as long as it runs."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Relay until cancelled. Every failure is waited out; nothing is dropped."""
        attempt = 0
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await self._session()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, nats.errors.Error) as error:
                if asyncio.get_running_loop().time() - started > ACK_SECONDS:
                    attempt = 0
                pause = BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS) - 1)]
                attempt += 1
                log.warning("relay interrupted", error=repr(error), retry_in_seconds=pause)
                await asyncio.sleep(pause)

    async def _session(self) -> None:
        client = await topology.connect(
            self._settings.nats_url, f"{self._database.schema}-relay", self._settings.nats_creds
        )
        try:
            connection = await self._database.connect_raw()
            try:
                await self._lead(connection, client)
            finally:
                with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await connection.close(timeout=1)
        finally:
            await client.close()

    async def _lead(self, connection: asyncpg.Connection, client: Client) -> None:
        """Wait for the lock, then drain for ever; the lock dies with the connection."""
        take = "SELECT pg_try_advisory_lock($1, hashtext($2))"
        while not await connection.fetchval(take, LOCK_KEY, self._database.schema):  # noqa: ASYNC110 - nobody signals
            await asyncio.sleep(IDLE_SECONDS)
        await connection.add_listener(channel(self._database.schema), lambda *_: self._wake.set())
        publisher = Publisher(client)
        while True:
            self._wake.clear()
            while await drain_batch(connection, publisher) == BATCH:
                pass
            state = await connection.fetchrow(_STATE)
            telemetry.OUTBOX_PENDING.set(state["due"])
            waited = state["now"] - state["oldest"] if state["oldest"] else timedelta()
            telemetry.OUTBOX_OLDEST.set(waited.total_seconds())
            pause = (
                min(IDLE_SECONDS, max(0.0, float(state["next_in"]))) if state["next_in"] is not None else IDLE_SECONDS
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.0 if state["due"] else pause):
                    await self._wake.wait()


class Publisher:
    """Publishes outbox rows without waiting for one before sending the next."""

    def __init__(self, client: Client) -> None:
        self._js = client.jetstream(publish_async_max_pending=BATCH * 2)

    async def send(self, rows: list[asyncpg.Record]) -> list[tuple[int, int]]:
        """Publish the rows in order; return (row id, stream sequence) of those that were acknowledged."""
        futures = [
            await self._js.publish_async(row["subject"], row["body"], stream=topology.EVENTS, headers=headers_of(row))
            for row in rows
        ]
        _, late = await asyncio.wait(futures, timeout=ACK_SECONDS)
        for future in late:
            future.cancel()
        return [(row["id"], ack.seq) for row, future in zip(rows, futures, strict=True) if (ack := _acked(future))]


async def drain_batch(connection: asyncpg.Connection, publisher: Publisher) -> int:
    """Publish one batch and mark what was acknowledged; return how many. A row is locked while it is on its way."""
    async with connection.transaction():
        rows = await connection.fetch(_DUE)
        if not rows:
            return 0
        acked = await publisher.send(rows)
        await connection.execute(_MARK, [row for row, _ in acked], [seq for _, seq in acked])
    telemetry.OUTBOX_PUBLISHED.inc(len(acked))
    if len(acked) < len(rows):
        raise TimeoutError(f"{len(rows) - len(acked)} of {len(rows)} events were not acknowledged")
    return len(rows)


def headers_of(row: asyncpg.Record) -> dict[str, str]:
    """CloudEvents 1.0 attributes in binary mode, the deduplication id and the trace. A timer's time is its due."""
    return {
        "Nats-Msg-Id": str(row["event_id"]),
        "ce-specversion": "1.0",
        "ce-id": str(row["event_id"]),
        "ce-type": type_of(row["subject"]),
        "ce-source": f"/paddock/{row['source']}",
        "ce-subject": row["key"],
        "ce-time": max(row["created_at"], row["deliver_at"]).isoformat().replace("+00:00", "Z"),
        "ce-datacontenttype": "application/json",
        "ce-dataschema": schema_of(row["subject"]),
        "traceparent": row["traceparent"] or telemetry.current_traceparent(),
    }


def _acked(future: asyncio.Future[PubAck]) -> PubAck | None:
    if not future.done() or future.cancelled() or future.exception() is not None:
        return None
    return future.result()
