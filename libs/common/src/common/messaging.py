"""The bus: runs the consumers of a process on durable JetStream pull consumers, and stays up whatever NATS does.

A handler takes an event and the session of the transaction it runs in. The inbox row, the effect and any event the
handler publishes commit together; the delivery is acknowledged after the commit. `common.consumers` tells which kinds
of handler there are, `common.delivery` what becomes of an error.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import nats.errors
import nats.js.errors
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from common import cancellation, letters, telemetry, topology
from common.consumers import Consumer, Consumers, Mode
from common.db import Database
from common.delivery import Batch, Delivery, Desk, bury
from common.errors import PoisonError
from common.lag import LagMeter
from common.log import get_logger
from common.ordered import Lane
from common.settings import Settings

log = get_logger(__name__)

FETCH_SECONDS = 4.0
"""How long a request for events stands; one that was lost with its server is repeated after this."""
STARVED_SECONDS = 0.5
WATCH_SECONDS = 10
START_BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0)
STOP_SECONDS = 10
SETTLE_SECONDS = 0.1
"""What a delivery may take that is on its way to us when we stop: dropped, it would be back only after the ack wait."""
HAND_BACK_SECONDS = 2
"""What a delivery that was cut short may take to be given back."""
FIXED = ("filter_subject", "ack_wait", "max_deliver", "max_ack_pending")
"""What of a durable must be as the code says."""


class Bus:
    """Runs the consumers of a process."""

    def __init__(self, consumers: Consumers, database: Database, settings: Settings) -> None:
        self.consumers = consumers
        self._durables = [consumer for consumer in consumers.durables() if consumer.mode is not Mode.ORDERED]
        self._ordered = [consumer for consumer in consumers.durables() if consumer.mode is Mode.ORDERED]
        self._database = database
        self._settings = settings
        self._broker_running: NatsBroker | None = None
        self._pulling: list[Pull] = []
        self._in_hand: set[asyncio.Task[Any]] = set()
        self._handing_back: set[asyncio.Task[None]] = set()
        self._starved = asyncio.Event()
        self._stopping = False
        self._lag = LagMeter()
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
            self._stopping = False
            try:
                await self._serve(broker)
            except (OSError, nats.errors.Error) as error:
                self._down(repr(error))
                log.warning("consumers interrupted", error=repr(error))
            finally:
                await self.drain()
            await asyncio.sleep(START_BACKOFF_SECONDS[min(attempt, len(START_BACKOFF_SECONDS) - 1)])
            attempt += 1

    async def drain(self) -> None:
        """Take no more deliveries and let those in hand finish, for a bounded time; the rest is handed back."""
        pulling, self._pulling = self._pulling, []
        broker, self._broker_running = self._broker_running, None
        subscribers: Iterable[Any] = broker.subscribers if broker else []
        self._stopping = True
        await asyncio.sleep(SETTLE_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS + HAND_BACK_SECONDS):
                stopping = (taker.stop() for taker in (*pulling, *subscribers))
                await asyncio.gather(*stopping, return_exceptions=True)  # NATS may be away
        for last in (self._in_hand, self._handing_back):
            if last:
                await asyncio.wait(last, timeout=HAND_BACK_SECONDS)
        if broker is not None:
            with contextlib.suppress(OSError, nats.errors.Error):
                async with asyncio.timeout(HAND_BACK_SECONDS):
                    await broker.stop()

    async def _serve(self, broker: NatsBroker) -> None:
        client: Client = await broker.connect()
        js = client.jetstream()
        desk = Desk(self._database, client, js, self._handing_back)
        self._subscribe(broker, desk)
        await self._ensure(js)
        await broker.start()
        for subscriber in broker.subscribers:
            self._patient(subscriber.subscription)  # type: ignore[attr-defined] # pull subscribers have one
        self._pulling = [
            Pull(await self._bind(js, consumer), consumer, desk)
            for consumer in self._durables
            if consumer.mode is Mode.BATCH
        ]
        lanes = [
            asyncio.create_task(Lane(consumer, partition, desk).run())
            for consumer in self._ordered
            for partition in range(consumer.partitions)
        ]
        self.attached = True
        try:
            await self._watch(client, js)
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    async def _watch(self, client: Client, js: JetStreamContext) -> None:
        while True:
            cancellation.heed()
            self.connected, self.error = client.is_connected, None if client.is_connected else "reconnecting to NATS"
            telemetry.BROKER_CONNECTED.set(int(self.connected))
            self._starved.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._starved.wait()
            if client.is_closed:
                raise ConnectionResetError("the connection to NATS is closed")
            if client.is_connected:
                with contextlib.suppress(TimeoutError, nats.js.errors.ServiceUnavailableError):
                    await self._ensure(js)

    async def _ensure(self, js: JetStreamContext) -> None:
        """Create durables that are missing and update those that differ from the code."""
        for consumer in self._durables:
            wanted = consumer.config()
            drift = telemetry.CONSUMER_DRIFT.labels(consumer.durable)
            try:
                info = await js.consumer_info(consumer.stream, consumer.durable)
            except nats.js.errors.NotFoundError:
                if self.attached:
                    telemetry.CONSUMERS_RECREATED.inc()
                    log.warning("durable had vanished", durable=consumer.durable)
            else:
                self._lag.measure(consumer.durable, info)
                differing = [name for name in FIXED if getattr(info.config, name) != getattr(wanted, name)]
                if set(info.config.filter_subjects or []) != set(wanted.filter_subjects or []):
                    differing.append("filter_subjects")
                drift.set(int(bool(differing)))
                if not differing:
                    continue
                log.error("durable differs from the code, setting it right", durable=consumer.durable, fields=differing)
            try:
                await js.add_consumer(consumer.stream, wanted)
            except nats.js.errors.NotFoundError as error:
                missing = f"stream {consumer.stream} does not exist; `paddock topology apply` makes it"
                raise ConnectionResetError(missing) from error

    def _down(self, error: str) -> None:
        self.connected, self.error = False, error
        telemetry.BROKER_CONNECTED.set(0)

    async def _on_disconnect(self) -> None:
        self._down("disconnected from NATS")

    async def _on_reconnect(self) -> None:
        self.connected, self.error = True, None
        telemetry.BROKER_CONNECTED.set(1)

    def _broker(self) -> NatsBroker:
        return NatsBroker(
            self._settings.nats_url,
            **topology.connection_options(self.consumers.service, self._settings.nats_creds),
            disconnected_cb=self._on_disconnect,
            reconnected_cb=self._on_reconnect,
            graceful_timeout=STOP_SECONDS,
            ack_policy=AckPolicy.MANUAL,
            decoder=_keep_bytes,
            logger=None,
        )

    def _subscribe(self, broker: NatsBroker, desk: Desk) -> None:
        # FastStream would have deliveries come to an inbox of everybody's, which NATS refuses a service to read
        inbox = f"{topology.connection_options(self.consumers.service, None)['inbox_prefix']}.".encode()
        for consumer in self._durables:
            if consumer.mode is Mode.BATCH:
                continue
            subscriber = broker.subscriber(
                consumer.filters[0],
                durable=consumer.durable,
                stream=JStream(consumer.stream, declare=False),
                config=consumer.config(),
                pull_sub=PullSub(batch_size=1, timeout=FETCH_SECONDS),
                ack_policy=AckPolicy.MANUAL,
                inbox_prefix=inbox,
            )
            subscriber(self._receiver(consumer, broker, desk))

    def _receiver(self, consumer: Consumer, broker: NatsBroker, desk: Desk) -> Callable[[Any], Awaitable[None]]:
        named = self.consumers.named()

        async def receive(body: Any) -> None:  # noqa: ANN401, ARG001 - FastStream passes the body; the message has it too
            message: Msg = broker.context.get_local("message").raw_message
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            self._in_hand.add(task)
            task.add_done_callback(self._in_hand.discard)
            if consumer.mode is not Mode.REDRIVE:
                return await Delivery(consumer, message, desk).process()
            addressee = named.get(message.subject.rpartition(".")[2])
            if addressee is not None:
                return await Delivery(addressee, message, desk).process()
            unknown = PoisonError("no_such_consumer", f"no consumer for {message.subject} in this release")
            number = f"r{message.metadata.sequence.stream}"
            await bury(desk.js, consumer.durable, message.subject, message, unknown, 1, number)
            return await letters.end(message)

        return receive

    async def _bind(self, js: JetStreamContext, consumer: Consumer) -> JetStreamContext.PullSubscription:
        subscription = await js.pull_subscribe_bind(durable=consumer.durable, stream=consumer.stream)
        self._patient(subscription)
        return subscription

    def _patient(self, subscription: JetStreamContext.PullSubscription) -> None:
        """Make a fetch that fails at once, for its consumer or stream is gone, take its time and tell the watchdog.

        While the bus stops nothing is fetched; whoever wants to waits to be cancelled.
        """
        fetch = subscription.fetch

        async def patient(*args: Any, **kwargs: Any) -> list[Msg]:  # noqa: ANN401 - as the library calls it
            if self._stopping:
                await asyncio.Event().wait()
            try:
                return await fetch(*args, **kwargs)
            except TimeoutError:
                return []
            except nats.errors.Error as error:
                log.debug("nothing to fetch from", error=repr(error))
                self._starved.set()
                await asyncio.sleep(STARVED_SECONDS)
                return []

        subscription.fetch = patient  # type: ignore[method-assign]


class Pull:
    """Fetches batches for one consumer. FastStream would wait for a batch to fill up, which costs its latency."""

    def __init__(self, subscription: JetStreamContext.PullSubscription, consumer: Consumer, desk: Desk) -> None:
        self._subscription = subscription
        self._batch = Batch(consumer, desk)
        self._size = consumer.size
        self._idle = True
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name=consumer.durable)

    async def _run(self) -> None:
        while not self._stopping:
            cancellation.heed()
            messages = await self._subscription.fetch(self._size, timeout=FETCH_SECONDS)
            if messages:
                self._idle = False
                await self._batch.process(messages)
                self._idle = True

    async def stop(self) -> None:
        """Fetch no more; a batch in hand may finish, for a bounded time, else it is given back."""
        self._stopping = True
        if not self._idle:
            await asyncio.wait([self._task], timeout=STOP_SECONDS)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def _keep_bytes(message: NatsMessage) -> bytes:
    """Leave decoding to the delivery, where a malformed body becomes a dead letter instead of an endless retry."""
    return message.body
