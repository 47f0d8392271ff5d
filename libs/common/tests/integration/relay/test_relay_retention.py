"""What is pruned is older than anything that could ask for it (E27)."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from common import relay, retention, telemetry, topology
from common.retention import INBOX_KEPT, OUTBOX_KEPT, STREAM_KEPT, prune
from devstack.testing import eventually

ROWS = """
INSERT INTO outbox (event_id, subject, key, source, body, created_at, deliver_at, published_at)
SELECT gen_random_uuid(), 'laps.driven', n::text, 'auth', '', at, at, CASE WHEN published THEN at END
FROM generate_series(1, :count) AS n, LATERAL (SELECT now() - CAST(:age AS interval) AS at) AS age
CROSS JOIN (SELECT CAST(:published AS boolean) AS published) AS p
"""
MARKS = """
INSERT INTO inbox (consumer, event_id, received_at)
SELECT 'c', gen_random_uuid(), now() - CAST(:age AS interval) FROM generate_series(1, :count)
"""
MARGIN = OUTBOX_KEPT - STREAM_KEPT


async def store(track: Any, query: str, **values: Any) -> None:
    async with track.transaction() as session:
        await session.execute(text(query), values)


async def counts(track: Any) -> tuple[int, int]:
    return tuple((await track.rows("SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM inbox)"))[0])


def test_the_stream_forgets_first_then_the_outbox_then_the_inbox() -> None:
    events = next(stream for stream in topology.STREAMS if stream.name == topology.EVENTS)
    assert events.max_age == STREAM_KEPT.total_seconds()
    assert OUTBOX_KEPT.days == 35
    assert INBOX_KEPT >= OUTBOX_KEPT + STREAM_KEPT, "an event can be put back into the stream on its last day"


async def test_only_published_rows_beyond_their_age_are_pruned_in_pages(
    track: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE_PAUSE_SECONDS", 0)
    pruned, unmarked = telemetry.OUTBOX_PRUNED._value.get(), telemetry.INBOX_PRUNED._value.get()
    await store(track, ROWS, count=retention.PAGE, age=OUTBOX_KEPT + MARGIN, published=False)
    await store(track, ROWS, count=2 * retention.PAGE + 10, age=OUTBOX_KEPT + MARGIN, published=True)
    await store(track, ROWS, count=20, age=OUTBOX_KEPT - MARGIN / 100, published=True)
    await store(track, MARKS, count=retention.PAGE + 30, age=INBOX_KEPT + MARGIN)
    await store(track, MARKS, count=40, age=INBOX_KEPT - MARGIN / 100)
    await prune(track.database)
    assert await counts(track) == (retention.PAGE + 20, 40)
    assert telemetry.OUTBOX_PRUNED._value.get() - pruned == 2 * retention.PAGE + 10
    assert telemetry.INBOX_PRUNED._value.get() - unmarked == retention.PAGE + 30


async def test_a_young_outbox_is_looked_at_no_further_than_its_first_page(
    track: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = []
    sleep = asyncio.sleep

    async def counted(seconds: float) -> None:
        pages.append(seconds)
        await sleep(0)

    await store(track, ROWS, count=3 * retention.PAGE, age=MARGIN, published=True)
    monkeypatch.setattr(asyncio, "sleep", counted)
    await prune(track.database)
    assert len(pages) == 2, "one of the outbox and one of the inbox"
    assert await counts(track) == (3 * retention.PAGE, 0)


async def test_the_relay_that_holds_the_first_partition_prunes_again_and_again(
    track: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "FIRST_PRUNE_SECONDS", 0.1)
    monkeypatch.setattr(relay, "PRUNE_SECONDS", 0.1)
    monkeypatch.setattr(retention, "PAGE_PAUSE_SECONDS", 0)

    async def pruned() -> bool:
        return await counts(track) == (0, 0)

    track.relay()
    for _ in range(2):
        await store(track, ROWS, count=10, age=OUTBOX_KEPT + MARGIN, published=True)
        await store(track, MARKS, count=10, age=INBOX_KEPT + MARGIN)
        await eventually(pruned, seconds=20, what="empty tables")
