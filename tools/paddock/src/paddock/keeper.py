"""`paddock keep`: the process that keeps the streams, so that nothing is lost silently.

- What JetStream gives up, whoever's consumer it was, becomes a dead letter: its advisories are kept in a stream of
  their own, so those that came while no keeper ran are dealt with by the next one.
- A stream that vanishes is made anew, with sequences above those that were. Streams that exist are never touched.
- What no service sees is exported: the size of the streams, the letters, and how far every consumer is behind, those of
  subscribers outside included.

Any number of keepers may run; they share the advisories.
"""

import asyncio
import contextlib
from collections import Counter as Tally
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import nats.errors
import nats.js.errors
from litestar import Litestar, Response, get
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from prometheus_client import Counter, Gauge

from common import letters, topology
from common.app import Metrics, in_background, serve
from common.lag import LagMeter
from common.letters import Letter
from common.log import get_logger
from paddock.broker import OperatorSettings

log = get_logger(__name__)

LOOK_SECONDS = 10.0
FETCH_SECONDS = 15.0
FETCH = 100
AGAIN_SECONDS = 5
PAUSE_SECONDS = 1.0
MOST_CONSUMERS = 200
"""Consumers whose lag is exported, so that the number of series has a bound."""
DURABLE = "keeper_advisories"

DEPTH = Gauge("dlq_depth", "Dead letters that nobody has redriven or dropped", ["consumer"])
LETTERS = Counter("dlq_letters_total", "Dead letters that the keeper wrote", ["origin"])
ADVISED = Counter("advisories_total", "Advisories of deliveries that JetStream gave up", ["kind"])
RECREATED = Counter("streams_recreated_total", "Streams that had vanished and were made anew", ["stream"])
BYTES = Gauge("stream_bytes", "What a stream takes on disk", ["stream"])
MESSAGES = Gauge("stream_messages", "Messages in a stream", ["stream"])


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


