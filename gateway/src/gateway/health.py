"""Health: the gateway is ready as soon as it listens, whoever is away behind it; ``/health`` tells of everybody."""

import asyncio
import time
from collections.abc import Awaitable

import aiohttp
from litestar import get
from litestar.handlers import HTTPRouteHandler

from common.health import CHECK_SECONDS, Check, Health, Inspection
from gateway.feed import Feed
from gateway.limits import Limiter
from gateway.proxy import Forwarder


def routes(services: list[str], forwarder: Forwarder, limiter: Limiter, feed: Feed) -> list[HTTPRouteHandler]:
    """Build the three health routes."""

    @get("/health/live", include_in_schema=False)
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @get("/health/ready", include_in_schema=False)
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    async def inspect() -> Health:
        checks = await asyncio.gather(
            *(_check(service, _service(forwarder, service)) for service in services),
            _check("redis", _redis(limiter)),
        )
        detail = None if feed.connected else "not connected; live streams wait"
        every = [*checks, Check(name="nats", ok=feed.connected, milliseconds=0.0, detail=detail)]
        return Health(service="gateway", status="ok" if all(check.ok for check in every) else "degraded", checks=every)

    inspection = Inspection(inspect)

    @get("/health", include_in_schema=False)
    async def readable() -> Health:
        return await inspection.health()

    return [live, ready, readable]


async def _check(name: str, probe: Awaitable[str | None]) -> Check:
    """Run a probe, which tells what is wrong or nothing, within a second."""
    started = time.perf_counter()
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            detail = await probe
    except TimeoutError:
        detail = "no answer within a second"
    except aiohttp.ClientError as error:
        detail = type(error).__name__
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    return Check(name=name, ok=detail is None, milliseconds=milliseconds, detail=detail)


async def _service(forwarder: Forwarder, service: str) -> str | None:
    async with forwarder.session.get(forwarder.url(service, "/health/ready")) as response:
        return None if response.ok else f"answers {response.status}"


async def _redis(limiter: Limiter) -> str | None:
    return None if await limiter.reachable() else "no answer; limits are counted by each gateway alone"
