"""Any order and any duplication of the versions of a result leaves the highest, and its points (E20)."""

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from common.contracts.ingest import ResultsAmended, ResultsSynced, SessionKind
from devstack.testing import rolled_back
from scoring import rounds
from scoring.consumers import consumers
from scoring.models import LEDGER, RESULTS, SCORED_ROUNDS

VERSIONS = 6
COPIES = 3


@st.composite
def deliveries(draw: st.DrawFn) -> list[tuple[int, bool, bool]]:
    """Up to six versions, each a correction or not, each up to three times, in any order, scored after some."""
    corrections = draw(st.lists(st.booleans(), min_size=1, max_size=VERSIONS))
    versions = [
        (version, correction)
        for version, correction in enumerate(corrections, start=1)
        for _ in range(draw(st.integers(1, COPIES)))
    ]
    return [(*version, draw(st.booleans())) for version in draw(st.permutations(versions))]


def version_of(story: Any, number: int, *, correction: bool = False) -> ResultsSynced | ResultsAmended:
    """A version whose order of drivers is its own."""
    luck = random.Random(number)  # noqa: S311 - no secret
    cars = story.cars(SessionKind.RACE, luck.sample(story.drivers, len(story.drivers)), seed=number)
    event = story.result(1, version=2 if correction else 1, cars=cars)
    changed: ResultsSynced | ResultsAmended = replace(event, result_version=number)
    return changed


async def tell(session: AsyncSession, event: Any) -> None:
    consumer = next(consumer for consumer in consumers.all if type(event) in consumer.events)
    async with session.begin_nested():
        await consumer.apply([event], session)


async def score(session: AsyncSession) -> None:
    while await rounds.score_next(session, 2026, league_events=0) is not None:
        pass


async def points(session: AsyncSession) -> list[tuple[Any, ...]]:
    columns = (LEDGER.c.kind, LEDGER.c.asset_id, LEDGER.c.component, LEDGER.c.points, LEDGER.c.result_version)
    return [tuple(row) for row in await session.execute(select(*columns).order_by(*columns[:3]))]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=deliveries())
async def test_whatever_comes_in_whatever_order_the_highest_version_is_scored(
    stage: Any, story: Any, told: list[tuple[int, bool, bool]]
) -> None:
    async with rolled_back(stage.database) as session:
        await tell(session, story.calendar())
        highest = 0
        for number, correction, scored_now in told:
            await tell(session, version_of(story, number, correction=correction))
            highest = max(highest, number)
            stored = (await session.execute(select(RESULTS.c.result_version))).scalars().all()
            assert stored == [highest], "a stale version must not overwrite"
            if scored_now:
                await score(session)
        await score(session)
        assert (await session.execute(select(SCORED_ROUNDS.c.sessions))).scalars().all() == [{"race": highest}]
        told_points = await points(session)
    async with rolled_back(stage.database) as session:
        await tell(session, story.calendar())
        await tell(session, version_of(story, highest))
        await score(session)
        assert told_points == await points(session)
        assert told_points
