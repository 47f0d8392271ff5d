"""The service on a real PostgreSQL, receivers that really listen, and whoever registers them.

NATS is out of reach in most of these tests, on purpose: events are handed to the consumer as the bus hands them over.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID, uuid4

import h11
import httpx
import msgspec
import pytest
from sqlalchemy import text

from common import clock, denials
from common.contracts import Envelope, Event, encode, type_of
from common.contracts.samples import SAMPLES
from common.db import Database
from devstack.testing import SettingsMaker, TokenMaker, eventually, running
from webhooks.app import create_app
from webhooks.consumers import consumers
from webhooks.models import metadata
from webhooks.settings import WebhooksSettings

NOWHERE = "nats://127.0.0.1:1"
LOCAL: Mapping[str, Any] = {"allow_http": True, "allow_private": True, "ports": "1-65535"}
SAMPLE = {sample.subject: sample for sample in SAMPLES}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver was sent."""

    path: str
    headers: dict[str, str]
    body: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver answers, after a while or never."""

    status: int = 204
    headers: Mapping[str, str] = {}
    body: bytes = b""
    seconds: float = 0.0


Behaviour = Callable[[Request], Answer]


class Receiver:
    """A subscriber's HTTP server; `behave` decides what it answers."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.behave: Behaviour = lambda _: Answer()
        self.url = ""
        self.port = 0
        self.closing = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError):
            request = None
            try:
                request = await self._read(reader)
            except h11.RemoteProtocolError:
                writer.write(b"HTTP/1.1 400 Not HTTP\r\n\r\n")
            if request is not None:
                self.requests.append(request)
                answer = self.behave(request)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.closing.wait(), answer.seconds)
                lines = [f"HTTP/1.1 {answer.status} Answer", f"Content-Length: {len(answer.body)}", "Connection: close"]
                lines += [f"{name}: {value}" for name, value in answer.headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + answer.body)
                await writer.drain()
        writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        connection, head, body = h11.Connection(h11.SERVER), None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                headers = {name.decode(): value.decode() for name, value in head.headers}
                return Request(path=head.target.decode(), headers=headers, body=body)
            else:
                return None

    async def heard(self, count: int, *, seconds: float = 20) -> list[Request]:
        """Wait until so many requests have come."""

        async def enough() -> bool:
            return len(self.requests) >= count

        await eventually(enough, seconds=seconds, what=f"{count} requests (there are {len(self.requests)})")
        return self.requests


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    receiver.url = f"http://127.0.0.1:{receiver.port}/hook"
    yield receiver
    receiver.closing.set()
    server.close()


class Subscriber:
    """A user with a token."""

    def __init__(self, http: httpx.AsyncClient, tokens: TokenMaker) -> None:
        self.id = uuid4()
        self.http = http
        self.headers = tokens.headers(self.id)

    async def call(self, method: str, path: str = "", body: Any = None, **query: Any) -> httpx.Response:
        content = None if body is None else msgspec.json.encode(body)
        headers = self.headers | ({"Content-Type": "application/json"} if content is not None else {})
        return await self.http.request(
            method, f"/api/v1/webhooks{path}", content=content, params=query, headers=headers
        )

    async def register(self, url: str, *subjects: str, **body: Any) -> Any:
        body = {"url": url, "subjects": list(subjects) or ["race.finished"], **body}
        response = await self.call("POST", "", body)
        assert response.status_code == 201, response.text
        return response.json()

    async def log(self, endpoint: Any, **query: Any) -> list[Any]:
        response = await self.call("GET", f"/{endpoint['endpoint_id']}/deliveries", **query)
        assert response.status_code == 200, response.text
        return list(response.json()["items"])

    async def read(self, endpoint: Any) -> Any:
        response = await self.call("GET", f"/{endpoint['endpoint_id']}")
        assert response.status_code == 200, response.text
        return response.json()

    async def ended(self, endpoint: Any, count: int = 1, *, seconds: float = 20) -> list[Any]:
        """Wait until so many deliveries have ended; return the log."""

        async def over() -> list[Any]:
            log = await self.log(endpoint, limit=100)
            return log if sum(item["status"] != "pending" for item in log) >= count else []

        log: list[Any] = await eventually(over, seconds=seconds, what=f"the end of {count} deliveries")
        return log


class World:
    """The service's database, and what happens."""

    def __init__(self, database: Database, tokens: TokenMaker) -> None:
        self.database = database
        self.tokens = tokens
        self.sequence = 0

    def subscriber(self, http: httpx.AsyncClient) -> Subscriber:
        return Subscriber(http, self.tokens)

    async def happen(self, event: Event | str = "race.finished", *, event_id: UUID | None = None) -> UUID:
        """Hand an event to the consumers that read it."""
        event = SAMPLE[event] if isinstance(event, str) else event
        event_id = event_id or uuid4()
        envelope = Envelope(
            id=event_id,
            type=type_of(event.subject),
            source=f"/paddock/{event.source}",
            subject=event.key(),
            time=clock.now().isoformat(),
        )
        self.sequence += 1
        for consumer in consumers.all:
            if isinstance(event, consumer.events):
                given = consumer.read(event.subject, envelope, encode(event), self.sequence)
                async with self.database.transaction() as session:
                    await consumer.apply([given], session)
        return event_id

    async def rows(self, sql: str, **parameters: Any) -> list[Any]:
        async with self.database.transaction() as session:
            return list((await session.execute(text(sql), parameters)).all())

    async def execute(self, sql: str, **parameters: Any) -> None:
        async with self.database.transaction() as session:
            await session.execute(text(sql), parameters)


@pytest.fixture(scope="session")
async def settings(settings_for: SettingsMaker) -> WebhooksSettings:
    settings: WebhooksSettings = await settings_for("webhooks", WebhooksSettings)
    return settings


@pytest.fixture(scope="session")
async def database(settings: WebhooksSettings) -> AsyncIterator[Database]:
    database = Database(settings, "webhooks")
    yield database
    await database.close()


@pytest.fixture
async def world(database: Database, tokens: TokenMaker) -> World:
    """An empty schema."""
    world = World(database, tokens)
    await world.execute(f"TRUNCATE {', '.join(table.name for table in metadata.sorted_tables)}")
    return world


Start = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def start(
    world: World,  # noqa: ARG001 - empties the schema
    settings: WebhooksSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Start]:
    """Start the service with settings that differ as said, without NATS; each call gives a client of a new one."""
    monkeypatch.setattr(denials, "START_SECONDS", 0)  # nobody tells of ended sessions, so nobody waits for it
    async with contextlib.AsyncExitStack() as stack:

        async def run(**changes: Any) -> httpx.AsyncClient:
            changed = msgspec.structs.replace(settings, **{"nats_url": NOWHERE, **LOCAL, **changes})
            return await stack.enter_async_context(running(create_app(changed)))

        yield run


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with listening() as receiver:
        yield receiver


@pytest.fixture
async def another() -> AsyncIterator[Receiver]:
    async with listening() as receiver:
        yield receiver


@pytest.fixture
def answer() -> type[Answer]:
    return Answer
