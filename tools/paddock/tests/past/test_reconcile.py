"""`paddock events reconcile` makes the stream what the outboxes say, and nobody overtakes the past."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import nats.js.errors
import pytest
from nats.js.api import ConsumerConfig

from common import topology
from common.contracts import Event, encode
from common.contracts.ingest import SessionKind
from devstack.testing import eventually
from lab import season, wire
from paddock import reconcile
from paddock.reconcile import GATE, Reconciliation
from paddock.stored import EventCommandError

pytestmark = pytest.mark.usefixtures("quick_relays")

PLACES = "SELECT event_id::text, stream_seq FROM {service}.outbox ORDER BY stream_seq"


@pytest.fixture
def quick_relays(monkeypatch: pytest.MonkeyPatch) -> None:
    """No relay runs here that would have something to note."""
    monkeypatch.setattr(reconcile, "SETTLE_SECONDS", 0.0)


async def run(past: Any, said: list[str] | None = None, **options: Any) -> list[str]:
    report = said.append if said is not None else lambda _: None
    async with Reconciliation(past.js, past.admin_url, report) as reconciliation:
        return await reconciliation.run(**options)


async def places(past: Any) -> list[tuple[int, str]]:
    """What the outboxes say of the stream."""
    rows = [row for service in ("ingest", "leagues") for row in await past.rows(PLACES.format(service=service))]
    return sorted((place, event_id) for event_id, place in rows)


def told(weekend: list[Event]) -> list[tuple[str, Event]]:
    """Events of two services, in turn."""
    teams = [season.team(number) for number in range(1, 5)]
    return [one for pair in zip(weekend, teams, strict=True) for one in (("ingest", pair[0]), ("leagues", pair[1]))]


async def fill(past: Any, weekend: list[Event]) -> list[tuple[int, str]]:
    for service, event in told(weekend):
        await past.publish_outbox(service, [event])
    assert await past.streamed() == await places(past)
    return await places(past)


async def test_a_lost_stream_comes_back_in_its_order_above_every_old_place(past: Any, weekend: Any) -> None:
    before = await fill(past, weekend)
    messages = await wire.read_all(past.js, topology.EVENTS)
    await past.js.delete_stream(topology.EVENTS)
    assert await run(past) == ["published 8 events"]
    again = await wire.read_all(past.js, topology.EVENTS)
    assert [one.metadata.sequence.stream for one in again] == list(range(9, 17))
    assert [event_id for _, event_id in await past.streamed()] == [event_id for _, event_id in before]
    assert await past.streamed() == await places(past)
    for old, new in zip(messages, again, strict=True):
        assert (old.subject, old.data) == (new.subject, new.data)
        names = ("ce-id", "ce-type", "ce-subject", "ce-source", "Nats-Msg-Id")
        assert [(old.headers or {})[name] for name in names] == [(new.headers or {})[name] for name in names]
    config = (await past.js.stream_info(topology.EVENTS)).config
    assert set(config.subjects) == {f"{root}.>" for root in topology.ROOTS}
    assert config.subject_transform is None
    await topology.apply(past.js)
    assert await run(past) == ["published 0 events"]
    assert await past.acts() == ["events.reconcile", "events.reconcile"]


async def test_a_dry_run_changes_nothing(past: Any, weekend: Any) -> None:
    before = await fill(past, weekend)
    await past.js.delete_stream(topology.EVENTS)
    said: list[str] = []
    assert await run(past, said, dry=True) == ["would publish 8 events"]
    assert said[1] == "stream: none"
    with pytest.raises(nats.js.errors.NotFoundError):
        await past.js.stream_info(topology.EVENTS)
    assert await places(past) == before
    assert await past.acts() == []


async def test_a_stream_that_was_made_empty_meanwhile_is_made_again_with_the_new_events_behind_the_old(
    past: Any, weekend: Any
) -> None:
    """As after `topology apply`: relays have published what is new at places that were taken before."""
    before = await fill(past, weekend)
    await past.js.delete_stream(topology.EVENTS)
    await topology.apply(past.js)
    await past.publish_outbox("leagues", [season.team(9), season.team(10)], datetime.now(UTC) + timedelta(seconds=1))
    new = [event_id for _, event_id in await past.streamed()]
    assert await run(past) == ["published 10 events"]
    assert [event_id for _, event_id in await past.streamed()] == [event_id for _, event_id in before] + new
    assert await past.streamed() == await places(past)
    assert (await past.streamed())[0][0] == 9


async def test_single_events_that_are_gone_are_published_again(past: Any, weekend: Any) -> None:
    await fill(past, weekend)
    gone = (await past.streamed())[2][1]
    await past.js.delete_msg(topology.EVENTS, 3)
    with pytest.raises(EventCommandError, match="still remembers"):
        await run(past)
    config = (await past.js.stream_info(topology.EVENTS)).config
    await past.js.update_stream(config.evolve(duplicate_window=0.2))

    async def forgotten() -> list[str] | None:
        try:
            return await run(past)
        except EventCommandError:
            return None

    assert await eventually(forgotten, what="the end of the window") == ["published 1 events"]
    assert (await past.streamed())[-1] == (9, gone)
    assert await past.streamed() == await places(past)


async def test_an_interrupted_run_is_finished_by_the_next(
    past: Any, weekend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch was published, and the process died before it could note the places."""
    before = await fill(past, weekend)
    await past.js.delete_stream(topology.EVENTS)
    monkeypatch.setattr(reconcile, "BATCH", 3)

    async def die(*_: object) -> None:
        raise KeyboardInterrupt

    mark = Reconciliation._mark
    monkeypatch.setattr(Reconciliation, "_mark", lambda one, marks: die() if marks else mark(one, marks))
    with pytest.raises(KeyboardInterrupt):
        await run(past)
    monkeypatch.setattr(Reconciliation, "_mark", mark)
    with pytest.raises(nats.js.errors.NoStreamResponseError):
        await past.js.publish("team.created", b"{}", timeout=2)
    assert len(await past.streamed()) == 3
    assert await run(past) == ["published 5 events"]
    assert [event_id for _, event_id in await past.streamed()] == [event_id for _, event_id in before]
    assert await past.streamed() == await places(past)


