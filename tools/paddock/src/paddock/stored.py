"""Stored events, read without leaving a trace: in their order, from any place in the stream."""

import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Self

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from common import clock, topology
from common.settings import Settings

CONNECT_SECONDS = 10
REQUEST_SECONDS = 10
LEFT_ALONE_SECONDS = 60
"""A reader that ended without a word is forgotten by JetStream after this."""
TRIES = 5
FOLLOW_BATCH = 200
AGES = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class EventCommandError(Exception):
    """An event command cannot do what it is asked to; the message says why and what to do."""


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[JetStreamContext]:
    """Connect as the operator; raise `EventCommandError` when NATS does not answer."""
    client = Client()
    options = topology.connection_options("paddock", settings.nats_creds)
    try:
        await client.connect(settings.nats_url, **options | {"max_reconnect_attempts": 3}, error_cb=_quiet)
    except (OSError, nats.errors.Error) as error:
        raise EventCommandError(f"NATS refused: {error!r}; check NATS_URL and NATS_CREDS_FILE") from error
    try:
        yield client.jetstream(timeout=REQUEST_SECONDS, publish_async_max_pending=4096)
    finally:
        await client.close()


async def _quiet(_: Exception) -> None:
    """The command that fails says why, once."""


def instant(told: str) -> datetime:
    """Read a moment: an age such as ``30m``, ``6h`` or ``2d``, or RFC 3339."""
    if age := re.fullmatch(r"(\d{1,6})([smhd])", told):
        return clock.now() - timedelta(**{AGES[age[2]]: int(age[1])})
    try:
        moment = datetime.fromisoformat(told)
    except ValueError as error:
        raise EventCommandError(f"{told} is no time: say an age such as 90m, or 2026-03-08T04:00:00Z") from error
    if moment.tzinfo is None:
        raise EventCommandError(f"{told} has no time zone: say 2026-03-08T04:00:00Z")
    return moment


async def sequence_at(js: JetStreamContext, stream: str, moment: datetime) -> int:
    """Find the first event stored at ``moment`` or later; the place of the next one when there is none."""
    config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=moment)
    async with _ephemeral(js, stream, config) as subscription:
        try:
            found = await subscription.fetch(1, timeout=2)
        except TimeoutError:
            return (await js.stream_info(stream)).state.last_seq + 1
    return int(found[0].metadata.sequence.stream)


@contextlib.asynccontextmanager
async def _ephemeral(
    js: JetStreamContext, stream: str, config: ConsumerConfig
) -> AsyncIterator[JetStreamContext.PullSubscription]:
    config = config.evolve(
        name=f"paddock-{secrets.token_hex(6)}",
        ack_policy=AckPolicy.NONE,
        inactive_threshold=LEFT_ALONE_SECONDS,
        mem_storage=True,
    )
    await js.add_consumer(stream, config)
    subscription = await js.pull_subscribe_bind(consumer=config.name, stream=stream)
    try:
        yield subscription
    finally:
        with contextlib.suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()
            await js.delete_consumer(stream, str(config.name))


class Reader:
    """Reads events one after the other; what JetStream or the network drops is noticed and read again.

    An async context manager.
    """

    def __init__(
        self, js: JetStreamContext, subjects: Sequence[str], start: int, *, headers_only: bool = False
    ) -> None:
        self._js = js
        self._headers_only = headers_only
        self._subjects = list(subjects)
        self.next = max(start, 1)
        """Where it goes on."""
        self._left = 0
        self._expected = 1
        self._open = contextlib.AsyncExitStack()
        self._subscription: JetStreamContext.PullSubscription | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def fetch(self, most: int) -> list[Msg]:
        """Read on; nothing means that there was nothing left when this was asked last."""
        for _ in range(TRIES):
            subscription = await self._subscribed()
            if not self._left:
                return []
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                if whole := self._whole(await subscription.fetch(min(most, self._left), timeout=REQUEST_SECONDS)):
                    return whole
            await self._give_up_subscription()
        raise EventCommandError(f"JetStream does not give event {self.next} and those after it")

    async def follow(self) -> AsyncIterator[Msg]:
        """Read on for ever."""
        while True:
            for message in await self.fetch(FOLLOW_BATCH):
                yield message
            subscription = await self._subscribed()
            try:
                messages = self._whole(await subscription.fetch(1, timeout=REQUEST_SECONDS))
            except TimeoutError:
                continue
            except nats.errors.Error:
                await self._give_up_subscription()
                continue
            for message in messages:
                yield message

    def _whole(self, messages: Sequence[Msg]) -> list[Msg]:
        """Take messages up to the first gap."""
        whole = []
        for message in messages:
            if message.metadata.sequence.consumer != self._expected:
                break
            self._expected += 1
            self.next = message.metadata.sequence.stream + 1
            self._left = message.metadata.num_pending
            whole.append(message)
        return whole

    async def _give_up_subscription(self) -> None:
        self._subscription = None
        await self._open.aclose()

    async def _subscribed(self) -> JetStreamContext.PullSubscription:
        if self._subscription is None:
            one = len(self._subjects) == 1
            config = ConsumerConfig(
                filter_subject=self._subjects[0] if one else None,
                filter_subjects=None if one else self._subjects,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self.next,
                headers_only=self._headers_only or None,
            )
            self._expected = 1
            reading = _ephemeral(self._js, topology.EVENTS, config)
            self._subscription = await self._open.enter_async_context(reading)
            self._left = (await self._subscription.consumer_info()).num_pending or 0
        return self._subscription


async def message_at(js: JetStreamContext, sequence: int, stream: str = topology.EVENTS) -> Msg | None:
    """Read one stored event as if it were delivered; nothing when the stream no longer has it."""
    try:
        raw = await js.get_msg(stream, sequence)
    except nats.js.errors.NotFoundError:
        return None
    reply = f"$JS.ACK.{stream}.paddock.1.{sequence}.1.0.0"
    return Msg(_client=js._nc, subject=str(raw.subject), reply=reply, data=raw.data or b"", headers=raw.headers)  # noqa: SLF001 - the library makes its messages so
