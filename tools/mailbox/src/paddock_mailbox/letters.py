"""The letters that were caught: read once when they come, kept in memory, the oldest forgotten first."""

import email
import email.policy
import re
from collections import deque
from datetime import datetime
from email.message import EmailMessage
from itertools import count

import msgspec

from paddock_mailbox.clock import utc_now

KEPT = 200
LINK = re.compile(r"https?://[^\s<>\"]+")


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A letter as it came."""

    id: int
    """In the order of arrival, from 1."""
    received_at: datetime
    sender: str
    """Of the envelope, as the recipients."""
    recipients: list[str]
    subject: str
    message_id: str
    text: str
    html: str
    links: list[str]
    """What the text links to."""
    headers: list[tuple[str, str]]


class Box:
    """The last letters."""

    def __init__(self, kept: int = KEPT) -> None:
        self.kept = kept
        self._letters: deque[Letter] = deque(maxlen=kept)
        self._numbers = count(1)

    def put(self, sender: str, recipients: list[str], content: bytes) -> Letter:
        """Keep a letter; one that is no proper message is kept as far as it can be read."""
        message = email.message_from_bytes(content, policy=email.policy.default)
        text = _part(message, "plain")
        letter = Letter(
            id=next(self._numbers),
            received_at=utc_now(),
            sender=sender,
            recipients=recipients,
            subject=str(message.get("Subject", "")),
            message_id=str(message.get("Message-ID", "")),
            text=text,
            html=_part(message, "html"),
            links=LINK.findall(text),
            headers=[(name, str(value)) for name, value in message.items()],
        )
        self._letters.append(letter)
        return letter

    def all(self, recipient: str | None = None) -> list[Letter]:
        """List the letters, the newest first; with ``recipient`` only those to that address, in any case."""
        wanted = recipient.lower() if recipient else None
        return [
            letter
            for letter in reversed(self._letters)
            if wanted is None or wanted in (address.lower() for address in letter.recipients)
        ]

    def find(self, number: int) -> Letter | None:
        """Return a letter that is still kept."""
        return next((letter for letter in self._letters if letter.id == number), None)

    def clear(self) -> None:
        """Forget all."""
        self._letters.clear()


def _part(message: EmailMessage, kind: str) -> str:
    """Return the text of a part, or nothing when there is none that can be read."""
    try:
        body = message.get_body(preferencelist=(kind,))
        return str(body.get_content()).replace("\r\n", "\n") if body else ""
    except (KeyError, LookupError, ValueError):
        return ""
