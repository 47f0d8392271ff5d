"""Events put on the wire by hand, streams read back, and a network that can be cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from common import clock, topology
from common.contracts import Event, encode
from common.contracts.event import schema_of, type_of


def headers_of(event: Event, event_id: UUID) -> dict[str, str]:
    """What the relay says of an event."""
    return {
        "Nats-Msg-Id": str(event_id),
        "ce-specversion": "1.0",
        "ce-id": str(event_id),
        "ce-type": type_of(event.subject),
        "ce-source": f"/paddock/{event.source}",
        "ce-subject": event.key(),
        "ce-time": clock.now().isoformat().replace("+00:00", "Z"),
        "ce-datacontenttype": "application/json",
        "ce-dataschema": schema_of(event.subject),
        "traceparent": f"00-{uuid4().hex}-{uuid4().hex[:16]}-01",
    }


async def publish(js: JetStreamContext, *events: Event) -> list[UUID]:
    """Publish events in their order; return their ids."""
    ids = [uuid4() for _ in events]
    futures = []
    for event, event_id in zip(events, ids, strict=True):
        headers = headers_of(event, event_id)
        futures.append(await js.publish_async(event.subject, encode(event), stream=topology.EVENTS, headers=headers))
    await asyncio.wait_for(asyncio.gather(*futures), 30)
    return ids


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[JetStreamContext]:
    """Give a connection of the test's own."""
    client = await topology.connect(url, "tests")
    try:
        yield client.jetstream(timeout=10)
    finally:
        await client.close()


async def prepare_streams(url: str) -> None:
    """Create the streams on a server that has none."""
    async with connected(url) as js:
        await topology.apply(js)


async def read_all(js: JetStreamContext, stream: str, subject: str = ">") -> list[Msg]:
    """Read what a stream holds for a subject."""
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, mem_storage=True)
    subscription = await js.pull_subscribe(subject, stream=stream, config=config)
    left = (await subscription.consumer_info()).num_pending or 0
    found: list[Msg] = []
    while len(found) < left:
        found += await subscription.fetch(min(500, left - len(found)), timeout=10)
    await subscription.unsubscribe()
    return found


def client_of(js: JetStreamContext) -> Client:
    """The connection below."""
    client: Client = js._nc
    return client


class Wire:
    """A TCP path to a server that can be cut without either end being told."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """Where a client connects."""
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Swallow every byte from now on; connections stay open, and new ones are taken and hear nothing."""
        self._open.clear()

    def mend(self) -> None:
        """Forward again. What was swallowed is held by the kernel and arrives late, as it does in real networks."""
        self._open.set()

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._open.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        ways = [
            asyncio.create_task(self._copy(reader, far_writer)),
            asyncio.create_task(self._copy(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            far_writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
