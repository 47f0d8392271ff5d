"""Deliveries: what comes from JetStream is applied once, then acknowledged, delayed or set aside.

What happens to an error:

| error | delivery |
|---|---|
| the database or another service is away (`is_outage`, `UnavailableError`) | tried again for ever, at most every 30 s |
| the body or its headers are no event of ours, or `PoisonError` | dead letter at once |
| anything else, which is a bug | tried again after 1, 5, 25 and 60 s, then dead letter |
| the process stops | given back at once, and the try is not counted |
| the process dies | JetStream delivers again, and the try counts |
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from common import clock, inbox, letters, telemetry
from common.consumers import ACK_WAIT_SECONDS, Consumer, read_envelope
from common.db import Database, is_outage
from common.errors import PoisonError, UnavailableError
from common.letters import Letter
from common.log import get_logger

log = get_logger(__name__)

BUG_DELAYS_SECONDS: tuple[float, ...] = (1, 5, 25, 60)
OUTAGE_DELAYS_SECONDS: tuple[float, ...] = (1, 2, 5, 10, 30)
ACK_SECONDS = 5
CROWD_TRIES = 3
"""A delivery that came more often than this is looked at alone, so that it condemns nobody else in its batch."""


@dataclass(frozen=True)
class Desk:
    """What a delivery needs of its process."""

    database: Database
    client: Client
    js: JetStreamContext
    handing_back: set[asyncio.Task[None]]
    """What a stop must wait for, as nobody else does: FastStream cancels a handler again for as long as it runs."""

    def hand_back(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it out of reach of a cancellation."""
        task = asyncio.create_task(work)
        self.handing_back.add(task)
        task.add_done_callback(self.handing_back.discard)


class Delivery:
    """One delivery of one event to one consumer."""

    def __init__(self, consumer: Consumer, message: Msg, desk: Desk) -> None:
        self._consumer = consumer
        self._message = message
        self._desk = desk
        self._delivered = message.metadata.num_delivered
        self._sequence = message.metadata.sequence.stream
        self._redriven = message.subject.startswith("redrive.")
        self._subject = (message.headers or {}).get("paddock-subject", "") if self._redriven else message.subject
        self._event_id: UUID | None = None
        self._tries = 1
        self._counted = self._delivered == 1

    async def process(self) -> None:
        """Apply the event, then acknowledge, delay or set aside the delivery."""
        durable = self._consumer.durable
        parent = (self._message.headers or {}).get("traceparent")
        timer = telemetry.EVENT_SECONDS.labels(durable).time()
        with telemetry.span(f"process {self._subject}", SpanKind.CONSUMER, traceparent=parent), timer:
            try:
                async with heartbeat(self._message):
                    outcome = await self._apply()
            except asyncio.CancelledError:
                self._desk.hand_back(self._return(delay=0))
                raise
            except PoisonError as error:
                outcome = await self._bury(error)
            except Exception as error:  # noqa: BLE001 - the edge: any bug becomes a retry and then a dead letter
                outcome = await self._failed(error)
            else:
                with contextlib.suppress(nats.errors.Error, OSError):  # the inbox makes the repetition harmless
                    await self._message.ack_sync(timeout=ACK_SECONDS)
        telemetry.EVENTS_CONSUMED.labels(durable, outcome).inc()

    async def _apply(self) -> str:
        envelope = read_envelope(self._message.headers)
        self._event_id = envelope.id
        event = self._consumer.read(self._subject, envelope, self._message.data, self._sequence)
        durable, database = self._consumer.durable, self._desk.database
        again = self._delivered > 1
        if again:
            async with database.transaction() as session:
                self._tries = await inbox.begin_again(session, durable, envelope.id)
            self._counted = True
            if self._tries > len(BUG_DELAYS_SECONDS) + 1:
                raise PoisonError("process_died", f"the process died in {self._tries - 1} tries")
        async with database.transaction() as session:
            if again:
                await inbox.settle(session, durable, envelope.id)
            if not await inbox.claim(session, durable, envelope.id):
                return "duplicate"
            await self._consumer.apply([event], session)
        observe_latency(self._subject, envelope.time)
        return "applied"

    async def _failed(self, error: Exception) -> str:
        outage = is_outage(error) or isinstance(error, UnavailableError)
        if not outage and self._tries > len(BUG_DELAYS_SECONDS):
            return await self._bury(error)
        delays = OUTAGE_DELAYS_SECONDS if outage else BUG_DELAYS_SECONDS
        delay = delays[min(self._delivered if outage else self._tries, len(delays)) - 1]
        log.warning(
            "event delayed",
            durable=self._consumer.durable,
            sequence=self._sequence,
            tries=self._tries,
            retry_in_seconds=delay,
            error=repr(error),
            exc_info=None if outage else error,
        )
        if outage:
            await self._return(delay=delay)
        else:
            await nak(self._message, delay)
        return "delayed"

    async def _return(self, *, delay: float) -> None:
        """Hand the delivery back, and its try; when the database is away, at most one try is counted for nothing."""
        await nak(self._message, delay)
        if self._event_id is not None and self._counted:
            with contextlib.suppress(OSError, SQLAlchemyError):
                async with self._desk.database.transaction() as session:
                    await inbox.give_back(session, self._consumer.durable, self._event_id)

    async def _bury(self, error: Exception) -> str:
        number = f"r{self._sequence}" if self._redriven else str(self._sequence)
        try:
            await bury(self._desk.js, self._consumer.durable, self._subject, self._message, error, self._tries, number)
            if self._event_id is not None:
                async with self._desk.database.transaction() as session:
                    await inbox.settle(session, self._consumer.durable, self._event_id)
            await letters.end(self._message)
        except Exception as trouble:
            if not is_outage(trouble) and not isinstance(trouble, nats.errors.Error):
                raise
            log.warning("letter not written, will be tried again", durable=self._consumer.durable, error=repr(trouble))
            await nak(self._message, BUG_DELAYS_SECONDS[0])
            return "delayed"
        return "dead"


