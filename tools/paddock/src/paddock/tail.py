"""`paddock events tail`: what is and was in the stream, a line for each event. It reads, and leaves nothing behind."""

from collections.abc import AsyncGenerator
from datetime import datetime

import msgspec
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from common import topology
from paddock.stored import FOLLOW_BATCH, EventCommandError, Reader, sequence_at

BODY_CHARACTERS = 160


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """An event as `--json` prints it."""

    seq: int
    time: str
    """Of the fact, as the event says."""
    stored: datetime
    subject: str
    key: str
    id: str
    body: msgspec.Raw


async def start_of(
    js: JetStreamContext, subjects: list[str], *, sequence: int | None, since: datetime | None, last: int | None
) -> int:
    """Find where to begin; without a wish at what comes next."""
    if sequence is not None:
        return sequence
    if since is not None:
        return await sequence_at(js, topology.EVENTS, since)
    end = (await js.stream_info(topology.EVENTS)).state.last_seq + 1
    return await _last(js, subjects, end, last) if last else end


async def _last(js: JetStreamContext, subjects: list[str], end: int, count: int) -> int:
    """Find the event that has ``count - 1`` of its subjects behind it: look further back until there are enough."""
    span = count
    while True:
        found: list[int] = []
        async with Reader(js, subjects, end - span) as reader:
            while messages := await reader.fetch(FOLLOW_BATCH):
                found += [message.metadata.sequence.stream for message in messages]
        if len(found) >= count or span >= end:
            return found[-count] if len(found) >= count else 1
        span *= 8


async def events(js: JetStreamContext, subjects: list[str], start: int, *, follow: bool) -> AsyncGenerator[Msg, None]:
    """Read from ``start`` to what is the end now, or for ever."""
    async with Reader(js, subjects, start) as reader:
        if follow:
            async for message in reader.follow():
                yield message
        while messages := await reader.fetch(FOLLOW_BATCH):
            for message in messages:
                yield message


def subjects_of(told: str) -> list[str]:
    """Read a list of subjects with commas between them."""
    subjects = [one.strip() for one in told.split(",") if one.strip()]
    if not subjects or any(" " in one for one in subjects):
        raise EventCommandError(f"{told!r} names no subject: say for example 'race.>,results.>'")
    return subjects


def line(message: Msg) -> str:
    """Render an event for people."""
    headers = message.headers or {}
    body = " ".join(message.data.decode("utf-8", "replace").split())
    short = body if len(body) <= BODY_CHARACTERS else body[: BODY_CHARACTERS - 1] + "…"
    fields = (
        headers.get("ce-time", "-"),
        str(message.metadata.sequence.stream),
        message.subject,
        headers.get("ce-subject", "-"),
        headers.get("ce-id", "-"),
        short,
    )
    return "  ".join(_plain(field) for field in fields)


def json_line(message: Msg) -> str:
    """Render an event for programs."""
    headers = message.headers or {}
    try:
        msgspec.json.decode(message.data)
        body = message.data
    except msgspec.DecodeError:
        body = msgspec.json.encode(message.data.decode("utf-8", "replace"))
    return msgspec.json.encode(
        Line(
            seq=message.metadata.sequence.stream,
            time=headers.get("ce-time", ""),
            stored=message.metadata.timestamp,
            subject=message.subject,
            key=headers.get("ce-subject", ""),
            id=headers.get("ce-id", ""),
            body=msgspec.Raw(body),
        )
    ).decode()


def _plain(text: str) -> str:
    """Replace what could steer a terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)
