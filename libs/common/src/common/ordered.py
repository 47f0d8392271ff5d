"""Ordered consumers: the events of one key reach their handler in the order of the stream, whatever dies or fails.

JetStream alone keeps no order once a delivery is handed back or its worker dies. So here nothing is acknowledged: each
partition of the keys has a cursor in the service's own schema, which moves in the transaction of the effects. A
partition is worked on by the process that holds its advisory lock, and a cursor that moved under it undoes its work.
An event that fails holds up its partition, not the others, until it succeeds or becomes a dead letter.
"""

import asyncio
import contextlib
import zlib
from collections.abc import Sequence

import asyncpg
import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from opentelemetry.trace import SpanKind
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, text
from sqlalchemy.exc import SQLAlchemyError

from common import cancellation, delivery, telemetry
from common.consumers import Consumer
from common.db import is_outage
from common.delivery import BUG_DELAYS_SECONDS, OUTAGE_DELAYS_SECONDS, Desk
from common.errors import PoisonError, UnavailableError
from common.log import get_logger

log = get_logger(__name__)

LOCK_KEY = 7_301_003
FETCH_SECONDS = 4.0
FETCH_EVENTS = 400
TAKE_SECONDS = 2.0
LEFT_ALONE_SECONDS = 60
SKIPPED_EVENTS = 5000
"""How far a cursor may lag behind events of other partitions before it is moved for their sake."""


def cursors_table(metadata: MetaData) -> Table:
    """Declare the cursors among the tables of a service that has ordered consumers."""
    return Table(
        "cursors",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("partition", Integer, primary_key=True),
        Column("sequence", BigInteger, nullable=False),
    )


_READ = text("SELECT sequence FROM cursors WHERE consumer = :consumer AND partition = :partition")
_MOVE = text("""
INSERT INTO cursors (consumer, partition, sequence) VALUES (:consumer, :partition, :sequence)
ON CONFLICT (consumer, partition) DO UPDATE SET sequence = excluded.sequence WHERE cursors.sequence = :known
RETURNING sequence
""")


class LaneBrokenError(Exception):
    """The lane must start again from its cursor."""


TROUBLE = (
    LaneBrokenError,
    OSError,
    nats.errors.Error,
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)
"""What a lane waits out."""


