"""From the stream to the receiver."""

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
import pytest

from common import clock, topology
from common.contracts import Event, encode, type_of
from common.contracts.ingest import RaceFinished
from common.contracts.samples import SAMPLES
from devstack.testing import eventually
from webhooks.settings import WebhooksSettings

if TYPE_CHECKING:
    from services.webhooks.tests.integration.conftest import Receiver, Start, World

SEASON = 2961
"""One that no other test has, for the stream holds the events of them all."""


async def publish(
    settings: WebhooksSettings, event: Event, changes: dict[str, str] | None = None, *, body: bytes | None = None
) -> UUID:
    """Publish an event twice under one id, as happens when JetStream has forgotten it."""
    event_id = uuid4()
    headers = {
        "ce-id": str(event_id),
        "ce-type": type_of(event.subject),
        "ce-source": f"/paddock/{event.source}",
        "ce-subject": event.key(),
        "ce-time": clock.now().isoformat(),
    }
    client = await topology.connect(settings.nats_url, "test")
    js = client.jetstream()
    for _ in range(2):
        await js.publish(event.subject, encode(event) if body is None else body, headers=headers | (changes or {}))
    await client.close()
    return event_id


def finished() -> RaceFinished:
    sample = next(sample for sample in SAMPLES if isinstance(sample, RaceFinished))
    return msgspec.structs.replace(sample, season=SEASON)


def of_this_test(receiver: "Receiver") -> list[Any]:
    events = [msgspec.json.decode(request.body) for request in receiver.requests]
    return [event for event in events if event["data"]["season"] == SEASON]


async def test_what_is_published_twice_arrives_once_with_every_byte(
    world: "World", start: "Start", receiver: "Receiver", settings: WebhooksSettings
) -> None:
    ann = world.subscriber(await start(nats_url=settings.nats_url))
    await ann.register(receiver.url)
    body = encode(finished())[:-1] + b',"a_field_of_a_later_release":[1.50]}'
    event_id = await publish(settings, finished(), body=body)
    other = await publish(settings, finished(), {"ce-type": "race.finished"})

    async def arrived() -> bool:
        return {event["id"] for event in of_this_test(receiver)} >= {str(event_id), str(other)}

    await eventually(arrived, seconds=30, what="both events")
    assert len(of_this_test(receiver)) == 2
    assert sum(body in request.body for request in receiver.requests) == 1


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        (b"{", {}),
        (b"{}", {}),
        (None, {"ce-type": "paddock.race.finished.v2"}),
        (None, {"ce-type": "paddock.user.registered.v1"}),
        (None, {"ce-time": "yesterday"}),
        (None, {"ce-time": "2026-03-08T05:48:12"}),
    ],
)
async def test_what_is_no_event_of_ours_is_set_aside_and_sent_to_nobody(
    world: "World",
    start: "Start",
    receiver: "Receiver",
    settings: WebhooksSettings,
    body: bytes | None,
    changes: dict[str, str],
) -> None:
    ann = world.subscriber(await start(nats_url=settings.nats_url))
    await ann.register(receiver.url)
    bad = await publish(settings, finished(), changes, body=body)
    client = await topology.connect(settings.nats_url, "test")
    letters = await client.jetstream().pull_subscribe("dlq.webhooks_deliver.*", stream=topology.DEAD_LETTERS)

    async def buried() -> bool:
        found = await letters.fetch(100, timeout=1)
        return any((letter.headers or {}).get("ce-id") == str(bad) for letter in found)

    async def set_aside() -> bool:
        try:
            return await buried()
        except TimeoutError:
            return False

    await eventually(set_aside, seconds=30, what="a letter")
    await client.close()
    assert of_this_test(receiver) == []


async def test_a_service_that_listens_is_ready(start: "Start", settings: WebhooksSettings) -> None:
    http = await start(nats_url=settings.nats_url)

    async def ready() -> bool:
        return (await http.get("/health/ready")).status_code == 200

    await eventually(ready, what="readiness")
