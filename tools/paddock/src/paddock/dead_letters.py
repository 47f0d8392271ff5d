"""Dead letters: find them, give them back to the consumers that could not process them, or drop them.

A redrive goes to ``redrive.<service>.<durable>``, which the service's own redrive durable reads; the inbox keeps a
second one from having an effect. Every act is written to the stream `AUDIT` first.
"""

import contextlib
import re
from collections.abc import AsyncIterator

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RawStreamMsg

from common import letters, migrate, topology
from common.letters import Letter
from paddock import audit

FETCH = 200
FETCH_SECONDS = 2
ACK_SECONDS = 5
MOST = 100_000
"""Letters that one command looks at."""
NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
ID = re.compile(rf"(?P<durable>{NAME.pattern}):(?P<number>r?[0-9]{{1,20}})")


class LetterError(Exception):
    """A letter cannot be found or given back; the message says what to do."""


async def redrive(js: JetStreamContext, letter_id: str) -> str:
    """Give a letter back to its consumer and take it out of the queue; return what was done."""
    letter, sequence = await find(js, letter_id)
    service = service_of(letter)
    await audit.record(
        js, "dlq.redrive", letter=letter_id, event=letter.headers.get("ce-id", ""), subject=letter.subject
    )
    headers = {
        **letters.event_headers(letter.headers),
        "Nats-Msg-Id": f"redrive:{letter_id}",
        "paddock-consumer": letter.durable,
        "paddock-subject": letter.subject,
        "paddock-redrive-of": letter_id,
    }
    place = f"redrive.{service}.{letter.durable}"
    await js.publish(place, letter.body, stream=topology.DEAD_LETTERS, headers=headers, timeout=ACK_SECONDS)
    await _take_away(js, letter_id, sequence)
    return f"{letter_id}: given back to {letter.durable}"


async def drop(js: JetStreamContext, letter_id: str) -> str:
    """Take a letter out of the queue for good; return what was done."""
    letter, sequence = await find(js, letter_id)
    facts = {
        "event": letter.headers.get("ce-id", ""),
        "subject": letter.subject,
        "error": letter.error,
        "reason": letter.reason,
    }
    await audit.record(js, "dlq.drop", letter=letter_id, **facts)
    await _take_away(js, letter_id, sequence)
    return f"{letter_id}: dropped; the event itself stays in {topology.EVENTS} until it is too old"


async def _take_away(js: JetStreamContext, letter_id: str, sequence: int) -> None:
    try:
        await js.delete_msg(topology.DEAD_LETTERS, sequence)
    except nats.js.errors.APIError:
        with contextlib.suppress(LetterError):  # somebody else has taken it away meanwhile
            await find(js, letter_id)
            raise


async def find(js: JetStreamContext, letter_id: str) -> tuple[Letter, int]:
    """Return a letter and its sequence in the queue; raise `LetterError` when there is none."""
    named = ID.fullmatch(letter_id)
    missing = (
        f"no letter {letter_id!r}: it never was, or was redriven or dropped; see `paddock dlq list` and "
        "`paddock audit list`"
    )
    if named is None:
        raise LetterError(missing)
    try:
        message = await js.get_last_msg(topology.DEAD_LETTERS, f"dlq.{named['durable']}.{named['number']}")
    except nats.js.errors.NotFoundError as error:
        raise LetterError(missing) from error
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
    """Yield the letters, oldest first, of one consumer where it is named; at most `MOST`."""
    if consumer is not None and not NAME.fullmatch(consumer):
        raise LetterError(f"{consumer!r} is no name of a consumer; `paddock dlq list` shows those that have letters")
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
    except TimeoutError:
        return  # somebody else has taken the rest meanwhile
    finally:
        await js.delete_consumer(topology.DEAD_LETTERS, made.name)


def service_of(letter: Letter) -> str:
    """Name the service that takes a letter back; raise `LetterError` for one of a subscriber outside."""
    service = letter.durable.partition("_")[0]
    if service not in migrate.SERVICES:
        raise LetterError(
            f"{letter.durable} is the durable of a subscriber outside, so no service takes its letters back: "
            f"`paddock events replay --consumer {letter.durable} --from-seq {letter.sequence}` gives it the event "
            "again and all after it; then drop the letter"
        )
    return service