class Lane:
    """One partition of an ordered consumer."""

    def __init__(self, consumer: Consumer, partition: int, desk: Desk) -> None:
        self._consumer = consumer
        self._partition = partition
        self._desk = desk
        self._name = consumer.names()[partition]
        self._cursor = 0

    async def run(self) -> None:
        """Work on the partition whenever nobody else does, until cancelled."""
        while True:
            cancellation.heed()
            try:
                await self._hold()
            except TROUBLE as error:
                log.warning("lane interrupted", lane=self._name, error=repr(error))
            await asyncio.sleep(1)

    async def _hold(self) -> None:
        connection = await self._desk.database.connect_raw("lane")
        try:
            take = "SELECT pg_try_advisory_lock($1, hashtext($2))"
            while not await connection.fetchval(take, LOCK_KEY, self._name):  # noqa: ASYNC110 - nobody signals
                await asyncio.sleep(TAKE_SECONDS)
            await self._follow()
        finally:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=1)

    async def _follow(self) -> None:
        subscription = await self._subscribe()
        expected = 1
        while True:
            cancellation.heed()
            try:
                messages = await subscription.fetch(FETCH_EVENTS, timeout=FETCH_SECONDS)
            except TimeoutError:
                await subscription.consumer_info()  # one that has vanished is an error, and the lane starts again
                continue
            if messages[0].metadata.sequence.consumer != expected:
                raise LaneBrokenError(f"a delivery is missing before {messages[0].metadata.sequence.stream}")
            expected = messages[-1].metadata.sequence.consumer + 1
            if expected - messages[0].metadata.sequence.consumer != len(messages):
                raise LaneBrokenError(f"a delivery is missing before {messages[-1].metadata.sequence.stream}")
            await self._work(messages)

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        js, consumer = self._desk.js, self._consumer
        async with self._desk.database.transaction() as session:
            key = {"consumer": consumer.durable, "partition": self._partition}
            self._cursor = await session.scalar(_READ, key) or 0
        last = (await js.stream_info(consumer.stream)).state.last_seq
        start = self._cursor + 1
        if last < self._cursor:
            log.error("the stream begins anew, reading all of it", lane=self._name, cursor=self._cursor, last=last)
            start = 1
        with contextlib.suppress(nats.js.errors.NotFoundError):
            await js.delete_consumer(consumer.stream, self._name)
        one = len(consumer.filters) == 1
        config = ConsumerConfig(
            name=self._name,
            filter_subject=consumer.filters[0] if one else None,
            filter_subjects=None if one else list(consumer.filters),
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=LEFT_ALONE_SECONDS,
            mem_storage=True,
        )
        await js.add_consumer(consumer.stream, config)
        return await js.pull_subscribe_bind(consumer=self._name, stream=consumer.stream)

    async def _work(self, messages: Sequence[Msg]) -> None:
        mine = [message for message in messages if self._is_mine(message)]
        last = messages[-1].metadata.sequence.stream
        for begin in range(0, len(mine), self._consumer.size):
            run = mine[begin : begin + self._consumer.size]
            try:
                await self._apply(run)
            except (LaneBrokenError, asyncio.CancelledError):
                raise
            except Exception as error:  # noqa: BLE001 - whose fault it is shows when each is tried alone
                log.warning("run failed", lane=self._name, events=len(run), error=repr(error))
                for message in run:
                    await self._insist(message)
        if last - self._cursor > SKIPPED_EVENTS:
            await self._apply([], upto=last)

    def _is_mine(self, message: Msg) -> bool:
        return partition_of((message.headers or {}).get("ce-subject", ""), self._consumer.partitions) == self._partition

    async def _apply(self, run: Sequence[Msg], upto: int = 0) -> None:
        consumer = self._consumer
        sequence = upto or run[-1].metadata.sequence.stream
        with telemetry.EVENT_SECONDS.labels(consumer.durable).time():
            async with self._desk.database.transaction() as session:
                values = {"consumer": consumer.durable, "partition": self._partition}
                moved = await session.scalar(_MOVE, {**values, "sequence": sequence, "known": self._cursor})
                if moved is None:
                    raise LaneBrokenError("somebody else moved the cursor")
                read = await delivery.apply_new(consumer, run, session) if run else []
        self._cursor = sequence
        telemetry.EVENTS_CONSUMED.labels(consumer.durable, "applied").inc(len(read))
        telemetry.EVENTS_CONSUMED.labels(consumer.durable, "duplicate").inc(len(run) - len(read))
        for subject, time in read:
            delivery.observe_latency(subject, time)

    async def _insist(self, message: Msg) -> None:
        """Try one event until it succeeds or becomes a dead letter; nothing of its partition overtakes it."""
        failures = outages = 0
        parent = (message.headers or {}).get("traceparent")
        while True:
            try:
                with telemetry.span(f"process {message.subject}", SpanKind.CONSUMER, traceparent=parent):
                    return await self._apply([message])
            except (LaneBrokenError, asyncio.CancelledError):
                raise
            except Exception as error:  # noqa: BLE001 - the edge: any bug becomes a retry and then a dead letter
                if is_outage(error) or isinstance(error, UnavailableError):
                    delay = OUTAGE_DELAYS_SECONDS[min(outages, len(OUTAGE_DELAYS_SECONDS) - 1)]
                    outages += 1
                elif isinstance(error, PoisonError) or failures == len(BUG_DELAYS_SECONDS):
                    return await self._give_up(message, error, failures + 1)
                else:
                    delay = BUG_DELAYS_SECONDS[failures]
                    failures += 1
                telemetry.EVENTS_CONSUMED.labels(self._consumer.durable, "delayed").inc()
                log.warning("event delayed", lane=self._name, retry_in_seconds=delay, error=repr(error))
                await asyncio.sleep(delay)

    async def _give_up(self, message: Msg, error: Exception, tries: int) -> None:
        sequence = message.metadata.sequence.stream
        durable = self._consumer.durable
        await delivery.bury(self._desk.js, durable, message.subject, message, error, tries, str(sequence))
        telemetry.EVENTS_CONSUMED.labels(durable, "dead").inc()
        await self._apply([], upto=sequence)


def partition_of(key: str, partitions: int) -> int:
    """Say which partition a key belongs to, the same in every process."""
    return zlib.crc32(key.encode()) % partitions
