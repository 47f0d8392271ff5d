"""The relay: carries the outbox to JetStream, losing nothing and keeping the order of every key's events.

It reads waiting rows in the order of their ids. Each of 16 hash partitions of the key has an advisory lock, and the
relays that are alive share them. What keeps the order of a key's events is stronger than the lock: nobody, be it a
relay whose lock was lost unnoticed, sends an event before JetStream has acknowledged the key's event before it. So no
lost, refused or late publish, change of leader or reconnection can swap two of them. What remains: a copy sent after
JetStream's duplicate window has closed stands in the stream a second time, behind its followers; inboxes drop it.
Timers are ordered by when they are due, and events of different keys are not ordered at all.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from functools import partial

import asyncpg
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import PubAck
from sqlalchemy.exc import SQLAlchemyError

from common import cancellation, telemetry, topology
from common.contracts import schema_of, type_of
from common.db import Database
from common.log import get_logger
from common.outbox import UNCLAIMED, channel
from common.retention import prune
from common.settings import Settings

log = get_logger(__name__)

BATCH = 1000
ACK_SECONDS = 5
"""An event without its acknowledgement by then is sent again, under the same id."""

IDLE_SECONDS = 2.0
"""Between two looks at an outbox that nobody writes to: a notification or a timer comes first."""

AGAIN_SECONDS = 0.25
"""Before another look at events that are due but could not be sent, as a timer that somebody is just moving."""

SHARE_SECONDS = 2.0
OBSERVE_SECONDS = 1.0
"""Between two looks at the whole outbox while events come without a pause."""

BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0)
PARTITIONS = 16
_PARTITION = f"(hashtext(key) & {PARTITIONS - 1})"
SHARE = "share"
"""Payload of the notification that locks were given back."""

LOCK_KEY = 7_301_001
PARTITION_LOCK_KEY = 7_301_100
"""First half of the locks' keys: the relays' own, and the first partition's. The second is a hash of the schema."""

SESSION_LIMITS = {"idle_session_timeout": "10000", "statement_timeout": "10000"}
"""In milliseconds. A relay that is frozen, and not dead, loses its connection and with it its locks."""

PRUNE_SECONDS = 3600
FIRST_PRUNE_SECONDS = 60


_CLAIM = f"""
WITH due AS (
    SELECT id FROM outbox WHERE slot IS NOT NULL AND {UNCLAIMED} AND deliver_at <= clock_timestamp()
    AND {_PARTITION} = ANY ($1::int[]) FOR UPDATE SKIP LOCKED
)
UPDATE outbox SET claimed_at = clock_timestamp() FROM due WHERE outbox.id = due.id
"""  # noqa: S608 - constants
_DUE = f"""
SELECT id, event_id, subject, key, source, body, traceparent, created_at, deliver_at FROM outbox
WHERE published_at IS NULL AND (slot IS NULL OR claimed_at IS NOT NULL) AND deliver_at <= clock_timestamp()
AND {_PARTITION} = ANY ($1::int[]) ORDER BY id LIMIT {BATCH}
"""  # noqa: S608 - constants
_MARK = """
UPDATE outbox SET published_at = clock_timestamp(), stream_seq = acked.seq
FROM unnest($1::bigint[], $2::bigint[]) AS acked(id, seq) WHERE outbox.id = acked.id AND published_at IS NULL
"""
_STATE = f"""
SELECT count(*) FILTER (WHERE due) AS due, count(*) FILTER (WHERE due AND mine) AS mine,
       coalesce(extract(epoch FROM clock_timestamp() - min(deliver_at) FILTER (WHERE due)), 0)::float AS oldest,
       extract(epoch FROM min(deliver_at) FILTER (WHERE mine AND NOT due) - clock_timestamp())::float AS next_in
FROM (SELECT deliver_at, deliver_at <= clock_timestamp() AS due, {_PARTITION} = ANY ($1::int[]) AS mine
      FROM outbox WHERE published_at IS NULL) AS waiting
"""  # noqa: S608 - constants
_RELAYS = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1::int AND objsubid = 2
AND objid::bigint = hashtext($2)::bigint & 4294967295
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_TAKE = "SELECT p FROM unnest($3::int[]) AS p WHERE pg_try_advisory_lock($1::int + p, hashtext($2)) LIMIT $4"
_GIVE = "SELECT pg_advisory_unlock($1::int + p, hashtext($2)) FROM unnest($3::int[]) AS p"


