"""`paddock keep`: the process that keeps the streams, so that nothing is lost silently.

- What JetStream gives up, whoever's consumer it was, becomes a dead letter: `advisories`.
- A stream that vanishes is made anew as it was, with sequences above those that were. One that exists is never touched.
- What no service sees is exported: the size of the streams, the letters, and how far every consumer is behind, those of
  subscribers outside included.

Any number of keepers may run; they share the advisories, and the second to make a stream finds it made.
"""

import asyncio
import contextlib
from collections import Counter as Tally
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import nats.errors
import nats.js.errors
from litestar import Litestar, Response, get
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, StreamInfo
from prometheus_client import Counter, Gauge

from common import topology
from common.app import Metrics, in_background, serve
from common.lag import LagMeter
from common.log import get_logger
from paddock import advisories
from paddock.broker import OperatorSettings

log = get_logger(__name__)

LOOK_SECONDS = 10.0
GAP = 1_000_000
"""Sequences that a stream which is made anew leaves out: more than can have come since the last look at the old one."""
NAME_IN_USE = 10058
"""JetStream's code for a stream that is there, with another configuration."""
MOST_CONSUMERS = 200
"""Consumers that are exported, so that the number of series has a bound."""
PAGE = 256
"""Consumers that JetStream lists at once."""
MOST_LISTED = 16 * PAGE
NOT_CONNECTED = "NATS does not answer, or does not let us in"

DEPTH = Gauge("dlq_depth", "Dead letters that nobody has redriven or dropped", ["consumer"])
RECREATED = Counter("streams_recreated_total", "Streams that had vanished and were made anew", ["stream"])
BYTES = Gauge("stream_bytes", "What a stream takes on disk", ["stream"])
MESSAGES = Gauge("stream_messages", "Messages in a stream", ["stream"])


