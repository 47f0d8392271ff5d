"""The pytest plugin: real servers once per run, a migrated schema per service, tokens, a rolled-back session.

Where the servers come from is told in `devstack.lend`. Import nothing from here outside of tests.
"""

import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
import jwt
import msgspec
import pytest
from asgi_lifespan import LifespanManager
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from litestar.types import ASGIApp
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from common import clock, migrate, topology
from common.db import Database
from common.security import ALGORITHM, TYPE
from common.settings import Environment, Settings
from devstack.lend import lend

PASSWORD = "paddock-test"  # noqa: S105 - of servers that live as long as the run

SettingsT = TypeVar("SettingsT", bound=Settings)


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """Where the real servers of this run are; the database URL is an administrator's."""

    database_url: str
    nats_url: str
    redis_url: str

    def database_url_of(self, service: str) -> str:
        """Return the URL with the service's own role."""
        url = make_url(self.database_url).set(username=migrate.role_of(service), password=PASSWORD)
        return url.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Start, or find, PostgreSQL, NATS and Valkey."""
    with lend(os.environ, tmp_path_factory.mktemp("servers")) as urls:
        yield Servers(database_url=urls.database, nats_url=urls.nats, redis_url=urls.redis)


@pytest.fixture(scope="session")
async def prepared(servers: Servers) -> Servers:
    """Roles, schemas and streams exist."""
    await migrate.bootstrap(servers.database_url, dict.fromkeys(migrate.SERVICES, PASSWORD))
    client = await topology.connect(servers.nats_url, "tests")
    await topology.apply(client.jetstream())
    await client.close()
    return servers


SettingsMaker = Callable[[str, type[Any]], Awaitable[Any]]


@pytest.fixture(scope="session")
async def settings_for(prepared: Servers, tokens: "TokenMaker") -> SettingsMaker:
    """Give an async function of a service's name and settings class that migrates its schema and makes its settings."""
    return settings_maker(prepared, tokens)


def settings_maker(prepared: Servers, tokens: "TokenMaker") -> SettingsMaker:
    """Make that function for servers with roles, schemas and streams."""
    migrated: set[str] = set()

    async def make(service: str, kind: type[SettingsT], **values: Any) -> SettingsT:  # noqa: ANN401 - any field
        if service in migrate.SERVICES and service not in migrated:
            await migrate.upgrade(service, prepared.database_url)
            migrated.add(service)
        return kind(
            paddock_env=Environment.TEST,
            database_url=prepared.database_url_of(service),
            nats_url=prepared.nats_url,
            redis_url=prepared.redis_url,
            auth_url=tokens.url,
            **values,
        )

    return make


@contextlib.asynccontextmanager
async def running(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """Run an app with its lifespan in this event loop and give a client for it."""
    asgi: Any = app  # Litestar's ASGI types are narrower than the two libraries'
    async with (
        LifespanManager(asgi, startup_timeout=15, shutdown_timeout=20),
        httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://test", timeout=10) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def rolled_back(database: Database) -> AsyncIterator[AsyncSession]:
    """Give a session whose work is undone at the end, commits inside it included."""
    async with database.engine.connect() as connection:
        outer = await connection.begin()
        async with AsyncSession(
            bind=connection, join_transaction_mode="create_savepoint", expire_on_commit=False
        ) as session:
            yield session
        await outer.rollback()


async def eventually(probe: Callable[[], Awaitable[Any]], *, seconds: float = 10, what: str = "the condition") -> Any:  # noqa: ANN401 - whatever the probe gives
    """Ask ``probe`` until it gives something true; fail with ``what`` when the deadline passes."""
    import asyncio  # noqa: PLC0415 - only here

    deadline = time.monotonic() + seconds
    while True:
        if value := await probe():
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true within {seconds} s")
        await asyncio.sleep(0.02)


class TokenMaker:
    """Signs tokens with a key whose public half it serves over HTTP, as `auth` does."""

    def __init__(self) -> None:
        self.private_key = Ed25519PrivateKey.generate()
        self.key_id = uuid4().hex
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    @cached_property
    def jwks(self) -> dict[str, Any]:
        """The set as `auth` serves it."""
        key = jwt.algorithms.OKPAlgorithm.to_jwk(self.private_key.public_key(), as_dict=True)
        return {"keys": [{**key, "kid": self.key_id, "alg": ALGORITHM, "use": "sig"}]}

    def make(self, user_id: UUID | None = None, username: str = "somebody", **changes: Any) -> str:  # noqa: ANN401
        """Sign a valid access token, or with ``changes`` to claims (``None`` leaves one out) an invalid one."""
        issued = clock.now()
        claims = {
            "sub": str(user_id or uuid4()),
            "username": username,
            "iss": "paddock",
            "aud": "paddock-api",
            "iat": issued,
            "exp": issued + timedelta(minutes=15),
            "jti": uuid4().hex,
            "sid": str(uuid4()),
            "email_verified": True,
        }
        claims |= changes
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, self.private_key, ALGORITHM, headers={"kid": self.key_id, "typ": TYPE})

    def headers(self, user_id: UUID | None = None, username: str = "somebody") -> dict[str, str]:
        """Return the header of an authenticated request."""
        return {"Authorization": f"Bearer {self.make(user_id, username)}"}

    def close(self) -> None:
        """Stop serving keys."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        maker = self

        class Keys(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = msgspec.json.encode(maker.jwks)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the base class's names
                pass

        return Keys


@pytest.fixture(scope="session")
def tokens() -> Iterator[TokenMaker]:
    """Give a maker of access tokens that every service under test accepts."""
    maker = TokenMaker()
    yield maker
    maker.close()
