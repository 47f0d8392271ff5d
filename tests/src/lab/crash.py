"""Points at which a process may die, numbered as they are passed: in the libraries below the product, not in it."""

import os
import re
from pathlib import Path
from typing import Any

import asyncpg
from nats.aio.msg import Msg
from sqlalchemy import Engine, Pool, event

from lab.faults import DIED, put

RECORD = "LAB_POINTS"
"""File that the names of the points are written to, one on each line."""
CRASH_AT = "LAB_CRASH_AT"
"""Number of the point to die at; without it nobody dies."""

WRITE = re.compile(r"^(?:WITH .*?\b)?(?:INSERT INTO|DELETE FROM|UPDATE) \"?(\w+)")


class Points:
    """Counts the points that a process passes."""

    def __init__(self, record: Path, crash_at: int | None) -> None:
        self._record = record
        self._crash_at = crash_at
        self._passed = 0

    def reached(self, name: str) -> None:
        """Note a point; die when it is the one."""
        with self._record.open("a", encoding="utf-8") as record:
            record.write(f"{name}\n")
        if self._passed == self._crash_at:
            os._exit(DIED)
        self._passed += 1


def points() -> Points:
    """Read from the environment what to do."""
    at = os.environ.get(CRASH_AT)
    return Points(Path(os.environ[RECORD]), int(at) if at else None)


def name_of(statement: str) -> str | None:
    """Name what a statement writes; None for one that only reads."""
    written = WRITE.match(" ".join(statement.split()))
    return f"write {written[1]}" if written else None


def in_consumers() -> None:
    """Number the points of every transaction and of every acknowledgement."""
    passed = points()
    committed: set[int] = set()

    def begin(_: Any) -> None:
        passed.reached("begin")

    def after_statement(_: Any, __: Any, statement: str, *___: Any) -> None:
        if name := name_of(statement):
            passed.reached(name)

    def commit(connection: Any) -> None:
        passed.reached("before commit")
        committed.add(id(connection.connection.dbapi_connection))

    def checkin(dbapi_connection: Any, _: Any) -> None:
        if id(dbapi_connection) in committed:
            committed.discard(id(dbapi_connection))
            passed.reached("committed")

    event.listen(Engine, "begin", begin)
    event.listen(Engine, "after_cursor_execute", after_statement)
    event.listen(Engine, "commit", commit)
    event.listen(Pool, "checkin", checkin)
    acknowledge = Msg.ack_sync

    async def ack_sync(message: Msg, timeout: float = 1) -> Any:  # noqa: ASYNC109 - as the library has it
        answer = await acknowledge(message, timeout)
        passed.reached("acknowledged")
        return answer

    acknowledge_unheard = Msg.ack

    async def ack(message: Msg) -> None:
        await acknowledge_unheard(message)
        passed.reached("acknowledged")

    put(Msg, "ack_sync", ack_sync)
    put(Msg, "ack", ack)


def in_relay() -> None:
    """Number the points of a relay's batch: selected, published, marked."""
    passed = points()
    fetch, execute = asyncpg.Connection.fetch, asyncpg.Connection.execute

    async def fetching(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
        rows = await fetch(self, query, *arguments, **options)
        if rows and "event_id" in query and "FROM outbox" in query:
            passed.reached("selected")
        return rows

    async def executing(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
        marks = "SET published_at" in query
        if marks:
            passed.reached("published")
        answer = await execute(self, query, *arguments, **options)
        if marks:
            passed.reached("marked")
        return answer

    asyncpg.Connection.fetch = fetching
    asyncpg.Connection.execute = executing
