"""Consumers: durable JetStream pull consumers whose every effect happens once.

A handler takes an event and the session of the transaction it runs in. The inbox row, the effect and any event the
handler publishes commit together; the delivery is acknowledged after the commit. What happens to an error:

| error | delivery |
|---|---|
| the database or another service is away (`is_outage`, `UnavailableError`) | tried again for ever, at most every 30 s |
| the body or its headers are no event of ours, or `PoisonError` | dead letter at once |
| anything else, which is a bug | tried again after 1, 5, 25 and 60 s, then dead letter |
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
import nats.errors
import nats.js.errors
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy as WireAckPolicy
from nats.js.api import ConsumerConfig, DeliverPolicy
from opentelemetry.trace import SpanKind
from sqlalchemy.ext.asyncio import AsyncSession

from common import inbox, telemetry, topology
from common.contracts import Envelope, Event, decode
from common.db import Database, is_outage
from common.errors import PoisonError, UnavailableError
from common.log import get_logger
from common.settings import Settings

log = get_logger(__name__)

Handler = Callable[[Any, AsyncSession], Awaitable[None]]

ACK_WAIT_SECONDS = 30
MAX_ACK_PENDING = 64
FETCH_SECONDS = 5.0
BUG_DELAYS_SECONDS = (1, 5, 25, 60)
OUTAGE_DELAYS_SECONDS = (1, 2, 5, 10, 30)
WATCH_SECONDS = 10
START_BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0)
STOP_SECONDS = 10


@dataclass(frozen=True)
class Consumer:
    """One handler of one event, and the durable it reads from."""

    durable: str
    event: type[Event]
    handle: Handler

    def config(self) -> ConsumerConfig:
        """Every limit of the durable, explicit. Deliveries are unlimited: giving up is decided here, with a record."""
        return ConsumerConfig(
            durable_name=self.durable,
            filter_subject=self.event.subject,
            ack_policy=WireAckPolicy.EXPLICIT,
            deliver_policy=DeliverPolicy.ALL,
            ack_wait=ACK_WAIT_SECONDS,
            max_deliver=-1,
            max_ack_pending=MAX_ACK_PENDING,
        )


class Consumers:
    """The handlers of a service, registered by decorator in its `consumers.py`."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.all: list[Consumer] = []

    def on(self, *events: type[Event]) -> Callable[[Handler], Handler]:
        """Register a handler for events; each gets a durable named ``service_handler_subject``."""

        def register(handle: Handler) -> Handler:
            for event in events:
                name = handle.__name__.replace("_", "-")
                durable = f"{self.service}_{name}_{event.subject.replace('.', '-')}"
                self.all.append(Consumer(durable, event, handle))
            return handle

        return register


