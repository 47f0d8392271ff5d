"""Health: alive touches nothing outside, ready asks PostgreSQL, and the readable page tells of everything.

What is asked outside is asked at most every 2 s, however many want to know.
NATS away leaves the API ready, for the outbox absorbs it; the readable page says that consumers are degraded.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from common.db import Database, is_outage
from common.messaging import Bus

CHECK_SECONDS = 1.0
FRESH_SECONDS = 2.0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One dependency and how long it took to answer."""

    name: str
    ok: bool
    milliseconds: float
    detail: str | None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A process and what it stands on."""

    service: str
    status: Literal["ok", "degraded", "down"]
    checks: list[Check]


class Inspection:
    """Health that is looked at anew when somebody asks and the last look is no longer fresh."""

    def __init__(self, inspect: Callable[[], Awaitable[Health]]) -> None:
        self._inspect = inspect
        self._one_at_a_time = asyncio.Lock()
        self._last: Health | None = None
        self._looked_at = 0.0

    async def health(self) -> Health:
        """Return what is known; who comes while somebody looks waits for the same answer."""
        async with self._one_at_a_time:
            if self._last is None or time.monotonic() - self._looked_at > FRESH_SECONDS:
                self._last = await self._inspect()
                self._looked_at = time.monotonic()
            return self._last


def routes(service: str, database: Database, bus: Bus | None) -> list[HTTPRouteHandler]:
    """Build the three health routes of a service."""

    async def inspect() -> Health:
        checks = [await _database(database)]
        status: Literal["ok", "degraded", "down"] = "ok" if checks[0].ok else "down"
        if bus:
            checks.append(Check(name="consumers", ok=bus.connected, milliseconds=0.0, detail=bus.error))
            if status == "ok" and not bus.connected:
                status = "degraded"
        return Health(service=service, status=status, checks=checks)

    inspection = Inspection(inspect)

    @get("/health/live", include_in_schema=False)
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @get("/health/ready", include_in_schema=False)
    async def ready() -> Response[Health]:
        health = await inspection.health()
        started = bus is None or bus.attached
        return Response(health, status_code=200 if health.status != "down" and started else 503)

    @get("/health", include_in_schema=False)
    async def readable() -> Health:
        return await inspection.health()

    return [live, ready, readable]


async def _database(database: Database) -> Check:
    started = time.perf_counter()
    detail = None
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await database.ping()
    except TimeoutError:
        detail = "no answer within a second"
    except Exception as error:
        if not is_outage(error):
            raise
        detail = type(error).__name__
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    return Check(name="database", ok=detail is None, milliseconds=milliseconds, detail=detail)
