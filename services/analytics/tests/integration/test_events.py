"""From the stream to the answer."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select

from analytics.app import create_app
from analytics.models import metadata
from analytics.settings import AnalyticsSettings
from common import topology
from common.contracts import Event, encode
from common.db import Database
from devstack.testing import eventually, running

SEASON = 2951
"""One that no other test has, for the stream holds the events of them all."""

STANDINGS = "/api/v1/analytics/standings/drivers"


@pytest.fixture
async def listening(
    settings: AnalyticsSettings,
    database: Database,  # noqa: ARG001 - empties it
) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(settings)) as http:
        yield http


async def publish(settings: AnalyticsSettings, *events: Event) -> set[UUID]:
    """Publish each twice under one id, as happens when JetStream has forgotten it; return the ids."""
    ids = set()
    client = await topology.connect(settings.nats_url, "test")
    js = client.jetstream()
    for event in events:
        event_id = uuid4()
        ids.add(event_id)
        headers = {
            "ce-id": str(event_id),
            "ce-type": event.subject,
            "ce-source": f"/paddock/{event.source}",
            "ce-subject": event.key(),
            "ce-time": "2026-03-08T05:48:12Z",
        }
        for _ in range(2):
            await js.publish(event.subject, encode(event), headers=headers)
    await client.close()
    return ids


async def test_events_backwards_and_twice_make_the_standings(
    listening: httpx.AsyncClient, settings: AnalyticsSettings, database: Database, make: Any
) -> None:
    race = make.race(SEASON, 1)
    events = [
        make.season(SEASON, races=[race], simulated=True),
        make.result(race, "VER NOR PIA"),
        make.result(race, "NOR PIA", version=2, out="VER"),
    ]
    ids = await publish(settings, *events[::-1])

    async def handled() -> bool:
        async with database.transaction() as session:
            inbox = metadata.tables["inbox"]
            return ids <= set(await session.scalars(select(inbox.c.event_id)))

    await eventually(handled, what="the effect of every event")
    body = (await listening.get(STANDINGS, params={"season": SEASON})).json()
    assert [(row["position"], row["driver_id"], row["points"]) for row in body["standings"]] == [
        (1, "nor", "25"),
        (2, "pia", "18"),
        (None, "ver", "0"),
    ]
    assert (body["simulated"], body["round"]) == (True, 1)


async def test_a_service_that_listens_is_ready(listening: httpx.AsyncClient) -> None:
    async def ready() -> bool:
        return (await listening.get("/health/ready")).status_code == 200

    await eventually(ready, what="readiness")
