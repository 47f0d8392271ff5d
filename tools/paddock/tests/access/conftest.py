"""A NATS server that knows us by our keys, and clients with the credentials of each user."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client, RawCredentials
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from common import topology
from devstack.nats import NatsServer, start_nats
from paddock import audit, nats_command
from paddock.nats_authority import Authority


@dataclass
class Caller:
    """A connection, and what the server said against it."""

    client: Client
    complaints: list[str] = field(default_factory=list)

    async def refused(self, subject: str, body: bytes = b"") -> bool:
        """Publish, and tell whether the server refused the subject."""
        await self.client.publish(subject, body, reply=f"{self.client.new_inbox()}")
        return await self._complained("publish", subject)

    async def deaf(self, subject: str) -> bool:
        """Subscribe, and tell whether the server refused it."""
        subscription = await self.client.subscribe(subject)
        try:
            return await self._complained("subscription", subject)
        finally:
            with contextlib.suppress(Exception):
                await subscription.unsubscribe()

    async def _complained(self, act: str, subject: str) -> bool:
        for _ in range(
            2
        ):  # what the server complains of comes before its pong; the first ping may overtake what we sent
            await self.client.flush(5)
        told = f'permissions violation for {act} to "{subject.lower()}"'
        return any(told in complaint for complaint in self.complaints)


Connect = Callable[..., Awaitable[Caller]]


@dataclass
class Access:
    """One server, the folder of its keys, and connections that end with the module."""

    authority: Authority
    server: NatsServer
    clients: contextlib.AsyncExitStack

    async def connect(self, user: str, credentials: Path | None = None) -> Caller:
        caller = Caller(Client())

        async def complain(error: Exception) -> None:
            caller.complaints.append(str(error).lower())

        text = (credentials or self.authority.credentials_of(user)).read_text()
        options: dict[str, Any] = topology.connection_options(user, None)
        options |= {"user_credentials": RawCredentials(text), "inbox_prefix": f"_INBOX_{user}"}
        await caller.client.connect(self.server.url, error_cb=complain, **options)
        self.clients.push_async_callback(caller.client.close)
        return caller


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("access") / "auth"
    nats_command.init(folder)
    return Authority.found(folder)


@pytest.fixture(scope="module")
def guarded(keys: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server that lets in nobody whom the keys have not signed."""
    server = start_nats(tmp_path_factory.mktemp("guarded") / "nats", durable=False, include=keys.conf)
    yield server
    server.stop()


@pytest.fixture(scope="module")
async def access(keys: Authority, guarded: NatsServer) -> AsyncIterator[Access]:
    """The server with its streams."""
    async with contextlib.AsyncExitStack() as clients:
        found = Access(keys, guarded, clients)
        js = (await found.connect("paddock")).client.jetstream()
        await topology.apply(js)
        try:
            await js.stream_info(audit.STREAM)
        except NotFoundError:
            await js.add_stream(StreamConfig(name=audit.STREAM, subjects=["audit.>"]))
        yield found
