"""What a service listens to: handlers registered by decorator, and the durable that each reads from.

| decorator | handler | order | one transaction holds |
|---|---|---|---|
| `on` | ``(event, session)`` | none | one event |
| `batch` | ``(events, session)`` | as published, within a batch | up to ``size`` events |
| `ordered` | ``(event, session)`` | as published, per ``ce-subject`` | a run of events |
| `raw` | ``(delivered, session)`` | none | one event of any of many subjects |
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from sqlalchemy.ext.asyncio import AsyncSession

from common import topology
from common.contracts import Envelope, Event, check_type, decode
from common.errors import PoisonError

Handler = Callable[[Any, AsyncSession], Awaitable[None]]

ACK_WAIT_SECONDS = 30
MAX_ACK_PENDING = 64


class Mode(StrEnum):
    """How the events of a consumer reach its handler."""

    ONE = "one"
    BATCH = "batch"
    ORDERED = "ordered"
    RAW = "raw"
    REDRIVE = "redrive"


@dataclass(frozen=True)
class Delivered:
    """An event as it came, for a handler that passes it on."""

    envelope: Envelope
    body: bytes
    sequence: int
    """Its place in the stream."""


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """One handler and what it reads."""

    durable: str
    events: tuple[type[Event], ...]
    handle: Handler
    mode: Mode = Mode.ONE
    size: int = 1
    """Events in one transaction at most."""
    partitions: int = 1
    stream: str = topology.EVENTS
    filters: tuple[str, ...] = ()

    def config(self) -> ConsumerConfig:
        """Every limit of the durable, explicit. Deliveries are unlimited: giving up is decided here, with a record."""
        one = len(self.filters) == 1
        return ConsumerConfig(
            name=self.durable,
            durable_name=self.durable,
            filter_subject=self.filters[0] if one else None,
            filter_subjects=None if one else list(self.filters),
            ack_policy=AckPolicy.EXPLICIT,
            deliver_policy=DeliverPolicy.ALL,
            ack_wait=ACK_WAIT_SECONDS,
            max_deliver=-1,
            max_ack_pending=max(MAX_ACK_PENDING, 2 * self.size),
        )

    def names(self) -> list[str]:
        """Name the consumers in JetStream: the durable, or one for each partition of an ordered one."""
        if self.mode is Mode.ORDERED:
            return [f"{self.durable}_p{partition}" for partition in range(self.partitions)]
        return [self.durable]

    def read(self, subject: str, envelope: Envelope, body: bytes, sequence: int) -> Any:  # noqa: ANN401 - as the handler takes it
        """Make what the handler takes of a delivery; raise `PoisonError` when it is no event of this consumer."""
        if self.mode is Mode.RAW:
            return Delivered(envelope, body, sequence)
        try:
            kind = next(event for event in self.events if event.subject == subject)
            check_type(envelope, kind)
            return decode(kind, body)
        except (StopIteration, msgspec.MsgspecError, ValueError) as error:
            raise PoisonError("not_this_event", f"not a {subject} of ours: {error!r}") from error

    async def apply(self, events: Sequence[Any], session: AsyncSession) -> None:
        """Hand the events to the handler."""
        if self.mode is Mode.BATCH:
            await self.handle(events, session)
        else:
            for event in events:
                await self.handle(event, session)


class Consumers:
    """The handlers of a service, registered by decorator in its `consumers.py`."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.all: list[Consumer] = []

    def on(self, *events: type[Event]) -> Callable[[Handler], Handler]:
        """Register a handler for events; each gets a durable named ``service_handler_subject``."""
        return self._each(events, Mode.ONE, 1)

    def batch(self, *events: type[Event], size: int = 500) -> Callable[[Handler], Handler]:
        """Register a handler for lists of one kind of event, up to ``size`` in a transaction."""
        return self._each(events, Mode.BATCH, size)

    def ordered(
        self, name: str, *events: type[Event], partitions: int = 4, size: int = 100
    ) -> Callable[[Handler], Handler]:
        """Register a handler that gets the events of a key in their order; needs `ordered.cursors_table`."""
        return self._one(name, events, Mode.ORDERED, size, partitions)

    def raw(self, name: str, events: Sequence[type[Event]]) -> Callable[[Handler], Handler]:
        """Register a handler for many kinds of event, undecoded, with one durable for all."""
        return self._one(name, events, Mode.RAW, 1)

    def redrive(self) -> Consumer:
        """The durable through which letters of this service come back from the dead letter queue."""
        return Consumer(
            durable=f"{self.service}_redrive",
            events=(),
            handle=_nothing,
            mode=Mode.REDRIVE,
            stream=topology.DEAD_LETTERS,
            filters=(f"redrive.{self.service}.>",),
        )

    def durables(self) -> list[Consumer]:
        """Every consumer of the service, that of the redriven letters included."""
        return [*self.all, self.redrive()]

    def named(self) -> Mapping[str, Consumer]:
        """The consumers by their durable."""
        return {consumer.durable: consumer for consumer in self.all}

    def _each(self, events: Sequence[type[Event]], mode: Mode, size: int) -> Callable[[Handler], Handler]:
        def register(handle: Handler) -> Handler:
            for event in events:
                name = handle.__name__.replace("_", "-")
                durable = f"{self.service}_{name}_{event.subject.replace('.', '-')}"
                filters = (event.subject,)
                self.all.append(
                    Consumer(durable=durable, events=(event,), handle=handle, mode=mode, size=size, filters=filters)
                )
            return handle

        return register

    def _one(
        self, name: str, events: Sequence[type[Event]], mode: Mode, size: int, partitions: int = 1
    ) -> Callable[[Handler], Handler]:
        def register(handle: Handler) -> Handler:
            self.all.append(
                Consumer(
                    durable=f"{self.service}_{name}",
                    events=tuple(events),
                    handle=handle,
                    mode=mode,
                    size=size,
                    partitions=partitions,
                    filters=tuple(event.subject for event in events),
                )
            )
            return handle

        return register


async def _nothing(_: object, __: AsyncSession) -> None:
    """Stand in for the handler that the letter itself names."""


def read_envelope(headers: Mapping[str, str] | None) -> Envelope:
    """Read the CloudEvents attributes; raise `PoisonError` when one is missing or malformed."""
    headers = headers or {}
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
