"""The stream `AUDIT`: what operators did, by whom and when. Nobody can take a line back."""

import getpass
import socket

import msgspec
from nats.js import JetStreamContext

from common import clock

STREAM = "AUDIT"
ACK_SECONDS = 5


async def record(js: JetStreamContext, action: str, **facts: object) -> None:
    """Write down an act, for example ``subscribers.add``; return when the stream has it."""
    body = {"action": action, "actor": actor(), "at": clock.now(), "facts": facts}
    await js.publish(f"audit.{action}", msgspec.json.encode(body), stream=STREAM, timeout=ACK_SECONDS)


def actor() -> str:
    """Name who runs the command, as the operating system does: ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not be in the password file
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
