"""How long published events and the marks of consumed ones are kept, and their pruning."""

import asyncio
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from common import telemetry, topology
from common.db import Database

PAGE = 1000
PAGE_PAUSE_SECONDS = 0.1
STREAM_KEPT = timedelta(
    seconds=next(stream.max_age or 0 for stream in topology.STREAMS if stream.name == topology.EVENTS)
)
OUTBOX_KEPT = STREAM_KEPT + timedelta(days=5)
"""Longer than the stream keeps it, so that the outboxes can rebuild the stream."""

INBOX_KEPT = OUTBOX_KEPT + STREAM_KEPT
"""A rebuilt stream keeps the oldest event of an outbox as long again, and until then it can be delivered."""

_PRUNE_OUTBOX = f"""
WITH page AS (SELECT id, created_at, published_at FROM outbox WHERE id > :last ORDER BY id LIMIT {PAGE}),
gone AS (
    DELETE FROM outbox USING page WHERE outbox.id = page.id AND page.published_at < now() - CAST(:age AS interval)
    RETURNING 1
)
SELECT max(id), (SELECT count(*) FROM gone), coalesce(min(created_at) < now() - CAST(:age AS interval), false)
FROM page
"""  # noqa: S608 - a constant
_PRUNE_INBOX = f"""
DELETE FROM inbox WHERE (consumer, event_id) IN (
    SELECT consumer, event_id FROM inbox WHERE received_at < now() - CAST(:age AS interval)
    ORDER BY received_at LIMIT {PAGE}
)
"""  # noqa: S608 - a constant


async def prune(database: Database) -> None:
    """Delete events that the stream no longer has, and inbox rows of events that can never come again.

    In pages, with pauses between them. A page goes along the ids, so that no index on the date is needed.
    """
    last, old = 0, True
    while old:
        async with database.transaction() as session:
            page = await session.execute(text(_PRUNE_OUTBOX), {"last": last, "age": OUTBOX_KEPT})
            last, gone, old = page.one()
        telemetry.OUTBOX_PRUNED.inc(gone)
        await asyncio.sleep(PAGE_PAUSE_SECONDS)
    gone = PAGE
    while gone == PAGE:
        async with database.transaction() as session:
            result: Any = await session.execute(text(_PRUNE_INBOX), {"age": INBOX_KEPT})
        gone = result.rowcount
        telemetry.INBOX_PRUNED.inc(gone)
        await asyncio.sleep(PAGE_PAUSE_SECONDS)