async def test_nobody_can_publish_before_the_past_is_back(
    past: Any, weekend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(past, weekend)
    await past.js.delete_stream(topology.EVENTS)
    refused: list[bool] = []
    publish = Reconciliation._publish

    async def try_meanwhile(one: Reconciliation, events: Any) -> int:
        with pytest.raises(nats.js.errors.NoStreamResponseError):
            await past.js.publish("team.created", b"{}", timeout=2)
        await past.js.add_consumer(topology.EVENTS, ConsumerConfig(durable_name="x", filter_subject="team.created"))
        refused.append(True)
        return await publish(one, events)

    monkeypatch.setattr(Reconciliation, "_publish", try_meanwhile)
    await run(past)
    assert refused == [True]
    assert (await past.js.consumer_info(topology.EVENTS, "x")).num_pending == 4
    assert (await past.js.publish("team.created", b"{}")).seq == 17
    with pytest.raises(nats.js.errors.NoStreamResponseError):
        await past.js.publish(f"{GATE}.team.created", b"{}", timeout=2)


async def test_only_what_the_stream_would_still_keep_is_published(past: Any, weekend: Any) -> None:
    await past.publish_outbox("ingest", weekend[:1], datetime.now(UTC) - timedelta(days=31))
    await past.publish_outbox("ingest", weekend[1:2])
    await past.keep("leagues", season.team(1), uuid4(), None)
    await past.js.delete_stream(topology.EVENTS)
    assert await run(past) == ["published 1 events"]
    assert [place for place, _ in await past.streamed()] == [3]


async def test_a_stream_with_events_that_no_outbox_has_is_not_replaced_without_a_yes(past: Any, weekend: Any) -> None:
    await fill(past, weekend)
    await past.js.delete_stream(topology.EVENTS)
    await topology.apply(past.js)
    stranger: UUID = (await wire.publish(past.js, season.result(3, SessionKind.RACE)))[0]
    with pytest.raises(EventCommandError, match="1 of its events are in no outbox, the first at 1"):
        await run(past)
    assert await past.streamed() == [(1, str(stranger))]
    assert await run(past, sure=True) == ["published 8 events"]


async def test_an_event_that_its_relay_has_not_noted_yet_is_known_nevertheless(past: Any, weekend: Any) -> None:
    await fill(past, weekend)
    await past.js.delete_stream(topology.EVENTS)
    await topology.apply(past.js)
    event = season.team(9)
    (event_id,) = await wire.publish(past.js, event)
    await past.database.execute(
        "INSERT INTO leagues.outbox (event_id, subject, key, source, body) VALUES ($1, $2, $3, $4, $5)",
        *(event_id, event.subject, event.key(), event.source, encode(event)),
    )
    assert await run(past) == ["published 8 events"]
