"""The live feed: the events of the race weekend, a short memory of them, and everybody who listens.

`common.following` gives each event once and in order. The memory holds the last hour within bounds; it is filled from
JetStream at start, so a listener can resume at a gateway that has just begun.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec
from nats.aio.msg import Msg
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Gauge

from common import telemetry
from common.errors import UnavailableError
from common.following import Follower
from common.log import get_logger
from common.settings import Settings
from gateway.memory import TOPICS, Memory, Moment, read

log = get_logger(__name__)


MEMORY_SECONDS = 3600
LISTENERS = 10_000
WAITING_EVENTS = 256
"""Events that wait for one listener; one that is further behind is cut off and may resume."""
READY_SECONDS = 3.0
PURPOSE = "feed"

LISTENING = Gauge("gateway_stream_listeners", "Connected listeners of the live stream")
CUT_OFF = Counter("gateway_stream_cut_off_total", "Listeners that were too slow")
RELAYED = Counter("gateway_stream_events_total", "Events read from JetStream for the live stream", ["topic"])


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
        self._memory = Memory(0)
        self._by_channel: dict[str, set[Listener]] = {}
        self._listeners: set[Listener] = set()
        self._follower = Follower(
            settings,
            "gateway",
            PURPOSE,
            subjects=TOPICS,
            past_seconds=MEMORY_SECONDS,
            take=self._take,
            begin=self._begin,
            flow_control=True,
        )

    @property
    def connected(self) -> bool:
        """True while events arrive as they happen."""
        return self._follower.connected

    async def run(self, _: object = None) -> None:
        """Follow until cancelled."""
        await self._follower.run()

    async def join(self, channels: Iterable[str], last_event_id: int | None) -> Listener:
        """Add a listener, with what it missed since ``last_event_id`` already waiting for it.

        Raises:
            UnavailableError: NATS has not been reached yet, or there are listeners enough.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._follower.begun.wait(), READY_SECONDS)
        if not self._follower.begun.is_set() or len(self._listeners) >= LISTENERS:
            raise UnavailableError("stream_unavailable", "Live events are not to be had right now.", retry_after=2)
        now = max(self._follower.head, self._follower.last)
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

    def _begin(self, after: int) -> None:
        self._memory = Memory(after)

    def _take(self, message: Msg) -> None:
        sequence = message.metadata.sequence.stream
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
