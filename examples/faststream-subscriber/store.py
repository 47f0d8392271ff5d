"""What this subscriber has done: the ids of events, in the same database and transaction as their effects."""

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

Handler = Callable[[Any, str, sqlite3.Connection], Awaitable[None]]
"""Takes an event, its id, and the transaction to write to."""


class Store:
    """A database in one file. One event is processed at a time, so one connection is enough."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path)
        self._connection.executescript("""
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = FULL;
            CREATE TABLE IF NOT EXISTS done (event_id TEXT PRIMARY KEY);
            CREATE TABLE IF NOT EXISTS journal (event_id TEXT NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL);
        """)

    async def once(self, event_id: str, event: object, handle: Handler) -> None:
        """Let ``handle`` process the event, unless that was done before; its effect commits with the id, or neither."""
        with self._connection as transaction:
            mark = transaction.execute("INSERT OR IGNORE INTO done VALUES (?)", (event_id,))
            if mark.rowcount == 1:
                await handle(event, event_id, transaction)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