class Partitions:
    """The partitions whose locks a relay's connection holds: a fair share among the relays that are alive.

    A relay is alive while its connection has the shared lock ``LOCK_KEY``. All locks die with the connection.
    """

    def __init__(self, connection: asyncpg.Connection, service: str) -> None:
        self.held: list[int] = []
        self._connection = connection
        self._service = service
        self._counted = False

    async def share(self) -> None:
        """Take free partitions up to a fair share and give back what is beyond it; nothing may be on its way."""
        key, locks = (LOCK_KEY, self._service), (PARTITION_LOCK_KEY, self._service)
        if not self._counted:
            enter = "SELECT pg_try_advisory_lock_shared($1, hashtext($2))"
            self._counted = await self._connection.fetchval(enter, *key)
        relays = await self._connection.fetchval(_RELAYS, *key)
        fair = -(-PARTITIONS // max(relays, 1)) if self._counted else 0
        if len(self.held) < fair:
            others = [partition for partition in range(PARTITIONS) if partition not in self.held]
            taken = await self._connection.fetch(_TAKE, *locks, others, fair - len(self.held))
            self.held += [row["p"] for row in taken]
        elif surplus := self.held[fair:]:
            del self.held[fair:]
            await self._connection.execute(_GIVE, *locks, surplus)
            await self._connection.execute(f"NOTIFY {channel(self._service)}, '{SHARE}'")


class Relay:
    """Moves a service's outbox to JetStream for as long as it runs, and prunes what it no longer needs."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._wake = asyncio.Event()
        self._partitions: Partitions | None = None
        self._share_at = 0.0

    async def run(self) -> None:
        """Relay and prune until cancelled. Every failure is waited out; nothing is dropped."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._relay())
            tasks.create_task(self._prune())

    async def _relay(self) -> None:
        attempt = 0
        clock = asyncio.get_running_loop()
        while True:
            cancellation.heed()
            started = clock.time()
            try:
                await self._session()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, nats.errors.Error) as error:
                if clock.time() - started > ACK_SECONDS:
                    attempt = 0
                pause = BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS) - 1)]
                attempt += 1
                log.warning("relay interrupted", error=repr(error), retry_in_seconds=pause)
                await asyncio.sleep(pause)

    async def _session(self) -> None:
        """Work over one connection to each server. While NATS is away the outbox is watched, and nothing is held."""
        name = f"{self._database.schema}-relay"
        link = asyncio.create_task(topology.connect(self._settings.nats_url, name, self._settings.nats_creds))
        link.add_done_callback(lambda _: self._wake.set())
        try:
            connection = await self._database.connect_raw("relay", **SESSION_LIMITS)
            self._partitions, self._share_at = Partitions(connection, self._database.schema), 0.0
            try:
                await connection.add_listener(channel(self._database.schema), self._notified)
                await self._serve(connection, link, self._partitions)
            finally:
                self._partitions = None
                with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await connection.close(timeout=1)
        finally:
            link.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, nats.errors.Error):
                await (await link).close()

    def _notified(self, *notification: object) -> None:
        if notification[-1] == SHARE:
            self._share_at = 0.0
        self._wake.set()

    async def _serve(self, connection: asyncpg.Connection, link: asyncio.Task[Client], mine: Partitions) -> None:
        publisher: Publisher | None = None
        clock, observe_at = asyncio.get_running_loop(), 0.0
        while True:
            cancellation.heed()
            self._wake.clear()
            if link.done():
                client = link.result()
                if not client.is_connected:
                    raise ConnectionResetError("NATS is away; another relay may reach it")
                publisher = publisher or Publisher(client)
                await self._drain(connection, publisher, mine)
                if self._wake.is_set() and clock.time() < observe_at:
                    continue
            observe_at = clock.time() + OBSERVE_SECONDS
            state = await connection.fetchrow(_STATE, mine.held)
            telemetry.OUTBOX_PENDING.set(state["due"])
            telemetry.OUTBOX_OLDEST.set(state["oldest"])
            pause = min(IDLE_SECONDS, IDLE_SECONDS if state["next_in"] is None else max(0.0, state["next_in"]))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS if state["mine"] else pause):
                    await self._wake.wait()

    async def _drain(self, connection: asyncpg.Connection, publisher: "Publisher", mine: Partitions) -> None:
        more, clock = True, asyncio.get_running_loop()
        while more:
            if clock.time() >= self._share_at:
                self._share_at = clock.time() + SHARE_SECONDS
                await mine.share()
            more = await drain_batch(connection, publisher, mine.held)

    async def _prune(self) -> None:
        """Whoever holds the first partition prunes, about hourly."""
        await asyncio.sleep(FIRST_PRUNE_SECONDS)
        while True:
            if self._partitions and 0 in self._partitions.held:
                try:
                    await prune(self._database)
                except (OSError, SQLAlchemyError) as error:
                    log.warning("pruning interrupted", error=repr(error))
            await asyncio.sleep(PRUNE_SECONDS)


