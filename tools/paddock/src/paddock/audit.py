"""The stream `AUDIT`: what operators did, by whom and when. Nobody can take a line back."""

import getpass
import socket
from datetime import datetime
from typing import Any

import msgspec
from nats.js import JetStreamContext

from common import clock

STREAM = "AUDIT"
ACK_SECONDS = 5


async def record(js: JetStreamContext, action: str, **facts: object) -> None:
    """Write down an act, for example ``subscribers.add``; return when the stream has it."""
    body = {"action": action, "actor": actor(), "at": clock.now(), "facts": facts}
    await js.publish(f"audit.{action}", msgspec.json.encode(body), stream=STREAM, timeout=ACK_SECONDS)


class Act(msgspec.Struct, frozen=True):
    """One line of the audit."""

    action: str
    actor: str
    at: datetime
    facts: dict[str, Any]


async def read(js: JetStreamContext, last: int) -> list[Act]:
    """Return the newest acts, oldest first."""
    state = (await js.stream_info(STREAM)).state
    first = max(state.first_seq, state.last_seq - last + 1)
    messages = [await js.get_msg(STREAM, sequence) for sequence in range(first, state.last_seq + 1)]
    return [msgspec.json.decode(message.data or b"", type=Act) for message in messages]


def actor() -> str:
    """Name who runs the command, as the operating system does: ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not be in the password file
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