class Keeper:
    """The two tasks of the process, over one connection each time."""

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._last: dict[str, int] = {}
        """The highest sequence seen of each stream."""
        self._lag = LagMeter()
        self.connected = False
        """True while the streams are looked after."""

    async def run(self, _: object = None) -> None:
        """Keep until cancelled, however often NATS goes away."""
        while True:
            client = await topology.connect(self._settings.nats_url, "paddock-keeper", self._settings.nats_creds)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._look_after(client.jetstream()))
                    tasks.create_task(self._collect(client))
            finally:
                self.connected = False
                await client.close()

    async def _look_after(self, js: JetStreamContext) -> None:
        while True:
            try:
                for config in topology.STREAMS:
                    await self._keep_stream(js, str(config.name))
                await self._export(js)
                self.connected = True
            except (nats.errors.Error, OSError) as error:
                self.connected = False
                log.warning("streams not looked after", error=repr(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def _keep_stream(self, js: JetStreamContext, name: str) -> None:
        try:
            state = (await js.stream_info(name)).state
        except nats.js.errors.NotFoundError:
            if name not in self._last:
                log.critical("stream missing", stream=name, run="paddock topology apply")
                return
            config = next(config for config in topology.STREAMS if config.name == name)
            await js.add_stream(config.evolve(first_seq=self._last[name] + 1))
            RECREATED.labels(name).inc()
            log.critical("stream had vanished and was made anew", stream=name, run="paddock events reconcile")
            return
        self._last[name] = max(self._last.get(name, 0), state.last_seq)
        BYTES.labels(name).set(state.bytes)
        MESSAGES.labels(name).set(state.messages)

    async def _export(self, js: JetStreamContext) -> None:
        info = await js.stream_info(topology.DEAD_LETTERS, subjects_filter="dlq.>")
        depths: Tally[str] = Tally()
        for subject, count in (info.state.subjects or {}).items():
            depths[subject.split(".")[1]] += count
        DEPTH.clear()
        DEPTH.labels("any").set(sum(depths.values()))
        for consumer, depth in depths.most_common(MOST_CONSUMERS):
            DEPTH.labels(consumer).set(depth)
        found = [one for one in await js.consumers_info(topology.EVENTS) if one.config.durable_name]
        for consumer_info in found[:MOST_CONSUMERS]:
            self._lag.measure(str(consumer_info.config.durable_name), consumer_info)

    async def _collect(self, client: Client) -> None:
        js = client.jetstream()
        while True:
            try:
                await js.add_consumer(topology.ADVISORIES, _durable())
                subscription = await js.pull_subscribe_bind(durable=DURABLE, stream=topology.ADVISORIES)
                while True:
                    with contextlib.suppress(nats.errors.TimeoutError):
                        for message in await subscription.fetch(FETCH, timeout=FETCH_SECONDS):
                            await self._bury(js, message)
            except (nats.errors.Error, OSError) as error:
                log.warning("advisories interrupted", error=repr(error))
                await asyncio.sleep(PAUSE_SECONDS)

    async def _bury(self, js: JetStreamContext, message: Msg) -> None:
        """Make a letter of an advisory, then acknowledge it."""
        try:
            advisory = msgspec.json.decode(message.data, type=Advisory)
        except msgspec.MsgspecError:
            log.exception("advisory not understood", subject=message.subject)
            await message.term()
            return
        if advisory.stream in {topology.EVENTS, topology.DEAD_LETTERS}:
            letter = await _letter_of(js, advisory)
            if letter is not None and await letters.write(js, letter):
                LETTERS.labels("advisory").inc()
                log.error("delivery given up", letter=letter.id, subject=letter.subject, tries=letter.tries)
        await message.ack_sync(timeout=AGAIN_SECONDS)
        ADVISED.labels(advisory.kind).inc()


async def _letter_of(js: JetStreamContext, advisory: Advisory) -> Letter | None:
    """Fetch the event that an advisory is about; when it is gone, the letter says so. None: it has a letter."""
    reason = advisory.reason or f"given up after {advisory.deliveries} deliveries"
    try:
        message = await js.get_msg(advisory.stream, advisory.stream_seq)
        subject, headers, body = message.subject or "", message.headers or {}, message.data or b""
    except nats.js.errors.NotFoundError:
        subject, headers, body = "", {}, b""
        reason += "; the event is no longer in the stream"
    durable, number = advisory.consumer, str(advisory.stream_seq)
    if advisory.stream == topology.DEAD_LETTERS:
        number = f"r{advisory.stream_seq}"
        with contextlib.suppress(nats.js.errors.NotFoundError):
            await js.get_last_msg(topology.DEAD_LETTERS, f"dlq.{durable}.{number}")
            return None
        durable = headers.get("paddock-consumer", durable)
        subject = headers.get("paddock-subject", subject)
    trace = headers.get("traceparent", "").split("-")
    return Letter(
        durable=durable,
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


def _durable() -> ConsumerConfig:
    return ConsumerConfig(
        name=DURABLE,
        durable_name=DURABLE,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=30,
        max_deliver=-1,
        max_ack_pending=FETCH * 2,
    )


def create_app(settings: OperatorSettings) -> Litestar:
    """Make the keeper: its tasks, and HTTP for probes and metrics."""
    keeper = Keeper(settings)

    @get("/health/live", include_in_schema=False)
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @get(["/health/ready", "/health"], include_in_schema=False)
    async def ready() -> Response[dict[str, Any]]:
        status = "ok" if keeper.connected else "down"
        detail = None if keeper.connected else "the streams are not looked after: NATS is away, or they are missing"
        body = {"service": "keeper", "status": status, "detail": detail}
        return Response(body, status_code=200 if keeper.connected else 503)

    @contextlib.asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with in_background(app, [("keeper", keeper.run)]):
            yield

    return Litestar(
        route_handlers=[live, ready, Metrics], lifespan=[lifespan], openapi_config=None, logging_config=None
    )


def keep() -> None:
    """Run until SIGTERM."""
    serve("keeper", create_app, OperatorSettings.load())


if __name__ == "__main__":
    keep()
