"""Adding somebody outside, what they can read, and taking it away."""

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
import pytest
from nats.js.api import ConsumerConfig

from common import topology
from common.contracts import REGISTRY
from devstack.testing import eventually
from paddock import audit
from paddock.nats_authority import FolderError
from paddock.subscribers import MAX_DELIVER, SubscriberError, Subscribers, check_name, check_subjects, matches, overlap


@pytest.fixture
async def subscribers(access: Any) -> AsyncIterator[Subscribers]:
    async with Subscribers.opened(access.authority, access.server.url) as found:
        yield found


def credentials_of(lines: list[str]) -> Path:
    return Path(lines[0].rpartition(": ")[2])


async def test_a_subscriber_reads_its_subjects_and_nothing_else(access: Any, subscribers: Subscribers) -> None:
    operator = (await access.connect("paddock")).client.jetstream()
    lines = await subscribers.add("race-bot", ["race.>", "results.synced"])
    assert lines[1:] == [
        f"url: {access.server.url}",
        "stream: EVENTS",
        "durable: race-bot",
        "inbox prefix: _INBOX_race-bot",
    ]
    caller = await access.connect("race-bot", credentials_of(lines))
    reader = await caller.client.jetstream().pull_subscribe("", durable="race-bot", stream="EVENTS")
    await drain(reader)
    for subject in ("race.scored", "team.created", "user.registered", "results.synced", "race.finished"):
        await operator.publish(subject, b"{}", stream=topology.EVENTS)
    messages = await reader.fetch(3, timeout=5)
    assert [message.subject for message in messages] == ["race.scored", "results.synced", "race.finished"]
    for message in messages:
        await message.ack_sync()
    with pytest.raises(nats.errors.TimeoutError):
        await reader.fetch(1, timeout=0.5)
    config = (await operator.consumer_info("EVENTS", "race-bot")).config
    assert (config.max_deliver, config.ack_wait) == (MAX_DELIVER, 30)
    assert not caller.complaints


async def test_a_subscriber_may_do_nothing_but_read(access: Any, subscribers: Subscribers) -> None:
    lines = await subscribers.add("quiet-bot", ["race.scored"])
    caller = await access.connect("quiet-bot", credentials_of(lines))
    forbidden = [
        *REGISTRY,
        "$JS.API.CONSUMER.CREATE.EVENTS.quiet-bot.race.scored",
        "$JS.API.CONSUMER.CREATE.EVENTS.quiet-bot",
        "$JS.API.CONSUMER.CREATE.EVENTS",
        "$JS.API.CONSUMER.DELETE.EVENTS.quiet-bot",
        "$JS.API.CONSUMER.INFO.EVENTS.another",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.another",
        "$JS.API.STREAM.INFO.EVENTS",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.DIRECT.GET.EVENTS.user.registered",
        "$JS.ACK.EVENTS.another.1.1.1.1.0",
        "$KV.SUBSCRIBERS.quiet-bot",
        "audit.anything",
    ]
    assert [subject for subject in forbidden if not await caller.refused(subject)] == []
    for subject in (">", "race.scored", "_INBOX.>", "_INBOX_race-bot.>", "_INBOX_paddock.>"):
        assert await caller.deaf(subject), subject


async def test_who_is_removed_is_cut_off_at_once_and_stays_out(access: Any, subscribers: Subscribers) -> None:
    lines = await subscribers.add("brief-bot", ["race.>"])
    credentials = credentials_of(lines)
    caller = await access.connect("brief-bot", credentials)
    text = credentials.read_text()
    other = await access.connect("scoring")
    await subscribers.remove("brief-bot")

    async def cut_off() -> bool:
        return not caller.client.is_connected

    await eventually(cut_off, what="the end of the connection")
    assert not credentials.exists()
    assert other.client.is_connected
    kept = credentials.with_name("kept.creds")
    kept.write_text(text)
    with pytest.raises((TimeoutError, nats.errors.Error)):
        await asyncio.wait_for(access.connect("brief-bot", kept), 2)
    assert [record.name for record, _ in await subscribers.all() if record.name == "brief-bot"] == []


async def test_a_removal_outlives_a_restart_of_the_server(access: Any, subscribers: Subscribers) -> None:
    lines = await subscribers.add("gone-bot", ["race.>"])
    kept = credentials_of(lines).with_name("gone.creds")
    kept.write_text(credentials_of(lines).read_text())
    await subscribers.remove("gone-bot")
    access.server.restart()
    with pytest.raises((TimeoutError, nats.errors.Error)):
        await asyncio.wait_for(access.connect("gone-bot", kept), 2)
    welcome = await access.connect("paddock")
    assert welcome.client.is_connected


