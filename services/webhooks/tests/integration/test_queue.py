"""The queue itself: whoever asks at once gets different work, and who lost his lease has nothing to say."""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from webhooks import queue
from webhooks.domain import Attempt, Failure, Patience
from webhooks.queue import Job
from webhooks.settings import WebhooksSettings
from webhooks.signing import Seal, new_key

if TYPE_CHECKING:
    from services.webhooks.tests.integration.conftest import World

PATIENCE = Patience(failures=20, seconds=86_400.0)
DELIVERED = Attempt(status_code=204, duration_ms=1, error=None)
FAILED = Attempt(status_code=500, duration_ms=1, error=Failure.STATUS)


@pytest.fixture
async def endpoints(world: "World", settings: WebhooksSettings) -> list[UUID]:
    """Three endpoints that want race.finished."""
    made = [uuid4() for _ in range(3)]
    for endpoint_id in made:
        await world.execute(
            "INSERT INTO endpoints (endpoint_id, user_id, url, description, format, subjects, secret_sealed, failures)"
            " VALUES (:id, :id, 'https://example.com', '', 'cloudevents', '{race.finished}', :sealed, 0)",
            id=endpoint_id,
            sealed=Seal(settings.encryption_secret).close(endpoint_id, new_key()),
        )
    return made


async def claim(world: "World", *, free: int, each: int = 100, flying: dict[UUID, int] | None = None) -> list[Job]:
    async with world.database.transaction() as session:
        return await queue.claim(session, flying or {}, free=free, each=each, lease_seconds=60)


async def record(world: "World", job: Job, attempt: Attempt, pause: float | None = None) -> None:
    async with world.database.transaction() as session:
        await queue.record(session, job, attempt, pause, PATIENCE)


@pytest.mark.usefixtures("endpoints")
async def test_eight_who_ask_at_once_never_get_the_same(world: "World") -> None:
    for _ in range(40):
        await world.happen()

    async def work() -> list[UUID]:
        found = []
        while jobs := await claim(world, free=5):
            found += [job.delivery_id for job in jobs]
        return found

    shares = await asyncio.gather(*(work() for _ in range(8)))
    claimed = Counter(delivery_id for share in shares for delivery_id in share)
    assert set(claimed.values()) == {1}
    rest = await claim(world, free=1000)
    assert len(claimed) + len(rest) == 120


async def test_everybody_has_his_turn_however_many_wait_for_another(world: "World", endpoints: list[UUID]) -> None:
    await world.execute(
        "UPDATE endpoints SET disabled_at = now(), disabled_reason = 'owner' WHERE endpoint_id <> :id", id=endpoints[0]
    )
    for _ in range(20):
        await world.happen()
    await world.execute("UPDATE endpoints SET disabled_at = NULL, disabled_reason = NULL")
    await world.happen()
    assert {job.endpoint_id for job in await claim(world, free=3)} == set(endpoints)


async def test_what_is_under_way_counts(world: "World", endpoints: list[UUID]) -> None:
    for _ in range(5):
        await world.happen()
    jobs = await claim(world, free=100, each=2, flying={endpoints[0]: 2, endpoints[1]: 1})
    assert Counter(job.endpoint_id for job in jobs) == {endpoints[1]: 1, endpoints[2]: 2}


@pytest.mark.usefixtures("endpoints")
async def test_who_lost_his_lease_changes_nothing(world: "World") -> None:
    await world.happen()
    late = (await claim(world, free=1))[0]
    await world.execute("UPDATE deliveries SET due_at = now() WHERE delivery_id = :id", id=late.delivery_id)
    jobs = await claim(world, free=3)
    heir = next(job for job in jobs if job.delivery_id == late.delivery_id)
    await record(world, heir, DELIVERED)
    await record(world, late, FAILED, pause=5.0)
    rows = await world.rows("SELECT status, tries FROM deliveries WHERE delivery_id = :id", id=late.delivery_id)
    assert rows == [("delivered", 1)]
    assert await world.rows("SELECT status_code FROM delivery_attempts") == [(204,)]
    assert await world.rows("SELECT max(failures) FROM endpoints") == [(0,)]


@pytest.mark.usefixtures("endpoints")
async def test_the_next_delivery_is_known_to_the_second(world: "World") -> None:
    async with world.database.transaction() as session:
        assert await queue.next_in(session) is None
    await world.happen()
    for job, pause in zip(await claim(world, free=3), (30.0, 300.0, None), strict=True):
        await record(world, job, FAILED, pause)
    async with world.database.transaction() as session:
        assert await queue.next_in(session) == pytest.approx(30, abs=3)


async def test_an_endpoint_that_was_removed_meanwhile_is_nobodys_trouble(world: "World", endpoints: list[UUID]) -> None:
    await world.happen()
    jobs = await claim(world, free=3)
    await world.execute("DELETE FROM endpoints")
    for job in jobs:
        await record(world, job, FAILED, 5.0)
    assert {job.endpoint_id for job in jobs} == set(endpoints)
    assert await world.rows("SELECT 1 FROM delivery_attempts") == []
