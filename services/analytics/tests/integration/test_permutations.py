"""Any order and any duplication of the versions of a result leaves the highest, at every moment (E20)."""

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import select

from analytics.consumers import consumers
from analytics.models import CARS, RESULTS
from common.contracts.ingest import ResultsAmended, ResultsSynced
from common.db import Database
from devstack.testing import rolled_back

VERSIONS = 6
COPIES = 3


@st.composite
def deliveries(draw: st.DrawFn) -> list[tuple[int, bool]]:
    """Up to six versions, each a correction or not, each up to three times, in any order."""
    corrections = draw(st.lists(st.booleans(), min_size=1, max_size=VERSIONS))
    versions = [
        (version, correction)
        for version, correction in enumerate(corrections, start=1)
        for _ in range(draw(st.integers(1, COPIES)))
    ]
    return draw(st.permutations(versions))


def version_of(make: Any, number: int, *, correction: bool) -> ResultsSynced | ResultsAmended:
    """A version whose order of drivers is its own."""
    luck = random.Random(number)  # noqa: S311 - no secret
    order = luck.sample(["VER", "NOR", "PIA", "LEC"], luck.randint(2, 4))
    event = make.result(make.race(2026, 1), " ".join(order), version=2 if correction else 1)
    changed: ResultsSynced | ResultsAmended = replace(event, result_version=number)
    return changed


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=deliveries())
async def test_whatever_comes_in_whatever_order_the_highest_version_stands(
    database: Database, make: Any, told: list[tuple[int, bool]]
) -> None:
    highest = 0
    async with rolled_back(database) as session:
        for number, correction in told:
            event = version_of(make, number, correction=correction)
            handle = next(consumer.handle for consumer in consumers.all if type(event) in consumer.events)
            async with session.begin_nested():
                await handle(event, session)
            highest = max(highest, number)
            stored = (await session.execute(select(RESULTS.c.result_version))).scalars().all()
            assert stored == [highest], "a stale version must not overwrite"
        cars = (await session.execute(select(CARS.c.driver_id).order_by(CARS.c.place))).scalars().all()
    expected = version_of(make, highest, correction=True).classification
    assert cars == [car.driver_id for car in expected]
