"""`paddock events tail` shows what is in the stream and leaves no trace in it."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nats.aio.msg import Msg

from common import clock, topology
from common.contracts.ingest import SessionKind
from lab import season, wire
from paddock import tail
from paddock.stored import EventCommandError, instant


async def seen(past: Any, subjects: str = ">", **begin: Any) -> list[int]:
    names = tail.subjects_of(subjects)
    start = await tail.start_of(past.js, names, **{"sequence": None, "since": None, "last": None} | begin)
    return [one.metadata.sequence.stream async for one in tail.events(past.js, names, start, follow=False)]


async def first(past: Any, subject: str) -> Msg:
    return await anext(tail.events(past.js, [subject], 1, follow=False))


async def test_the_past_can_be_asked_for_by_place_by_age_and_by_number(past: Any, weekend: Any) -> None:
    await wire.publish(past.js, *weekend)
    assert await seen(past, sequence=1) == [1, 2, 3, 4]
    assert await seen(past, sequence=3) == [3, 4]
    assert await seen(past, last=1) == [4]
    assert await seen(past, last=99) == [1, 2, 3, 4]
    assert await seen(past, "results.synced, season.>", last=2) == [2, 3]
    assert await seen(past, since=clock.now() - timedelta(minutes=5)) == [1, 2, 3, 4]
    assert await seen(past, since=clock.now() + timedelta(minutes=5)) == []
    assert await seen(past) == []


async def test_it_leaves_no_consumer_behind_and_changes_nothing(past: Any, weekend: Any) -> None:
    await wire.publish(past.js, *weekend)
    before = (await past.js.stream_info(topology.EVENTS)).state
    assert await seen(past, last=2) == [3, 4]
    after = (await past.js.stream_info(topology.EVENTS)).state
    assert after == before
    assert after.consumer_count == 0


async def test_following_shows_what_comes_next(past: Any, weekend: Any) -> None:
    await wire.publish(past.js, *weekend)
    following = tail.events(past.js, [">"], 4, follow=True)
    assert (await anext(following)).metadata.sequence.stream == 4
    coming = asyncio.ensure_future(anext(following))
    await wire.publish(past.js, season.result(2, SessionKind.RACE))
    assert (await asyncio.wait_for(coming, 15)).metadata.sequence.stream == 5
    await following.aclose()


async def test_a_line_tells_time_place_subject_key_id_and_the_beginning_of_the_body(past: Any, weekend: Any) -> None:
    ids = await wire.publish(past.js, *weekend)
    message = await first(past, "results.amended")
    time, place, subject, key, event_id, body = tail.line(message).split("  ")
    assert datetime.fromisoformat(time) > clock.now() - timedelta(minutes=5)
    assert (place, subject, key, event_id) == ("4", "results.amended", weekend[3].key(), str(ids[3]))
    assert body.startswith('{"season":2026,"round":1,"race_id":"2026-circuit01"')
    assert body.endswith("…")
    assert len(body) == tail.BODY_CHARACTERS
    whole = json.loads(tail.json_line(message))
    assert (whole["seq"], whole["id"], whole["body"]["result_version"]) == (4, str(ids[3]), 2)


async def test_a_body_cannot_steer_the_terminal(past: Any) -> None:
    headers = {"ce-id": "\x1b[2J"}
    await past.js.publish("race.finished", b"\x1b]0;owned\x07 \xff", headers=headers)
    message = await first(past, ">")
    assert "\x1b" not in tail.line(message)
    assert "\x07" not in tail.line(message)
    assert json.loads(tail.json_line(message))["body"].startswith("\x1b]0;owned")


async def test_the_command_prints_a_line_for_each_event(past: Any, weekend: Any) -> None:
    await wire.publish(past.js, *weekend)
    command = (sys.executable, "-m", "paddock", "events", "tail", "--last", "2", "--subjects", "results.>", "--json")
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | {"NATS_URL": past.nats.url}, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert [json.loads(line)["seq"] for line in said.splitlines()] == [3, 4]


def test_times_are_ages_or_instants_with_a_zone() -> None:
    assert clock.now() - instant("90m") == pytest.approx(timedelta(minutes=90), abs=timedelta(seconds=5))
    assert instant("2026-03-08T04:00:00Z") == datetime(2026, 3, 8, 4, tzinfo=UTC)
    for wrong in ("yesterday", "2026-03-08T04:00:00", "1w", ""):
        with pytest.raises(EventCommandError):
            instant(wrong)
