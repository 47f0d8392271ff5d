"""The books: every body of the upstream, and every run with its outcome."""

import zlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from prometheus_client import Counter
from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ingest.jolpica import Body
from ingest.models import raw_bodies, sync_runs

RUNS = Counter("ingest_sync_runs_total", "Runs by what they read and how they ended", ["kind", "outcome"])
RUNS_KEPT = timedelta(days=90)
ERROR_CHARACTERS = 500


class Outcome(StrEnum):
    """How a run ended."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    EMPTY = "empty"
    FAILED = "failed"


async def archive(session: AsyncSession, bodies: Iterable[Body], fetched_at: datetime) -> None:
    """Keep bodies as they came; one that is already there is the same."""
    for body in bodies:
        row = insert(raw_bodies).values(
            content_hash=body.content_hash,
            path=body.path,
            content=zlib.compress(body.content),
            fetched_at=fetched_at,
        )
        await session.execute(row.on_conflict_do_nothing())


async def record_run(
    session: AsyncSession,
    what: str,
    started_at: datetime,
    finished_at: datetime,
    outcome: Outcome,
    *,
    changes: int = 0,
    error: str | None = None,
) -> None:
    """Write down a run."""
    row = insert(sync_runs).values(
        what=what,
        started_at=started_at,
        finished_at=finished_at,
        outcome=outcome,
        changes=changes,
        error=error[:ERROR_CHARACTERS] if error else None,
    )
    await session.execute(row)
    RUNS.labels(what.partition(":")[0], outcome).inc()


async def forget_runs(session: AsyncSession, now: datetime) -> None:
    """Drop what nobody will ask about any more."""
    await session.execute(delete(sync_runs).where(sync_runs.c.started_at < now - RUNS_KEPT))
