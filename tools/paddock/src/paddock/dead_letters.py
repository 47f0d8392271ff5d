"""`paddock dlq`: look at dead letters, give them back to the consumers that could not process them, or drop them.

A redrive goes to ``redrive.<service>.<durable>``, which the service's own redrive durable reads; the inbox keeps a
second one from having an effect. Every look and every act is written to the stream `AUDIT` first.
"""

import argparse
import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RawStreamMsg

from common import letters, migrate, topology
from common.letters import Letter
from paddock import audit, nats_users
from paddock.broker import connected

DURABLE = re.compile(r"[A-Za-z0-9_-]+")
FETCH = 200
FETCH_SECONDS = 2
ACK_SECONDS = 5
MOST = 100_000
"""Letters that one command looks at."""


class LetterError(Exception):
    """A letter cannot be found or given back; the message says what to do."""


async def run(arguments: Sequence[str]) -> list[str]:
    """Run `paddock dlq …`; return the lines to print. Wrong arguments end the process, with how they are meant."""
    chosen = _parser().parse_args(list(arguments))
    async with connected() as client:
        js = client.jetstream()
        match chosen.act:
            case "list":
                return await _list(js, chosen.consumer, as_json=chosen.json)
            case "show":
                return await _show(js, chosen.id)
            case "redrive":
                ids = [chosen.id] if chosen.id else await _ids(js, chosen.consumer)
                return [await redrive(js, letter_id) for letter_id in ids] or ["no letters"]
            case _:
                return [await drop(js, chosen.id)]


async def redrive(js: JetStreamContext, letter_id: str) -> str:
    """Give a letter back to its consumer and take it out of the queue; return what was done."""
    letter, sequence = await find(js, letter_id)
    service = service_of(letter.durable)
    await audit.record(js, "dlq.redrive", letter=letter_id, event=letter.headers.get("ce-id", ""))
    headers = {
        **letters.event_headers(letter.headers),
        "Nats-Msg-Id": f"redrive:{letter_id}",
        "paddock-consumer": letter.durable,
        "paddock-subject": letter.subject,
        "paddock-redrive-of": letter_id,
    }
    place = f"redrive.{service}.{letter.durable}"
    await js.publish(place, letter.body, stream=topology.DEAD_LETTERS, headers=headers, timeout=ACK_SECONDS)
    await js.delete_msg(topology.DEAD_LETTERS, sequence)
    return f"{letter_id}: given back to {letter.durable}"


async def drop(js: JetStreamContext, letter_id: str) -> str:
    """Take a letter out of the queue for good; return what was done."""
    letter, sequence = await find(js, letter_id)
    event = letter.headers.get("ce-id", "")
    await audit.record(js, "dlq.drop", letter=letter_id, event=event, subject=letter.subject, reason=letter.reason)
    await js.delete_msg(topology.DEAD_LETTERS, sequence)
    return f"{letter_id}: dropped; the event itself stays in {topology.EVENTS} until it is too old"


async def find(js: JetStreamContext, letter_id: str) -> tuple[Letter, int]:
    """Return a letter and its sequence in the queue; raise `LetterError` when there is none."""
    durable, _, number = letter_id.rpartition(":")
    unknown = (
        f"no letter {letter_id!r}: it never was, or was redriven or dropped; see `paddock dlq list` and `audit list`"
    )
    if not DURABLE.fullmatch(durable) or not number.removeprefix("r").isdigit():
        raise LetterError(unknown)
    try:
        message = await js.get_last_msg(topology.DEAD_LETTERS, f"dlq.{durable}.{number}")
    except (nats.js.errors.NotFoundError, nats.js.errors.BadRequestError) as error:
        raise LetterError(unknown) from error
    return read(message), message.seq or 0


def read(message: Msg | RawStreamMsg) -> Letter:
    """Read a message of the queue."""
    headers = message.headers or {}
    _, durable, number = (message.subject or "..").split(".", 2)
    return Letter(
        durable=durable,
        number=number,
        subject=headers.get("paddock-subject", ""),
        sequence=int(headers.get("paddock-stream-seq", "0")),
        tries=int(headers.get("paddock-tries", "0")),
        error=headers.get("paddock-error", ""),
        reason=headers.get("paddock-reason", ""),
        trace_id=headers.get("paddock-trace-id", ""),
        origin=headers.get("paddock-origin", ""),
        headers=headers,
        body=message.data or b"",
    )