class _JetStream(JetStreamContext):
    async def _handle_async_reply(self, msg: Msg) -> None:
        """Tell the future of a refusal, which nats-py 2.16 raises past it, so that it would only time out."""
        try:
            await super()._handle_async_reply(msg)
        except nats.js.errors.Error as error:
            for token, future in self._publish_async_futures.items():
                if msg.subject.endswith(token) and not future.done():
                    future.set_exception(error)
                    break


class Publisher:
    """Publishes outbox rows without waiting for one before sending the next, but for rows of the same key."""

    def __init__(self, client: Client) -> None:
        self._js = _JetStream(client, publish_async_max_pending=BATCH * 2)

    async def send(self, rows: Sequence[asyncpg.Record]) -> tuple[list[tuple[int, int]], list[str]]:
        """Publish rows, the nth of every key in one go; return (row id, stream sequence) of the acknowledged ones.

        A row is not sent when the one before it of its key was not acknowledged, or when the time is up. The second
        value has the reasons why rows were sent for nothing.
        """
        clock = asyncio.get_running_loop()
        deadline = clock.time() + ACK_SECONDS
        acked: list[tuple[int, int]] = []
        stuck: dict[str, str] = {}
        for wave in _waves(rows):
            ready = [row for row in wave if row["key"] not in stuck]
            if not ready or clock.time() >= deadline:
                break
            futures = [await self._publish(row) for row in ready]
            _, late = await asyncio.wait(futures, timeout=ACK_SECONDS)
            for row, future in zip(ready, futures, strict=True):
                if future in late:
                    future.cancel()
                    stuck[row["key"]] = "no acknowledgement"
                elif error := future.exception():
                    stuck[row["key"]] = str(error)
                else:
                    acked.append((row["id"], future.result().seq))
            if late:
                break
        return acked, list(stuck.values())

    async def _publish(self, row: asyncpg.Record) -> asyncio.Future[PubAck]:
        headers = headers_of(row)
        begun = telemetry.publish_span(row["subject"], row["traceparent"])
        if begun is not None:
            headers["traceparent"] = begun[1]
        future = await self._js.publish_async(row["subject"], row["body"], stream=topology.EVENTS, headers=headers)
        if begun is not None:
            future.add_done_callback(partial(telemetry.end_span, begun[0]))
        return future


def _waves(rows: Sequence[asyncpg.Record]) -> list[list[asyncpg.Record]]:
    """Put the first row of every key into the first wave, the second into the second."""
    waves: list[list[asyncpg.Record]] = []
    seen: Counter[str] = Counter()
    for row in rows:
        if seen[row["key"]] == len(waves):
            waves.append([])
        waves[seen[row["key"]]].append(row)
        seen[row["key"]] += 1
    return waves


async def drain_batch(connection: asyncpg.Connection, publisher: Publisher, partitions: Sequence[int]) -> bool:
    """Publish one batch and mark what was acknowledged; return whether more may be due.

    No transaction is open while events are on their way: what could change a row, its move or cancellation, is shut
    out by the claim, which is committed before.
    """
    await connection.execute(_CLAIM, partitions)
    rows = await connection.fetch(_DUE, partitions)
    if not rows:
        return False
    acked, failed = await publisher.send(rows)
    await connection.execute(_MARK, [row for row, _ in acked], [seq for _, seq in acked])
    telemetry.OUTBOX_PUBLISHED.inc(len(acked))
    if failed:
        telemetry.OUTBOX_FAILURES.inc(len(failed))
        raise TimeoutError(f"{len(failed)} of {len(rows)} events were not stored: {failed[0]}")
    return len(rows) == BATCH or len(acked) < len(rows)


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
