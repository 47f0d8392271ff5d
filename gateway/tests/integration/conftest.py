"""A gateway as it runs, before one small upstream that plays every service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from redis.asyncio import Redis

from common import migrate
from common.settings import Environment
from devstack.testing import Servers, TokenMaker, eventually
from gateway.app import create_app
from gateway.settings import GatewaySettings

LIMITS = ("default", "analytics", "credentials", "user", "admin")
NO_LIMITS: dict[str, Any] = {f"gateway_limit_{name}_per_minute": 0 for name in LIMITS}


class Upstream:
    """An ASGI app that says what it was asked; the first segment of the path is the service."""

    def __init__(self, tokens: TokenMaker) -> None:
        self.tokens = tokens
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.documents: dict[str, dict[str, Any]] = {}
        self.strangers_to: set[str] = set()
        """Leagues whose leaderboard is refused."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        service, path = scope["path"].removeprefix("/").split("/", 1)
        length = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            length += len(message.get("body", b""))
            more = message.get("more_body", False)
        seen = {
            "service": service,
            "method": scope["method"],
            "path": scope["raw_path"].decode().removeprefix(f"/{service}"),
            "query": scope["query_string"].decode(),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
            "length": length,
        }
        self.requests.append(seen)
        status, headers, body = await self._answer(service, path, seen, receive)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for at in range(0, len(body), 256 * 1024):
            await send({"type": "http.response.body", "body": body[at : at + 256 * 1024], "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(
        self, service: str, path: str, seen: dict[str, Any], receive: Any
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        json = [(b"content-type", b"application/json")]
        if path == ".well-known/jwks.json":
            return 200, json, msgspec.json.encode(self.tokens.jwks)
        if path == "schema/openapi.json":
            known = self.documents.get(service)
            return (200, json, msgspec.json.encode(known)) if known else (404, json, b"{}")
        if path.endswith("/leaderboard") and "leagues" in path:
            authorised = any(name == "authorization" for name, _ in seen["headers"])
            refused = 403 if path.split("/")[-2] in self.strangers_to else 200
            return (refused if authorised else 401), json, b"{}"
        match seen["query"]:
            case "do=large":
                return 200, [(b"content-type", b"application/octet-stream")], b"x" * 3_000_000
            case "do=hop":
                own = [(b"connection", b"x-inner, close"), (b"x-inner", b"secret"), (b"keep-alive", b"timeout=5")]
                own += [(b"server", b"inner"), (b"x-request-id", b"forged-by-service"), (b"x-outer", b"kept")]
                return 409, json + own, b"{}"
            case "do=policy":
                json.append((b"content-security-policy", b"default-src 'none'; script-src 'sha256-x'"))
            case "do=hang":
                while (await receive())["type"] != "http.disconnect":
                    pass
        return 200, json, msgspec.json.encode(seen)


@contextlib.asynccontextmanager
async def serving(app: Any, port: int = 0) -> AsyncIterator[str]:
    """Serve an app as in production, on a port of the system's choice, and give its URL."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_config=None, server_header=False, proxy_headers=False, access_log=False
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())

    async def started() -> bool:
        if task.done():
            await task
        return server.started

    await eventually(started, what="the server's start")
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        if hasattr(app, "drain"):
            app.drain()
        server.should_exit = True
        await task


@pytest.fixture
async def upstream(tokens: TokenMaker) -> AsyncIterator[Upstream]:
    """The services."""
    app = Upstream(tokens)
    async with serving(app) as app.url:
        yield app


Starter = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def settings(prepared: Servers, upstream: Upstream) -> GatewaySettings:
    """Settings of a gateway without limits; its counts in Redis are forgotten."""
    redis = Redis.from_url(prepared.redis_url)
    if keys := [key async for key in redis.scan_iter("limit:*")]:
        await redis.delete(*keys)
    await redis.aclose()
    urls: dict[str, Any] = {f"{name}_url": f"{upstream.url}/{name}" for name in migrate.SERVICES}
    return GatewaySettings(
        paddock_env=Environment.TEST,
        nats_url=prepared.nats_url,
        redis_url=prepared.redis_url,
        **urls,
        **NO_LIMITS,
    )


@pytest.fixture
async def start(settings: GatewaySettings) -> AsyncIterator[Starter]:
    """Start gateways whose settings differ as said; each call gives a client of a new one."""
    async with contextlib.AsyncExitStack() as stack:

        async def run(**changes: Any) -> httpx.AsyncClient:
            app = create_app(msgspec.structs.replace(settings, **changes))
            url = await stack.enter_async_context(serving(app))
            return await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=10))

        yield run


@pytest.fixture
async def client(start: Starter) -> httpx.AsyncClient:
    """A client of a gateway without limits."""
    return await start()


@pytest.fixture(name="serving")
def serving_fixture() -> Callable[..., contextlib.AbstractAsyncContextManager[str]]:
    """The function `serving`, for servers of a test's own."""
    return serving