async def bury(
    js: JetStreamContext, durable: str, subject: str, message: Msg, error: Exception, tries: int, number: str
) -> None:
    """Write the one letter that tells why a delivery was given up."""
    sequence = message.metadata.sequence.stream
    log.error("event set aside", durable=durable, sequence=sequence, tries=tries, error=repr(error))
    letter = Letter(
        durable=durable,
        number=number,
        subject=subject,
        sequence=sequence,
        tries=tries,
        error=type(error).__name__,
        reason=str(error),
        trace_id=f"{trace.get_current_span().get_span_context().trace_id:032x}",
        origin="bus",
        headers=message.headers or {},
        body=message.data,
    )
    await letters.write(js, letter)


class Batch:
    """Many deliveries to one consumer, applied in one transaction; when that fails, one by one."""

    def __init__(self, consumer: Consumer, desk: Desk) -> None:
        self._consumer = consumer
        self._desk = desk

    async def process(self, messages: Sequence[Msg]) -> None:
        """Apply and acknowledge."""
        crowd = [message for message in messages if message.metadata.num_delivered <= CROWD_TRIES]
        alone = [message for message in messages if message.metadata.num_delivered > CROWD_TRIES]
        try:
            async with heartbeat(*messages):
                applied = await self._apply(crowd) if crowd else 0
        except asyncio.CancelledError:
            for message in messages:
                self._desk.hand_back(nak(message, 0))
            raise
        except Exception as error:  # noqa: BLE001 - whose fault it is shows when each is tried alone
            log.warning("batch failed", durable=self._consumer.durable, events=len(crowd), error=repr(error))
            alone, crowd, applied = list(messages), [], 0
        with contextlib.suppress(nats.errors.Error, OSError):  # the inbox makes the repetition harmless
            for message in crowd:
                await message.ack()
            await self._desk.client.flush(ACK_SECONDS)
        outcomes = telemetry.EVENTS_CONSUMED
        outcomes.labels(self._consumer.durable, "applied").inc(applied)
        outcomes.labels(self._consumer.durable, "duplicate").inc(len(crowd) - applied)
        for message in alone:
            await Delivery(self._consumer, message, self._desk).process()

    async def _apply(self, messages: Sequence[Msg]) -> int:
        consumer = self._consumer
        with telemetry.EVENT_SECONDS.labels(consumer.durable).time():
            async with self._desk.database.transaction() as session:
                read = await apply_new(consumer, messages, session)
        for subject, time in read:
            observe_latency(subject, time)
        return len(read)


async def apply_new(consumer: Consumer, messages: Sequence[Msg], session: AsyncSession) -> list[tuple[str, str]]:
    """Claim the messages and hand the new ones to the handler, in their order."""
    envelopes = [read_envelope(message.headers) for message in messages]
    events = [
        consumer.read(message.subject, envelope, message.data, message.metadata.sequence.stream)
        for message, envelope in zip(messages, envelopes, strict=True)
    ]
    new = await inbox.claim_all(session, consumer.durable, {envelope.id for envelope in envelopes})
    chosen, read, causes = [], [], []
    for message, envelope, event in zip(messages, envelopes, events, strict=True):
        if envelope.id in new:
            new.discard(envelope.id)
            chosen.append(event)
            read.append((message.subject, envelope.time))
            causes.append((message.headers or {}).get("traceparent", ""))
    if chosen:
        name, (first, *others) = f"process {consumer.durable}", causes
        with telemetry.span(name, SpanKind.CONSUMER, traceparent=first, more=others):
            await consumer.apply(chosen, session)
    return read


def observe_latency(subject: str, time: str) -> None:
    """Measure from the fact to its effect."""
    with contextlib.suppress(ValueError):
        telemetry.EVENT_LATENCY.labels(subject).observe((clock.now() - datetime.fromisoformat(time)).total_seconds())


async def nak(message: Msg, delay: float) -> None:
    """Hand a delivery back; when NATS is away, the ack wait does it."""
    with contextlib.suppress(nats.errors.Error, OSError):
        await message.nak(delay=delay)


@contextlib.asynccontextmanager
async def heartbeat(*messages: Msg) -> AsyncIterator[None]:
    """Tell JetStream every third of the ack wait that the handler is still at work."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(ACK_WAIT_SECONDS / 3)
            for message in messages:
                with contextlib.suppress(nats.errors.Error, OSError):
                    await message.in_progress()

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
