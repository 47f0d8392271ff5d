"""The event stream as it grows, read without leaving a trace in NATS and from where it was after any break."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from common import topology
from common.contracts import REGISTRY, Event, decode
from common.contracts.ingest import SeasonSynced

BATCH = 100
FETCH_SECONDS = 2.0
CALM_SECONDS = 0.5
"""Between attempts while NATS is away."""
INACTIVE_SECONDS = 30.0
"""After which NATS forgets a consumer whose reader died."""


async def follow(
    url: str, kinds: tuple[type[Event], ...], on_ready: Callable[[], None], credentials: str | None = None
) -> AsyncGenerator[Event, None]:
    """Yield the last `SeasonSynced` and then every event of ``kinds`` published from now on, for ever.

    ``on_ready`` is called once when no event published later can be missed. ``credentials`` is the text of the
    operator's credentials file, where NATS asks for one.
    """
    client = await topology.connect(url, "paddock-screen", credentials)
    try:
        stream = client.jetstream()
        position: int | None = None
        while True:
            try:
                if position is None:
                    position = (await stream.stream_info(topology.EVENTS)).state.last_seq
                    if season := await _last_season(stream):
                        yield season
                    on_ready()
                async for sequence, event in _batches(client, stream, kinds, position + 1):
                    position = sequence
                    if event is not None:
                        yield event
            except (nats.errors.Error, JetStreamError, OSError):
                await asyncio.sleep(CALM_SECONDS)
    finally:
        await client.close()


async def _last_season(stream: JetStreamContext) -> SeasonSynced | None:
    try:
        message = await stream.get_last_msg(topology.EVENTS, SeasonSynced.subject)
    except NotFoundError:
        return None
    return decode(SeasonSynced, message.data or b"")


async def _batches(
    client: Client, stream: JetStreamContext, kinds: tuple[type[Event], ...], begin: int
) -> AsyncGenerator[tuple[int, Event | None], None]:
    """Read through one ephemeral consumer until it breaks, which raises."""
    config = ConsumerConfig(
        filter_subjects=[kind.subject for kind in kinds],
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=begin,
        ack_policy=AckPolicy.NONE,
        mem_storage=True,
        inactive_threshold=INACTIVE_SECONDS,
    )
    info = await stream.add_consumer(topology.EVENTS, config)
    subscription = await stream.pull_subscribe_bind(consumer=info.name, stream=topology.EVENTS)
    try:
        while True:
            try:
                messages = await subscription.fetch(BATCH, timeout=FETCH_SECONDS)
            except TimeoutError:  # of nats-py or, from a batch, of asyncio
                await stream.consumer_info(topology.EVENTS, info.name)  # raises when the server forgot it
                continue
            for message in messages:
                yield message.metadata.sequence.stream, _read(message.subject, message.data)
    finally:
        if client.is_connected:
            await subscription.unsubscribe()


def _read(subject: str, body: bytes) -> Event | None:
    """A body that is not what its subject says is the business of the dead-letter queue, not of a screen."""
    try:
        return decode(REGISTRY[subject], body)
    except msgspec.DecodeError:
        return None
