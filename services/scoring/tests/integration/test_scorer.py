"""The background task: it wakes when told, and outlives the database's connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
from sqlalchemy import text

from devstack.testing import Servers, eventually
from scoring.scorer import LOCK_KEY, Scorer


@contextlib.asynccontextmanager
async def at_work(stage: Any, settings: Any) -> AsyncIterator[Scorer]:
    scorer = Scorer(stage.database, settings)
    task = asyncio.create_task(scorer.run())
    try:
        yield scorer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def scored(stage: Any, number: int) -> Any:
    async def probe() -> bool:
        return bool(await stage.rows("SELECT 1 FROM scored_rounds WHERE round = :number", number=number))

    return probe


async def test_the_scorer_works_off_what_waited_and_what_comes(stage: Any, story: Any, settings: Any) -> None:
    await stage.tell(story.calendar(), story.result(1))
    async with at_work(stage, settings):
        await eventually(scored(stage, 1), what="the round that waited")
        await stage.tell(story.result(2))
        await eventually(scored(stage, 2), what="the round that came")


async def test_the_scorer_goes_on_after_its_connections_are_cut(
    stage: Any, story: Any, settings: Any, prepared: Servers
) -> None:
    admin = await asyncpg.connect(prepared.database_url)
    await stage.tell(story.calendar(), story.result(1))
    async with at_work(stage, settings):
        await eventually(scored(stage, 1), what="the first round")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'paddock_scoring'")
        await stage.tell(story.result(2))
        await eventually(scored(stage, 2), what="the round after the cut")
    await admin.close()


async def test_marks_are_left_alone_while_another_replica_scores_the_season(
    stage: Any, story: Any, settings: Any
) -> None:
    await stage.tell(story.calendar(), story.result(1))
    other = Scorer(stage.database, settings)
    async with stage.database.transaction() as session:
        await session.execute(text(f"SELECT pg_advisory_xact_lock({LOCK_KEY}, {story.season})"))
        assert await other.step(story.season) is None
        assert await stage.rows("SELECT 1 FROM dirty_rounds LIMIT 1")
    assert await other.step(story.season) == 1


async def test_a_season_without_marks_needs_no_work(stage: Any, settings: Any) -> None:
    assert await Scorer(stage.database, settings).step(1999) is None
