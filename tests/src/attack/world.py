"""Every service and the gateway, wired as in production on real servers, in one process."""

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import uvicorn
from litestar import Litestar
from sqlalchemy import text

from auth.jwts import Bearer, access_token
from common import clock, migrate
from common.contracts import Event
from common.db import Database
from devstack.ports import free_port
from devstack.testing import SettingsMaker, eventually
from gateway.app import create_app as create_gateway
from gateway.settings import GatewaySettings

NO_LIMITS = {f"gateway_limit_{name}_per_minute": 0 for name in ("default", "analytics", "credentials", "user")}
GATEWAY = "gateway"
Changes = dict[str, dict[str, Any]]


@contextlib.asynccontextmanager
async def serving(app: Any, port: int) -> AsyncIterator[str]:
    """Serve an app as production does; give its URL."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        access_log=False,
        h11_max_incomplete_event_size=16 * 1024,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())

    async def started() -> bool:
        if task.done():
            await task
        return server.started

    await eventually(started, what="the server's start", seconds=30)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        if hasattr(app, "drain"):
            app.drain()
        server.should_exit = True
        await task


@dataclass
class World:
    """The running product."""

    apps: dict[str, Litestar] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    """Base URLs of the services and of ``gateway``."""
    databases: dict[str, Database] = field(default_factory=dict)
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=30))

    @property
    def settings(self) -> Any:
        """The settings of `auth`."""
        return self.apps["auth"].state.settings

    async def sign(self, bearer: Bearer, *, admin: bool = False) -> str:
        """Sign an access token with `auth`'s own key."""
        settings = self.settings
        return access_token(
            await self.apps["auth"].state.signing_keys.signer(),
            bearer,
            issuer=settings.token_issuer,
            audience=settings.token_admin_audience if admin else settings.token_audience,
            issued_at=clock.now(),
            life=settings.refresh_grace * 30,
        )

    async def rows(self, service: str, sql: str, **values: Any) -> list[Any]:
        """Run SQL as the service's role; return what it returns."""
        async with self.databases[service].transaction() as session:
            result: Any = await session.execute(text(sql), values)
            return list(result.all()) if result.returns_rows else []

    async def feed(self, service: str, *events: Event) -> None:
        """Hand a service events as its consumers get them."""
        consumers = importlib.import_module(f"{service}.consumers").consumers
        for event in events:
            for consumer in consumers.all:
                if isinstance(event, consumer.events):
                    async with self.databases[service].transaction() as session:
                        await consumer.handle(event, session)


@contextlib.asynccontextmanager
async def started(settings_for: SettingsMaker, changes: Changes) -> AsyncIterator[World]:
    """Start everything; ``changes`` are settings by service."""
    ports = {name: free_port() for name in (*migrate.SERVICES, GATEWAY)}
    world = World(urls={name: f"http://127.0.0.1:{port}" for name, port in ports.items()})
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(world.http.aclose)
        for service in migrate.SERVICES:
            kind = getattr(importlib.import_module(f"{service}.settings"), f"{service.capitalize()}Settings")
            settings = await settings_for(service, kind)
            settings = msgspec.structs.replace(settings, **_known(kind, world, changes.get(service, {})))
            world.apps[service] = importlib.import_module(f"{service}.app").create_app(settings)
            await stack.enter_async_context(serving(world.apps[service], ports[service]))
            world.databases[service] = Database(settings, service)
            stack.push_async_callback(world.databases[service].close)
        gateway = await settings_for(GATEWAY, GatewaySettings)
        own = _known(GatewaySettings, world, NO_LIMITS | changes.get(GATEWAY, {}))
        app = create_gateway(msgspec.structs.replace(gateway, **own))
        await stack.enter_async_context(serving(app, ports[GATEWAY]))
        yield world


def _known(kind: type[Any], world: World, changes: dict[str, Any]) -> dict[str, Any]:
    """Say where everybody is, that pools are small, and what is to differ."""
    urls = {f"{service}_url": url for service, url in world.urls.items() if f"{service}_url" in kind.__struct_fields__}
    return {**urls, "database_pool_size": 5, **changes}
