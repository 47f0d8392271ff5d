"""Dead letters: what is known of a delivery that was given up, as a message of the stream `DLQ`.

The subject is ``dlq.<durable>.<number>``, where the number is the delivery's sequence in its stream, after an ``r``
when that was a redrive. JetStream is asked to take the first message of a subject only, so there is one letter for
ever, whoever writes it and however often.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from common import clock, topology

ACK_SECONDS = 5
ALREADY_THERE = 10071
"""JetStream's code for a subject whose last sequence is not the expected one."""
REASON_CHARACTERS = 500
WRITTEN = "letter written"
"""Reason of the bus for ending a delivery: nobody else needs to write of it, and an operator may have dropped it."""
OURS = ("Nats-", "paddock-")
"""Beginnings of headers that are not the event's own."""


@dataclass(frozen=True, kw_only=True)
class Letter:
    """One delivery that was given up, and why."""

    durable: str
    number: str
    subject: str
    """Of the event."""
    sequence: int
    tries: int
    error: str
    """Name of the class, or of the advisory's kind."""
    reason: str
    trace_id: str
    origin: str
    """``bus`` when a consumer of ours gave up, ``advisory`` when JetStream did."""
    headers: Mapping[str, str]
    """Of the delivery; only the event's own are kept."""
    body: bytes

    @property
    def id(self) -> str:
        """How commands name it."""
        return f"{self.durable}:{self.number}"


async def write(js: JetStreamContext, letter: Letter) -> bool:
    """Write the letter; return False when there is one of its number. Raises `nats.errors.Error` when NATS is away."""
    reason = " ".join(letter.reason.split()).encode("ascii", "replace").decode()[:REASON_CHARACTERS]
    headers = {
        **event_headers(letter.headers),
        "Nats-Expected-Last-Subject-Sequence": "0",
        "paddock-consumer": letter.durable,
        "paddock-subject": letter.subject,
        "paddock-stream-seq": str(letter.sequence),
        "paddock-tries": str(letter.tries),
        "paddock-error": letter.error,
        "paddock-reason": reason,
        "paddock-trace-id": letter.trace_id,
        "paddock-time": clock.now().isoformat(),
        "paddock-origin": letter.origin,
    }
    subject = f"dlq.{letter.durable}.{letter.number}"
    try:
        await js.publish(subject, letter.body, stream=topology.DEAD_LETTERS, headers=headers, timeout=ACK_SECONDS)
    except nats.js.errors.APIError as refusal:
        if refusal.err_code != ALREADY_THERE:
            raise
        return False
    return True


async def end(message: Msg) -> None:
    """End a delivery whose letter is written, and say so in the advisory that JetStream makes of it."""
    await message.respond(f"+TERM {WRITTEN}".encode())


def event_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Keep the headers that are the event's own: CloudEvents attributes and the trace."""
    return {name: value for name, value in (headers or {}).items() if not name.startswith(OURS)}
