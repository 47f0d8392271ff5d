from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest
from litestar import Litestar
from sqlalchemy import text

from auth.app import create_app
from auth.settings import AuthSettings
from common import migrate
from common.contracts import REGISTRY
from common.db import Database
from devstack.testing import Servers, SettingsMaker, running
from lab.mail_server import MailServer


@pytest.fixture(scope="session")
async def mail_server() -> AsyncIterator[MailServer]:
    """Where every letter of the app under test arrives."""
    async with MailServer() as server:
        yield server


@pytest.fixture(scope="session")
async def settings(settings_for: SettingsMaker, mail_server: MailServer) -> AuthSettings:
    """Cheap passwords, and no limits on logins or per address, as all tests come from one."""
    made: AuthSettings = await settings_for("auth", AuthSettings)
    per_address = {name: "0" for name in made.__struct_fields__ if name.startswith("limit_") and "_address" in name}
    per_address["limit_login_account"] = "0"
    cheap: dict[str, Any] = {"bcrypt_cost": 4, "hash_queue": 64, **per_address}
    return msgspec.structs.replace(made, smtp_port=mail_server.port, smtp_seconds=5, **cheap)


@pytest.fixture(scope="session")
async def app(settings: AuthSettings) -> Litestar:
    return create_app(settings)


@pytest.fixture(scope="session")
async def client(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    async with running(app) as http:
        yield http


@pytest.fixture(scope="session")
async def database(settings: AuthSettings) -> AsyncIterator[Database]:
    """A pool of the tests' own: what it sees is committed."""
    database = Database(settings, "auth")
    yield database
    await database.close()


@pytest.fixture
def registration() -> dict[str, str]:
    """The body of a registration that nobody has made yet."""
    name = f"driver_{uuid4().hex[:12]}"
    return {"username": name, "email": f"{name}@example.com", "password": "Slipstream44"}


@pytest.fixture
async def account(client: httpx.AsyncClient, registration: dict[str, str]) -> dict[str, str]:
    """A registration that was made."""
    response = await client.post("/api/v1/auth/register", json=registration)
    assert response.status_code == 201, response.text
    return registration


LogIn = Callable[[], Awaitable[dict[str, str]]]


@pytest.fixture
def log_in(client: httpx.AsyncClient, account: dict[str, str]) -> LogIn:
    """Start a session of the account."""

    async def start() -> dict[str, str]:
        body = {"username": account["username"], "password": account["password"]}
        response = await client.post("/api/v1/auth/login", json=body)
        assert response.status_code == 200, response.text
        tokens: dict[str, str] = response.json()
        return tokens

    return start


@pytest.fixture
async def fresh_settings(prepared: Servers, settings: AuthSettings) -> AsyncIterator[AuthSettings]:
    """Settings that name a database of one test's own, with an empty schema."""
    name = f"auth_{uuid4().hex}"
    admin = await asyncpg.connect(prepared.database_url)
    await admin.execute(f"CREATE DATABASE {name}")
    url = f"{prepared.database_url.rsplit('/', 1)[0]}/{name}"
    await migrate.bootstrap(url, {})
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE SCHEMA auth")
    await connection.close()
    await migrate.upgrade("auth", url)
    yield msgspec.structs.replace(settings, database_url=url)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


class Someone:
    """A user who is logged in."""

    def __init__(self, http: httpx.AsyncClient, account: dict[str, str], tokens: dict[str, str]) -> None:
        self.http = http
        self.username, self.email, self.password = (account[name] for name in ("username", "email", "password"))
        self.id = UUID(account["id"])
        self.tokens = tokens
        self.headers = {"Authorization": f"Bearer {tokens['access_token']}"}

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return await self.http.request(method, f"/api/v1{path}", json=body, headers=self.headers | headers)

    async def get(self, path: str) -> httpx.Response:
        return await self.call("GET", path)

    async def put(self, path: str, **fields: Any) -> httpx.Response:
        return await self.call("PUT", path, fields)

    async def log_in(self, password: str | None = None) -> httpx.Response:
        body = {"username": self.username, "password": password or self.password}
        return await self.http.post("/api/v1/auth/login", json=body)


Newcomer = Callable[..., Awaitable[Someone]]


@pytest.fixture
def newcomer(client: httpx.AsyncClient) -> Newcomer:
    """Register somebody new and log them in."""

    async def come(username: str | None = None, **fields: Any) -> Someone:
        name = username or f"driver_{uuid4().hex[:12]}"
        body = {"username": name, "email": f"{uuid4().hex}@example.com", "password": "Slipstream44", **fields}
        registered = await client.post("/api/v1/auth/register", json=body)
        assert registered.status_code == 201, registered.text
        started = await client.post("/api/v1/auth/login", json={"username": name, "password": body["password"]})
        assert started.status_code == 200, started.text
        return Someone(client, body | {"id": registered.json()["id"]}, started.json())

    return come


Events = Callable[..., Awaitable[list[Any]]]


@pytest.fixture
def published(database: Database) -> Events:
    """Read what was given to the outbox under a subject about somebody, oldest first."""

    async def read(subject: str, key: UUID) -> list[Any]:
        query = text("SELECT body FROM outbox WHERE subject = :subject AND key = :key ORDER BY id")
        async with database.transaction() as session:
            bodies = await session.scalars(query, {"subject": subject, "key": str(key)})
            return [msgspec.json.decode(body, type=REGISTRY[subject]) for body in bodies]

    return read