async def test_a_name_can_be_given_again_after_a_removal(access: Any, subscribers: Subscribers) -> None:
    await subscribers.add("phoenix-bot", ["race.>"])
    await subscribers.remove("phoenix-bot")
    lines = await subscribers.add("phoenix-bot", ["results.>"], new=True)
    caller = await access.connect("phoenix-bot", credentials_of(lines))
    operator = (await access.connect("paddock")).client.jetstream()
    await operator.publish("results.synced", b"{}", stream=topology.EVENTS)
    reader = await caller.client.jetstream().pull_subscribe("", durable="phoenix-bot", stream="EVENTS")
    (message,) = await reader.fetch(1, timeout=5)
    assert message.subject == "results.synced"


async def test_only_one_of_two_operators_adds_the_same_name(access: Any) -> None:
    async def add() -> str:
        async with Subscribers.opened(access.authority, access.server.url) as subscribers:
            try:
                await subscribers.add("twin-bot", ["race.>"])
            except (SubscriberError, FolderError) as error:
                return str(error)
            return ""

    won, *lost = sorted(await asyncio.gather(add(), add(), add()))
    assert won == ""
    assert all("already" in reason for reason in lost)
    async with Subscribers.opened(access.authority, access.server.url) as subscribers:
        (record,) = [record for record, _ in await subscribers.all() if record.name == "twin-bot"]
    assert record.public_key == access.authority.public_key_of("twin-bot")


async def test_every_act_is_written_down(access: Any, subscribers: Subscribers) -> None:
    js = (await access.connect("paddock")).client.jetstream()
    before = (await js.stream_info(audit.STREAM)).state.last_seq
    lines = await subscribers.add("noted-bot", ["race.>"])
    await subscribers.remove("noted-bot")
    written = [await js.get_msg(audit.STREAM, seq) for seq in (before + 1, before + 2)]
    assert [message.subject for message in written] == ["audit.subscribers.add", "audit.subscribers.remove"]
    for message in written:
        body = msgspec.json.decode(message.data or b"")
        assert body["facts"]["name"] == "noted-bot"
        assert body["actor"].count("@") == 1
        assert b"SEED" not in (message.data or b"")
    assert "SEED" not in "\n".join(lines)


async def test_the_credentials_file_is_for_its_owner_alone(subscribers: Subscribers) -> None:
    lines = await subscribers.add("sealed-bot", ["race.>"])
    assert stat.S_IMODE(credentials_of(lines).stat().st_mode) == 0o600


async def test_what_an_interrupted_addition_left_can_be_removed(access: Any, subscribers: Subscribers) -> None:
    js = (await access.connect("paddock")).client.jetstream()
    await js.add_consumer("EVENTS", ConsumerConfig(name="half-bot", durable_name="half-bot", filter_subject="race.>"))
    with pytest.raises(SubscriberError, match="already"):
        await subscribers.add("half-bot", ["race.>"])
    await subscribers.remove("half-bot")
    await subscribers.add("half-bot", ["race.>"])
    with pytest.raises(SubscriberError, match="no subscriber nobody-bot"):
        await subscribers.remove("nobody-bot")


@pytest.mark.parametrize(
    "name", ["a", "Race", "1bot", "race_bot", "race.bot", "x" * 32, "", "scoring", "paddock", "system"]
)
def test_a_name_that_is_malformed_or_ours_is_refused(name: str) -> None:
    with pytest.raises(SubscriberError):
        check_name(name)


@pytest.mark.parametrize(
    ("subjects", "told"),
    [
        ([], "name 1 to"),
        (["races.>"], "no event has the subject 'races.>'"),
        (["race.unknown"], "no event has"),
        (["race..scored"], "no subject"),
        (["race.>.scored"], "no subject"),
        (["race.*d"], "no subject"),
        (["user.registered"], "about people"),
        ([">"], "about people"),
        (["*.registered"], "about people"),
        (["race.>", "race.scored"], "overlap"),
        (["*.scored", "race.*"], "about people"),
    ],
)
def test_a_subject_is_refused_with_the_reason(subjects: list[str], told: str) -> None:
    with pytest.raises(SubscriberError, match=told):
        check_subjects(subjects, personal=False)


def test_events_about_people_are_open_to_whom_the_operator_says_so() -> None:
    assert check_subjects([" user.registered ", "race.>", "race.>"], personal=True) == ["user.registered", "race.>"]


def test_patterns_match_as_nats_does() -> None:
    assert matches("race.>", "race.scored")
    assert matches("*.scored", "race.scored")
    assert not matches("race.>", "race")
    assert not matches("race", "race.scored")
    assert overlap("race.*", "*.scored")
    assert overlap("race.>", "race.scored.late")
    assert not overlap("race.*", "race.scored.late")
    assert not overlap("race.scored", "race.finished")


async def drain(reader: Any) -> None:
    """Acknowledge what other tests have published."""
    while (await reader.consumer_info()).num_pending:
        for message in await reader.fetch(100, timeout=5):
            await message.ack_sync()
