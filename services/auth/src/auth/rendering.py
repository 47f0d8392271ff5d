"""How letters look: templates in text and HTML, and the message that goes to the mail server.

Every letter has both forms. Values are escaped in HTML; none of them reaches a header but addresses and names that were
checked before, and `EmailMessage` refuses a line break in one.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import cache
from typing import Any
from uuid import UUID

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

TIMES = ("until", "restore_until")
FACTS = ("from_address", "new_email", *TIMES)
"""What templates may tell besides who, when and the link."""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A letter that is written."""

    subject: str
    text: str
    html: str


class Wording(msgspec.Struct, frozen=True, kw_only=True):
    """What a letter is written with."""

    product: str
    username: str
    at: datetime
    facts: Mapping[str, Any]
    link: str | None
    link_until: datetime | None

    def values(self) -> dict[str, Any]:
        """Return every name that a template may use."""
        facts: dict[str, Any] = {name: self.facts.get(name) for name in FACTS}
        facts |= {name: _moment(datetime.fromisoformat(facts[name])) for name in TIMES if facts[name]}
        return {
            "product": self.product,
            "username": self.username,
            "at": _moment(self.at),
            "link": self.link,
            "link_until": _moment(self.link_until) if self.link_until else None,
            **facts,
        }


def write(kind: str, wording: Wording) -> Letter:
    """Fill in the templates of a kind of letter."""
    values = wording.values()
    text, html = _templates().get_template(f"{kind}.txt"), _templates().get_template(f"{kind}.html")
    subject = "".join(text.blocks["subject"](text.new_context(values))).strip()
    return Letter(
        subject=subject,
        text=text.render(values).strip() + "\n",
        html=html.render(values, subject=subject).strip() + "\n",
    )


def message(
    letter: Letter, *, mail_id: UUID, written_at: datetime, product: str, sender: str, recipient: str
) -> EmailMessage:
    """Make the message. The same letter is the same message, byte by byte, however often it is made.

    So a server, or a reader, that gets it twice can tell by its id. ``Auto-Submitted`` (RFC 3834) keeps programs that
    answer letters from answering.
    """
    made = EmailMessage(policy=SMTP)
    made["From"] = Address(display_name=product, addr_spec=sender)
    made["To"] = Address(addr_spec=recipient)
    made["Subject"] = letter.subject
    made["Date"] = format_datetime(written_at.astimezone(UTC).replace(microsecond=0))
    made["Message-ID"] = f"<{mail_id}@{sender.rpartition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"
    made["X-Auto-Response-Suppress"] = "All"
    made.set_content(letter.text, cte="quoted-printable")
    made.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    made.set_boundary(f"=_{mail_id.hex}")
    return made


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%d %B %Y, %H:%M} UTC"


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("auth"),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
    )
