"""Advisories: what JetStream says of deliveries that it gave up, read into dead letters.

Deliveries of our own consumers end with a letter that the bus has written, and then with a word that says so. What is
left is what JetStream gives up by itself: deliveries to the durable of somebody outside, which came too often or were
terminated. The advisories are kept in a stream, so those that came while nobody read them are only late.
"""

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from prometheus_client import Counter

from common import letters, topology
from common.letters import Letter
from common.log import get_logger

log = get_logger(__name__)

DURABLE = "keeper_advisories"
FETCH_SECONDS = 30.0
"""How long a request stands. Requests cost, an advisory that comes meanwhile does not wait."""
ACK_WAIT_SECONDS = 30
ACK_SECONDS = 5
MAX_ACK_PENDING = 100
PAUSE_SECONDS = 1.0

LETTERS = Counter("dlq_letters_total", "Dead letters that were written, by who gave up", ["origin"])
ADVISED = Counter("advisories_total", "Advisories of deliveries that JetStream gave up", ["kind"])
for _origin in ("bus", "advisory"):  # an alert sees a counter grow only when it was there before
    LETTERS.labels(_origin)
for _kind in ("max_deliver", "terminated"):
    ADVISED.labels(_kind)


class Advisory(msgspec.Struct, frozen=True):
    """What JetStream says when it gives a delivery up; ``type`` ends in ``max_deliver`` or ``terminated``."""

    type: str
    stream: str
    consumer: str
    stream_seq: int
    deliveries: int = 0
    reason: str = ""

    @property
    def kind(self) -> str:
        """``max_deliver`` or ``terminated``."""
        return "terminated" if self.type.endswith("terminated") else "max_deliver"


def durable() -> ConsumerConfig:
    """Configure the durable that all keepers share."""
    return ConsumerConfig(
        name=DURABLE,
        durable_name=DURABLE,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_SECONDS,
        max_deliver=-1,
        max_ack_pending=MAX_ACK_PENDING,
    )


async def collect(js: JetStreamContext) -> None:
    """Read advisories until NATS or their stream is away, which raises `nats.errors.Error`."""
    await js.add_consumer(topology.ADVISORIES, durable())
    subscription = await js.pull_subscribe_bind(durable=DURABLE, stream=topology.ADVISORIES)
    while True:
        try:
            [message] = await subscription.fetch(1, timeout=FETCH_SECONDS)
        except TimeoutError:
            await js.consumer_info(topology.ADVISORIES, DURABLE)  # raises when the silence is because it is gone
            continue
        await take(js, message)


async def take(js: JetStreamContext, message: Msg) -> None:
    """Write the letter that an advisory asks for, then acknowledge it."""
    try:
        advisory = msgspec.json.decode(message.data, type=Advisory)
    except msgspec.MsgspecError:
        log.exception("advisory not understood", subject=message.subject)
        await message.term()
        return
    if advisory.reason == letters.WRITTEN:
        LETTERS.labels("bus").inc()
    elif advisory.stream in {topology.EVENTS, topology.DEAD_LETTERS}:
        await _bury(js, advisory)
        ADVISED.labels(advisory.kind).inc()
    await message.ack_sync(timeout=ACK_SECONDS)


async def _bury(js: JetStreamContext, advisory: Advisory) -> None:
    letter = await _letter(js, advisory)
    if await letters.write(js, letter):
        LETTERS.labels("advisory").inc()
        log.error("delivery given up", letter=letter.id, subject=letter.subject, tries=letter.tries)


async def _letter(js: JetStreamContext, advisory: Advisory) -> Letter:
    """Make the letter of an advisory; when its event is gone, the letter says so."""
    reason = advisory.reason or f"given up after {advisory.deliveries} deliveries"
    try:
        message = await js.get_msg(advisory.stream, advisory.stream_seq)
        subject, headers, body = message.subject or "", message.headers or {}, message.data or b""
    except nats.js.errors.NotFoundError:
        subject, headers, body = "", {}, b""
        reason += "; the event is no longer in the stream"
    consumer, number = advisory.consumer, str(advisory.stream_seq)
    if advisory.stream == topology.DEAD_LETTERS:  # a redriven letter, which names the consumer it went to
        number = f"r{advisory.stream_seq}"
        consumer = headers.get("paddock-consumer", consumer)
        subject = headers.get("paddock-subject", subject)
    trace = headers.get("traceparent", "").split("-")
    return Letter(
        durable=consumer,
        number=number,
        subject=subject,
        sequence=advisory.stream_seq,
        tries=advisory.deliveries,
        error="Terminated" if advisory.kind == "terminated" else "MaxDeliveries",
        reason=reason,
        trace_id=trace[1] if len(trace) > 1 else "",
        origin="advisory",
        headers=headers,
        body=body,
    )
