"""What a laboratory serves over HTTP: routes that read, write and publish, get stuck, and tell the lag of the loop."""

import asyncio
import time
from uuid import UUID

from litestar import Litestar, get, post
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from common import outbox
from lab.events import LapTimed
from lab.tables import EFFECTS

LAG = {"worst": 0.0}
TICK_SECONDS = 0.02


async def watch_loop(_: Litestar) -> None:
    """Measure how late the event loop wakes."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + TICK_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        LAG["worst"] = max(LAG["worst"], loop.time() - due)


@get("/lag")
async def lag() -> float:
    """Give the worst lag in seconds since the last call."""
    worst, LAG["worst"] = LAG["worst"], 0.0
    return worst


@get("/laps")
async def count_laps(session: AsyncSession) -> int:
    """Count what was written."""
    return int(await session.scalar(text("SELECT count(*) FROM effects WHERE handler = 'http'")) or 0)


@post("/laps/{number:int}")
async def post_lap(number: int, session: AsyncSession) -> int:
    """Write a row and publish an event."""
    await session.execute(insert(EFFECTS).values(handler="http", key="car", number=number))
    await outbox.publish(session, LapTimed(car="car", number=number))
    return number


@get("/stuck/{seconds:float}")
async def get_stuck(seconds: float) -> None:
    """Block the event loop, as a call that should have been awaited does."""
    time.sleep(seconds)  # noqa: ASYNC251 - the fault that is wanted


@get("/laps/{car:uuid}")
async def one_lap(car: UUID) -> str:
    """Answer for any id."""
    return f"{car} is out"


ROUTES = [lag, count_laps, post_lap, get_stuck, one_lap]