class Bus:
    """Runs the consumers of a process."""

    def __init__(self, consumers: Consumers, database: Database, settings: Settings) -> None:
        self.consumers = consumers.all
        self._database = database
        self._settings = settings
        self._name = consumers.service
        self._broker_running: NatsBroker | None = None
        self.connected = False
        """True while the consumers are attached and NATS answers."""
        self.error: str | None = "not started"
        self.attached = False
        """True once the consumers have been attached; from then on an outage of NATS is waited out."""

    async def run(self) -> None:
        """Consume until cancelled; start again with a backoff, however long NATS or its streams are away."""
        attempt = 0
        while True:
            broker = self._broker_running = self._broker()
            try:
                await self._serve(broker)
            except (OSError, TimeoutError, nats.errors.Error) as error:
                self._down(repr(error))
                log.warning("consumers interrupted", error=repr(error))
            finally:
                await self.drain()
            await asyncio.sleep(START_BACKOFF_SECONDS[min(attempt, len(START_BACKOFF_SECONDS) - 1)])
            attempt += 1

    async def drain(self) -> None:
        """Take no more deliveries and let those in hand finish, for a bounded time."""
        broker, self._broker_running = self._broker_running, None
        if broker is not None:
            with contextlib.suppress(OSError, nats.errors.Error, TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await broker.stop()

    async def _serve(self, broker: NatsBroker) -> None:
        client: Client = await broker.connect()
        js = client.jetstream()
        await self._ensure(js)
        await broker.start()
        self.attached = True
        while True:
            self.connected, self.error = client.is_connected, None if client.is_connected else "reconnecting to NATS"
            telemetry.BROKER_CONNECTED.set(int(self.connected))
            await asyncio.sleep(WATCH_SECONDS)
            if client.is_closed:
                raise ConnectionResetError("the connection to NATS is closed")
            if client.is_connected:
                with contextlib.suppress(TimeoutError, nats.js.errors.ServiceUnavailableError):
                    await self._ensure(js)

    async def _ensure(self, js: JetStreamContext) -> None:
        """Create durables that are missing and update those that differ from the code."""
        for consumer in self.consumers:
            wanted = consumer.config()
            try:
                live = (await js.consumer_info(topology.EVENTS, consumer.durable)).config
            except nats.js.errors.NotFoundError:
                if self.connected:
                    telemetry.CONSUMERS_RECREATED.inc()
                    log.warning("durable had vanished", durable=consumer.durable)
            else:
                names = ("filter_subject", "ack_wait", "max_deliver", "max_ack_pending")
                if all(getattr(live, name) == getattr(wanted, name) for name in names):
                    continue
            await js.add_consumer(topology.EVENTS, wanted)

    def _down(self, error: str) -> None:
        self.connected, self.error = False, error
        telemetry.BROKER_CONNECTED.set(0)

    async def _on_disconnect(self) -> None:
        self._down("disconnected from NATS")

    async def _on_reconnect(self) -> None:
        self.connected, self.error = True, None
        telemetry.BROKER_CONNECTED.set(1)

    def _broker(self) -> NatsBroker:
        broker = NatsBroker(
            self._settings.nats_url,
            **topology.connection_options(self._name, self._settings.nats_creds),
            disconnected_cb=self._on_disconnect,
            reconnected_cb=self._on_reconnect,
            graceful_timeout=STOP_SECONDS,
            ack_policy=AckPolicy.MANUAL,
            decoder=_keep_bytes,
            logger=None,
        )
        stream = JStream(topology.EVENTS, declare=False)
        for consumer in self.consumers:
            subscriber = broker.subscriber(
                consumer.event.subject,
                durable=consumer.durable,
                stream=stream,
                config=consumer.config(),
                pull_sub=PullSub(batch_size=1, timeout=FETCH_SECONDS),
                ack_policy=AckPolicy.MANUAL,
            )
            subscriber(self._receiver(consumer, broker))
        return broker

    def _receiver(self, consumer: Consumer, broker: NatsBroker) -> Callable[[Any], Awaitable[None]]:
        async def receive(body: Any) -> None:  # noqa: ANN401, ARG001 - FastStream passes the body; the message has it too
            message = broker.context.get_local("message")
            await Delivery(consumer, message, self._database, broker).process()

        return receive


async def _keep_bytes(message: NatsMessage) -> bytes:
    """Leave decoding to the delivery, where a malformed body becomes a dead letter instead of an endless retry."""
    return message.body


class Delivery:
    """One delivery of one event to one consumer."""

    def __init__(self, consumer: Consumer, message: NatsMessage, database: Database, broker: NatsBroker) -> None:
        self._consumer = consumer
        self._message = message
        self._database = database
        self._broker = broker
        self._tries = message.raw_message.metadata.num_delivered
        self._sequence = message.raw_message.metadata.sequence.stream

    async def process(self) -> None:
        """Apply the event, then acknowledge, delay or set aside the delivery."""
        name = self._consumer.durable
        parent = self._message.headers.get("traceparent")
        subject = self._consumer.event.subject
        timer = telemetry.EVENT_SECONDS.labels(name).time()
        with telemetry.span(f"process {subject}", SpanKind.CONSUMER, traceparent=parent), timer:
            try:
                async with self._heartbeat():
                    outcome = await self._apply()
                await self._message.ack_sync()
            except asyncio.CancelledError:
                await asyncio.shield(self._message.nack(delay=0))
                raise
            except (PoisonError, msgspec.MsgspecError, KeyError, ValueError) as error:
                outcome = await self._poison(error)
            except Exception as error:  # noqa: BLE001 - the edge: any bug becomes a retry and then a dead letter
                outcome = await self._failed(error)
        telemetry.EVENTS_CONSUMED.labels(name, outcome).inc()

    async def _apply(self) -> str:
        envelope = read_envelope(self._message.headers)
        event = decode(self._consumer.event, self._message.body)
        async with self._database.transaction() as session:
            if not await inbox.claim(session, self._consumer.durable, envelope.id):
                return "duplicate"
            await self._handle(event, session)
        return "applied"

    async def _handle(self, event: Event, session: AsyncSession) -> None:
        try:
            await self._consumer.handle(event, session)
        except (msgspec.MsgspecError, KeyError, ValueError) as error:
            raise RuntimeError(f"handler failed: {error!r}") from error

    async def _poison(self, error: Exception) -> str:
        log.error("event set aside", durable=self._consumer.durable, sequence=self._sequence, error=repr(error))
        await self._dead_letter(error)
        return "dead"

    async def _failed(self, error: Exception) -> str:
        outage = is_outage(error) or isinstance(error, UnavailableError)
        if not outage and self._tries > len(BUG_DELAYS_SECONDS):
            return await self._poison(error)
        delays = OUTAGE_DELAYS_SECONDS if outage else BUG_DELAYS_SECONDS
        delay = delays[min(self._tries, len(delays)) - 1]
        log.warning(
            "event delayed",
            durable=self._consumer.durable,
            sequence=self._sequence,
            tries=self._tries,
            retry_in_seconds=delay,
            error=repr(error),
            exc_info=None if outage else error,
        )
        await self._message.nack(delay=delay)
        return "delayed"

    async def _dead_letter(self, error: Exception) -> None:
        """Keep the delivery with its reason, then end it. The id makes a second attempt after a crash harmless."""
        headers = {
            **self._message.headers,
            "Nats-Msg-Id": f"dlq:{self._consumer.durable}:{self._sequence}",
            "paddock-consumer": self._consumer.durable,
            "paddock-subject": self._consumer.event.subject,
            "paddock-stream-seq": str(self._sequence),
            "paddock-tries": str(self._tries),
            "paddock-error": type(error).__name__,
            "paddock-reason": " ".join(str(error).split())[:500],
        }
        client: Client = await self._broker.connect()
        js = client.jetstream()
        await js.publish(
            f"dlq.{self._consumer.durable}",
            self._message.body,
            stream=topology.DEAD_LETTERS,
            headers=headers,
            timeout=5,
        )
        await self._message.reject()

    @contextlib.asynccontextmanager
    async def _heartbeat(self) -> AsyncIterator[None]:
        """Tell JetStream every third of the ack wait that the handler is still at work."""

        async def beat() -> None:
            while True:
                await asyncio.sleep(ACK_WAIT_SECONDS / 3)
                await self._message.in_progress()

        task = asyncio.create_task(beat())
        try:
            yield
        finally:
            task.cancel()


def read_envelope(headers: Mapping[str, Any]) -> Envelope:
    """Read the CloudEvents attributes; raise `PoisonError` when one is missing or malformed."""
    try:
        return Envelope(
            id=UUID(headers["ce-id"]),
            type=headers["ce-type"],
            source=headers["ce-source"],
            subject=headers["ce-subject"],
            time=headers["ce-time"],
            traceparent=headers.get("traceparent"),
        )
    except (KeyError, ValueError) as error:
        raise PoisonError("not_a_cloud_event", f"CloudEvents header missing or malformed: {error}") from error
