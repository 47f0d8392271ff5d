"""The live feed: one ordered JetStream consumer per process, a short memory, and everybody who listens.

The consumer is ephemeral and ordered: a gap, a silence or a restart of NATS makes a new one after the last sequence
seen, so a listener gets every event once and in order. The memory holds the last hour within bounds; it is filled from
JetStream at start, so a listener can resume at a gateway that has just begun.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Gauge

from common import clock, telemetry, topology
from common.errors import UnavailableError
from common.log import get_logger
from common.settings import Settings
from gateway.memory import TOPICS, Memory, Moment, read

log = get_logger(__name__)


MEMORY_SECONDS = 3600
LISTENERS = 10_000
WAITING_EVENTS = 256
"""Events that wait for one listener; one that is further behind is cut off and may resume."""
HEARTBEAT_SECONDS = 1.0
SILENCE_SECONDS = 2.5
API_SECONDS = 3.0
BACKOFF_SECONDS = (0.25, 0.5, 1.0, 2.0)
NAMES = tuple(f"gateway_feed_{number}" for number in range(32))
"""What a consumer of the feed may be called. NATS lets the gateway make these and no others: with a free choice of
names it could change the durables of the services."""
NAME_TAKEN = 10148
READY_SECONDS = 3.0

LISTENING = Gauge("gateway_stream_listeners", "Connected listeners of the live stream")
CUT_OFF = Counter("gateway_stream_cut_off_total", "Listeners that were too slow")
RELAYED = Counter("gateway_stream_events_total", "Events read from JetStream for the live stream", ["topic"])


class FeedBrokenError(Exception):
    """The consumer missed something or fell silent."""


class Listener:
    """One client: what it wants, what waits for it, and how to end it."""

    def __init__(self, channels: Iterable[str], after: int) -> None:
        self.channels = frozenset(channels)
        self.after = after
        self.waiting: asyncio.Queue[Moment] = asyncio.Queue(WAITING_EVENTS)
        self.missed = False
        """True when events after the one it had are no longer in memory."""
        self.stop: Callable[[], object] = lambda: None

    def offer(self, moment: Moment) -> None:
        """Queue an event, or cut the listener off when the queue is full."""
        if moment.sequence <= self.after:
            return
        try:
            self.waiting.put_nowait(moment)
        except asyncio.QueueFull:
            CUT_OFF.inc()
            self.stop()


class Feed:
    """Follows the event stream and hands each event to those who want it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._memory = Memory(0)
        self._by_channel: dict[str, set[Listener]] = {}
        self._listeners: set[Listener] = set()
        self._last = 0
        """The last sequence seen of the topics."""
        self._head = 0
        """The last sequence of the stream when following began."""
        self._ready = asyncio.Event()
        self.connected = False
        """True while events arrive as they happen."""

    async def run(self, _: object = None) -> None:
        """Follow until cancelled, however often NATS goes away."""
        client = await topology.connect(self._settings.nats_url, "gateway", self._settings.nats_creds)
        failures = 0
        try:
            while True:
                try:
                    await self._follow(client)
                except (FeedBrokenError, nats.errors.Error, OSError) as error:
                    log.warning("live feed interrupted", error=repr(error), after=self._last)
                finally:
                    failures = 0 if self.connected else failures + 1
                    self.connected = False
                await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])
        finally:
            await client.close()

    async def join(self, channels: Iterable[str], last_event_id: int | None) -> Listener:
        """Add a listener, with what it missed since ``last_event_id`` already waiting for it.

        Raises:
            UnavailableError: NATS has not been reached yet, or there are listeners enough.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ready.wait(), READY_SECONDS)
        if not self._ready.is_set() or len(self._listeners) >= LISTENERS:
            raise UnavailableError("stream_unavailable", "Live events are not to be had right now.", retry_after=2)
        now = max(self._head, self._last)
        listener = Listener(channels, now if last_event_id is None else min(last_event_id, now))
        if last_event_id is not None:
            self._catch_up(listener)
        self._listeners.add(listener)
        for channel in listener.channels:
            self._by_channel.setdefault(channel, set()).add(listener)
        LISTENING.set(len(self._listeners))
        return listener

    def leave(self, listener: Listener) -> None:
        """Remove a listener."""
        self._listeners.discard(listener)
        for channel in listener.channels:
            others = self._by_channel.get(channel, set())
            others.discard(listener)
            if not others:
                self._by_channel.pop(channel, None)
        LISTENING.set(len(self._listeners))

    def drain(self) -> None:
        """End every listener's stream."""
        for listener in list(self._listeners):
            listener.stop()

    def _catch_up(self, listener: Listener) -> None:
        missed = self._memory.since(listener.channels, listener.after)
        kept = missed[-WAITING_EVENTS // 2 :]
        listener.missed = len(kept) < len(missed) or not self._memory.complete(listener.channels, listener.after)
        for moment in kept:
            listener.offer(moment)

    async def _follow(self, client: Client) -> None:
        """Read events from where the last consumer ended, until something is wrong."""
        js = client.jetstream(timeout=API_SECONDS)
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox)
        try:
            state = (await js.stream_info(topology.EVENTS)).state
            if state.last_seq < self._last:
                log.warning("the event stream was made anew", last=self._last, now=state.last_seq)
                self._ready.clear()
            made = await self._attach(client, self._consumer(inbox))
            if not self._ready.is_set():
                self._last = made.delivered.stream_seq if made.delivered else 0
                self._head = state.last_seq
                self._memory = Memory(self._last)
                self._ready.set()
            self.connected = True
            for expected in itertools.count(1):
                self._take(await self._next(subscription.next_msg, expected))
        finally:
            with suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

    async def _attach(self, client: Client, config: ConsumerConfig) -> ConsumerInfo:
        """Make the consumer under a name that no other gateway holds; one that is left alone frees its name soon."""
        for name in random.sample(NAMES, len(NAMES)):
            config.name = name
            request = {"stream_name": topology.EVENTS, "config": config.as_dict(), "action": "create"}
            subject = f"$JS.API.CONSUMER.CREATE.{topology.EVENTS}.{name}"
            answer = msgspec.json.decode(
                (await client.request(subject, msgspec.json.encode(request), API_SECONDS)).data
            )
            if "error" not in answer:
                made: ConsumerInfo = ConsumerInfo.from_response(answer)
                return made
            if answer["error"].get("err_code") != NAME_TAKEN:
                raise nats.js.errors.APIError.from_error(answer["error"])
        raise FeedBrokenError(f"all {len(NAMES)} consumers of the live feed are taken")

    def _consumer(self, inbox: str) -> ConsumerConfig:
        config = ConsumerConfig(
            deliver_subject=inbox,
            filter_subjects=list(TOPICS),
            ack_policy=AckPolicy.NONE,
            max_deliver=1,
            mem_storage=True,
            num_replicas=1,
            flow_control=True,
            idle_heartbeat=HEARTBEAT_SECONDS,
            inactive_threshold=10 * HEARTBEAT_SECONDS,
        )
        if self._ready.is_set():
            config.deliver_policy, config.opt_start_seq = DeliverPolicy.BY_START_SEQUENCE, self._last + 1
        else:
            since = clock.now() - timedelta(seconds=MEMORY_SECONDS)
            config.deliver_policy, config.opt_start_time = DeliverPolicy.BY_START_TIME, since
        return config

    async def _next(self, receive: Callable[..., object], expected: int) -> Msg:
        """Return the next event; answer flow control and check heartbeats on the way."""
        while True:
            message: Msg = await receive(timeout=SILENCE_SECONDS)  # type: ignore[misc]
            headers = message.headers or {}
            if headers.get("Status") != "100":
                if message.metadata.sequence.consumer != expected:
                    raise FeedBrokenError("a delivery is missing")
                return message
            if message.reply:
                await message.respond(b"")
            elif headers.get("Nats-Last-Consumer", str(expected - 1)) != str(expected - 1):
                raise FeedBrokenError("a delivery is missing before a heartbeat")

    def _take(self, message: Msg) -> None:
        sequence = message.metadata.sequence.stream
        self._last = sequence
        RELAYED.labels(message.subject).inc()
        try:
            moment = read(sequence, message.subject, message.data)
        except msgspec.MsgspecError as error:
            log.warning("event not readable", sequence=sequence, error=repr(error))
            return
        self._memory.add(moment)
        listeners = list(self._by_channel.get(moment.channel, ()))
        if not listeners:
            return
        cause = (message.headers or {}).get("traceparent")
        with telemetry.span(f"push {message.subject}", SpanKind.CONSUMER, traceparent=cause) as span:
            span.set_attribute("paddock.listeners", len(listeners))
            for listener in listeners:
                listener.offer(moment)