async def every(js: JetStreamContext, consumer: str | None = None) -> AsyncIterator[Letter]:
    """Yield the letters, oldest first, of one consumer where it is named."""
    info = await js.stream_info(topology.DEAD_LETTERS, subjects_filter=f"dlq.{consumer or '*'}.>")
    left = min(sum((info.state.subjects or {}).values()), MOST)
    config = ConsumerConfig(
        filter_subject=f"dlq.{consumer or '*'}.>",
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.NONE,
        mem_storage=True,
        inactive_threshold=30,
    )
    made = await js.add_consumer(topology.DEAD_LETTERS, config)
    subscription = await js.pull_subscribe_bind(consumer=made.name, stream=topology.DEAD_LETTERS)
    try:
        while left > 0:
            messages = await subscription.fetch(min(FETCH, left), timeout=FETCH_SECONDS)
            left -= len(messages)
            for message in messages:
                yield read(message)
    except nats.errors.TimeoutError:
        return  # somebody else has taken the rest meanwhile
    finally:
        await js.delete_consumer(topology.DEAD_LETTERS, made.name)


def service_of(durable: str) -> str:
    """Name the service that a durable belongs to; raise `LetterError` for one that is not ours."""
    for service in migrate.SERVICES:
        registry = nats_users.registry(service)
        if registry and durable in registry.named():
            return service
    raise LetterError(
        f"{durable} is no consumer of this release. Of a subscriber outside: "
        f"`paddock events replay --consumer {durable} --from-seq N` gives it the event again; else drop the letter"
    )


async def _ids(js: JetStreamContext, consumer: str | None) -> list[str]:
    return [letter.id async for letter in every(js, consumer)]


async def _list(js: JetStreamContext, consumer: str | None, *, as_json: bool) -> list[str]:
    await audit.record(js, "dlq.list", consumer=consumer or "every")
    found = [letter async for letter in every(js, consumer)]
    if as_json:
        return [json.dumps([_facts(letter) for letter in found])]
    if not found:
        return ["no letters"]
    width = max(len(letter.id) for letter in found)
    return [
        f"{letter.id:<{width}}  {letter.headers.get('paddock-time', '')[:19]}  {letter.tries:>3} tries  "
        f"{letter.error}: {letter.reason[:80]}"
        for letter in found
    ]


async def _show(js: JetStreamContext, letter_id: str) -> list[str]:
    letter, _ = await find(js, letter_id)
    await audit.record(js, "dlq.show", letter=letter_id)
    try:
        body = json.dumps(json.loads(letter.body), indent=2, ensure_ascii=False)
    except ValueError:
        body = letter.body.decode(errors="replace")
    facts = [f"{name:<10} {value}" for name, value in _facts(letter).items()]
    return [*facts, "", *(f"{name}: {value}" for name, value in sorted(letter.headers.items())), "", body]


def _facts(letter: Letter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "consumer": letter.durable,
        "subject": letter.subject,
        "sequence": letter.sequence,
        "event": letter.headers.get("ce-id", ""),
        "time": letter.headers.get("paddock-time", ""),
        "tries": letter.tries,
        "error": letter.error,
        "reason": letter.reason,
        "trace": letter.trace_id,
        "origin": letter.origin,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="paddock dlq")
    acts = parser.add_subparsers(dest="act", required=True)
    listed = acts.add_parser("list", help="every letter: id, time, tries, why")
    listed.add_argument("--consumer", help="of one durable only")
    listed.add_argument("--json", action="store_true")
    acts.add_parser("show", help="all that is known of a letter").add_argument("id")
    given = acts.add_parser("redrive", help="give letters back to their consumers")
    which = given.add_mutually_exclusive_group(required=True)
    which.add_argument("--id")
    which.add_argument("--consumer", help="all letters of one durable")
    which.add_argument("--all", action="store_true")
    acts.add_parser("drop", help="take a letter out for good").add_argument("--id", required=True)
    return parser
