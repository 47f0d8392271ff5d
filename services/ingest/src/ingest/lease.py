"""One of all replicas: a PostgreSQL advisory lock on a connection of its own, which dies with its holder."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg

from common.db import Database

LOCK_KEY = 7_301_003
"""First half of the lock's key; the second is a hash of the schema."""
ASK_SECONDS = 1.0
"""How often those who wait ask for the lock: how long it takes until a dead holder's work goes on."""


class LeaseLostError(Exception):
    """The connection that held the lock is gone, and with it the lock."""


class Lease:
    """The right to be the one who works, for as long as the connection lives."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def confirm(self) -> None:
        """Raise `LeaseLostError` when the right is gone."""
        try:
            await self._connection.execute("SELECT 1")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise LeaseLostError(repr(error)) from error


@contextlib.asynccontextmanager
async def hold(database: Database) -> AsyncIterator[Lease]:
    """Wait until nobody else holds the lease, and give it back at the end of the block."""
    connection = await database.connect_raw("poller")
    try:
        take = "SELECT pg_try_advisory_lock($1, hashtext($2))"
        while not await connection.fetchval(take, LOCK_KEY, database.schema):  # noqa: ASYNC110 - nobody signals
            await asyncio.sleep(ASK_SECONDS)
        yield Lease(connection)
    finally:
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=1)