class Keeper:
    """The two tasks of the process, and what they have seen."""

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._seen: dict[str, StreamInfo] = {}
        """Each stream at the last look."""
        self._letters: tuple[tuple[int, ...], Tally[str]] = ((), Tally())
        """Letters by consumer, and the state of the queue when they were counted."""
        self._lag = LagMeter()
        self._exported: set[str] = set()
        self.client: Client | None = None
        self.trouble: str | None = NOT_CONNECTED
        """Why the streams are not looked after; None while they are."""
        for config in topology.STREAMS:
            RECREATED.labels(config.name)

    async def run(self, _: object = None) -> None:
        """Keep until cancelled, however often NATS goes away."""
        client = self.client = await topology.connect(
            self._settings.nats_url, "paddock-keeper", self._settings.nats_creds
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look_after(client))
                tasks.create_task(self._collect(client.jetstream()))
        finally:
            self.trouble = NOT_CONNECTED
            await client.close()

    async def _look_after(self, client: Client) -> None:
        """Look at the streams again and again; raise when the connection is closed for good: there must be another."""
        js = client.jetstream()
        while True:
            try:
                missing = [
                    str(config.name) for config in topology.STREAMS if not await self._keep(js, str(config.name))
                ]
                self.trouble = f"no stream {', '.join(missing)}; run `paddock topology apply`" if missing else None
                if not missing:
                    await self._export(js)
            except (nats.errors.Error, OSError) as error:
                self.trouble = f"NATS does not answer: {type(error).__name__}"
                log.warning("streams not looked after", error=repr(error))
                if client.is_closed:
                    raise
            await asyncio.sleep(LOOK_SECONDS)

    async def _collect(self, js: JetStreamContext) -> None:
        while True:
            try:
                await advisories.collect(js)
            except (nats.errors.Error, OSError) as error:
                log.warning("advisories interrupted", error=repr(error))
                await asyncio.sleep(advisories.PAUSE_SECONDS)

    async def _keep(self, js: JetStreamContext, name: str) -> bool:
        """Look at a stream, make it anew if it was there before; tell whether it is there now."""
        try:
            self._seen[name] = info = await js.stream_info(name)
        except nats.js.errors.NotFoundError:
            if name in self._seen:
                return await self._make_anew(js, self._seen[name])
            log.critical("stream missing", stream=name, run="paddock topology apply")
            return False
        BYTES.labels(name).set(info.state.bytes)
        MESSAGES.labels(name).set(info.state.messages)
        return True

    async def _make_anew(self, js: JetStreamContext, was: StreamInfo) -> bool:
        """Make a stream as it was, the operator's choices included; what it held is gone."""
        config = was.config.evolve(first_seq=was.state.last_seq + GAP)
        try:
            await js.add_stream(config)
        except nats.js.errors.APIError as error:
            if error.err_code != NAME_IN_USE:
                raise
            return True  # another keeper was first
        RECREATED.labels(config.name).inc()
        remedy = {"run": "paddock events reconcile"} if config.name == topology.EVENTS else {}
        log.critical("stream had vanished and was made anew", stream=config.name, first=config.first_seq, **remedy)
        return True

    async def _export(self, js: JetStreamContext) -> None:
        consumers = await _durables(js)
        letters = await self._count_letters(js)
        self._export_lag(consumers)
        DEPTH.clear()
        ranked = [name for name, _ in letters.most_common()]
        shown = _first(MOST_CONSUMERS, ranked, (name for name, _ in consumers))
        for consumer in shown:
            DEPTH.labels(consumer).set(letters[consumer])
        DEPTH.labels("others").set(letters.total() - sum(letters[consumer] for consumer in shown))

    def _export_lag(self, consumers: Sequence[tuple[str, ConsumerInfo]]) -> None:
        shown = dict(consumers[:MOST_CONSUMERS])
        for name in self._exported - shown.keys():
            self._lag.forget(name)
        self._exported = set(shown)
        for name, info in shown.items():
            self._lag.measure(name, info)

    async def _count_letters(self, js: JetStreamContext) -> Tally[str]:
        """Count letters by consumer. JetStream lists each for that, so it is only asked when the queue has changed."""
        state = self._seen[topology.DEAD_LETTERS].state
        now = (state.messages, state.first_seq, state.last_seq)
        if self._letters[0] != now:
            info = await js.stream_info(topology.DEAD_LETTERS, subjects_filter="dlq.>")
            subjects = (info.state.subjects or {}).keys()
            self._letters = (now, Tally(subject.split(".")[1] for subject in subjects))
        return self._letters[1]


async def _durables(js: JetStreamContext) -> list[tuple[str, ConsumerInfo]]:
    """Return the durables that read events, by name."""
    found: dict[str, ConsumerInfo] = {}
    for offset in range(0, MOST_LISTED, PAGE):
        page = await js.consumers_info(topology.EVENTS, offset=offset)
        found |= {info.name: info for info in page if info.config.durable_name}
        if len(page) < PAGE:
            break
    return sorted(found.items())


def _first(most: int, *names: Iterable[str]) -> list[str]:
    """Return the names in their order, each once, at most so many."""
    return list(dict.fromkeys(name for several in names for name in several))[:most]


def create_app(settings: OperatorSettings) -> Litestar:
    """Make the keeper: its tasks, and HTTP for probes and metrics."""
    keeper = Keeper(settings)

    @get("/health/live", include_in_schema=False)
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @get("/health/ready", include_in_schema=False)
    async def ready() -> Response[dict[str, Any]]:
        return Response(_health(keeper), status_code=200 if keeper.trouble is None else 503)

    @get("/health", include_in_schema=False)
    async def readable() -> dict[str, Any]:
        return _health(keeper)

    @contextlib.asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with in_background(app, [("keeper", keeper.run)]):
            yield

    return Litestar(
        route_handlers=[live, ready, readable, Metrics],
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
    )


def _health(keeper: Keeper) -> dict[str, Any]:
    status = "ok" if keeper.trouble is None else "down"
    return {"service": "keeper", "status": status, "detail": keeper.trouble}


def keep() -> None:
    """Run until SIGTERM."""
    serve("keeper", create_app, OperatorSettings.load())


if __name__ == "__main__":
    keep()
