"""Consumers of the tests, made by functions that a worker calls by name."""

import asyncio
import os

import asyncpg
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from common import outbox
from common.consumers import Consumers
from common.errors import UnavailableError
from lab.events import SERVICE, ChunkBooked, ChunkScored, LapDriven, LapTimed
from lab.tables import EFFECTS

TEAMS_OF_CHUNK = 100
STEP_SECONDS = 0.25
"""A slow handler works in the database; one that sat in an open transaction would be thrown out after 10 s."""


class Notebook:
    """Writes what a handler tries, outside of its transaction."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()

    async def note(self, handler: str, key: str, number: int, step: str) -> None:
        """Write a row that stays."""
        async with self._lock:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._url, timeout=5, server_settings={"search_path": SERVICE})
            await self._connection.execute(
                "INSERT INTO runs (handler, key, number, step, process) VALUES ($1, $2, $3, $4, $5)",
                *(handler, key, number, step, os.getpid()),
            )


async def write_effect(session: AsyncSession, handler: str, key: str, number: int) -> None:
    """Do something that would show if it were done twice."""
    await session.execute(insert(EFFECTS).values(handler=handler, key=key, number=number))


def storm(pause: float = 0.0) -> Consumers:
    """Book the points of a chunk of a hundred teams and say so."""
    consumers = Consumers(SERVICE)

    @consumers.on(ChunkScored)
    async def book_chunk(event: ChunkScored, session: AsyncSession) -> None:
        first = event.number * TEAMS_OF_CHUNK
        await session.execute(
            text(
                "UPDATE team_points SET points = points + (:chunk * 31 + team * 17) % 97 + 1 "
                "WHERE team >= :first AND team < :last"
            ),
            {"chunk": event.number, "first": first, "last": first + TEAMS_OF_CHUNK},
        )
        await write_effect(session, "storm", event.key(), event.number)
        await asyncio.sleep(pause)
        total = await session.scalar(
            text("SELECT sum(points) FROM team_points WHERE team >= :first AND team < :last"),
            {"first": first, "last": first + TEAMS_OF_CHUNK},
        )
        await outbox.publish(session, ChunkBooked(number=event.number, total=int(total or 0)))

    return consumers


def plain() -> Consumers:
    """Write each lap and each time once."""
    consumers = Consumers(SERVICE)

    @consumers.on(LapDriven)
    async def drive(event: LapDriven, session: AsyncSession) -> None:
        await write_effect(session, "drive", event.car, event.number)

    @consumers.on(LapTimed)
    async def clock(event: LapTimed, session: AsyncSession) -> None:
        await write_effect(session, "clock", event.car, event.number)

    @consumers.on(ChunkScored)
    async def count(event: ChunkScored, session: AsyncSession) -> None:
        await write_effect(session, "count", event.key(), event.number)

    return consumers


def poison(url: str) -> Consumers:
    """Fail for ever on cars named ``bad…``, and write the others' laps."""
    consumers = Consumers(SERVICE)
    notebook = Notebook(url)

    @consumers.on(LapDriven)
    async def drive(event: LapDriven, session: AsyncSession) -> None:
        await notebook.note("drive", event.car, event.number, "begin")
        await write_effect(session, "drive", event.car, event.number)
        if event.car.startswith("bad"):
            raise ZeroDivisionError("the gearbox is gone")

    return consumers


def slow(url: str, seconds: float) -> Consumers:
    """Two handlers that take their time and write down when they begin and end."""
    consumers = Consumers(SERVICE)
    notebook = Notebook(url)

    async def linger(handler: str, event: LapDriven, session: AsyncSession) -> None:
        await notebook.note(handler, event.car, event.number, "begin")
        await write_effect(session, handler, event.car, event.number)
        try:
            for _ in range(int(seconds / STEP_SECONDS)):
                await session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": STEP_SECONDS})
        except asyncio.CancelledError:
            await asyncio.shield(notebook.note(handler, event.car, event.number, "cancelled"))
            raise
        await notebook.note(handler, event.car, event.number, "end")

    @consumers.on(LapDriven)
    async def linger_here(event: LapDriven, session: AsyncSession) -> None:
        await linger("here", event, session)

    @consumers.on(LapDriven)
    async def linger_there(event: LapDriven, session: AsyncSession) -> None:
        await linger("there", event, session)

    return consumers


def in_order(partitions: int, every: int) -> Consumers:
    """Write laps in their order; each lap whose turn it is fails the first time it comes to a process."""
    consumers = Consumers(SERVICE)
    failed: set[tuple[str, int]] = set()

    @consumers.ordered("order", LapDriven, partitions=partitions)
    async def drive(event: LapDriven, session: AsyncSession) -> None:
        lap = (event.car, event.number)
        if (event.number * 31 + int(event.car)) % every == 0 and lap not in failed:
            failed.add(lap)
            raise UnavailableError("rain", "the track is wet")
        await write_effect(session, "drive", event.car, event.number)

    return consumers
