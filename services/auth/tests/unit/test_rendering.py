import email
import email.policy
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest

from auth import rendering
from auth.mails import LINKS, Kind
from auth.rendering import FACTS, Letter, Wording

AT = datetime(2026, 11, 21, 3, 14, 15, 926535, tzinfo=UTC)
MAIL_ID = UUID("7b0c6a52-30a5-4a0e-9f0b-0d6f5b0f8f11")
LINK = "https://play.example/verify#token=pdl_abc"
EVERY_FACT: dict[str, Any] = {
    "from_address": "192.0.2.7",
    "new_email": "m…@example.org",
    "until": AT.isoformat(),
    "restore_until": AT.isoformat(),
}


def wording(*, link: str | None = LINK, product: str = "Paddock", **facts: Any) -> Wording:
    return Wording(product=product, username="max", at=AT, facts=facts, link=link, link_until=AT if link else None)


def made(letter: Letter, product: str = "Paddock") -> EmailMessage:
    return rendering.message(
        letter,
        mail_id=MAIL_ID,
        written_at=AT,
        product=product,
        sender="no-reply@paddock.example",
        recipient="max@example.org",
    )


def read(message: EmailMessage) -> EmailMessage:
    return email.message_from_bytes(message.as_bytes(), policy=email.policy.default)


@pytest.mark.parametrize("facts", [{}, EVERY_FACT], ids=["alone", "with every fact"])
@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_letter_can_be_written_in_both_forms(kind: Kind, facts: dict[str, Any]) -> None:
    letter = rendering.write(kind, wording(link=LINK if kind in LINKS else None, **facts))
    assert letter.subject
    assert "\n" not in letter.subject
    for form in (letter.text, letter.html):
        assert "Hello max" in form
        assert "Paddock" in form
        assert (LINK in form) is (kind in LINKS)
        assert "None" not in form
        assert "{{" not in form
    assert "<" not in letter.text


def test_the_facts_that_callers_give_are_those_that_templates_know() -> None:
    assert set(EVERY_FACT) == set(FACTS)


def test_what_is_not_ours_is_escaped_in_html_and_left_alone_in_text() -> None:
    letter = rendering.write(Kind.EMAIL_CHANGED, wording(link=None, product="<b>&", new_email='"><script>'))
    assert "<script>" not in letter.html
    assert "&lt;b&gt;&amp;" in letter.html
    assert "<b>&" in letter.text


def test_a_fact_that_no_template_knows_is_told_by_none() -> None:
    letter = rendering.write(Kind.ACCOUNT_LOCKED, wording(link=None, device="visit evil.example"))
    assert "evil.example" not in letter.text + letter.html


def test_a_letter_has_the_headers_that_programs_look_at() -> None:
    message = read(made(rendering.write(Kind.VERIFY_EMAIL, wording())))
    assert message["Message-ID"] == f"<{MAIL_ID}@paddock.example>"
    assert message["Date"].datetime == AT.replace(microsecond=0)
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["From"].addresses[0].addr_spec == "no-reply@paddock.example"
    assert message["To"] == "max@example.org"
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def test_the_same_letter_is_the_same_bytes_however_often_it_is_written() -> None:
    once, again = (made(rendering.write(Kind.RESET_PASSWORD, wording())).as_bytes() for _ in range(2))
    assert once == again


def test_a_product_with_a_name_in_any_language_can_send_letters() -> None:
    message = read(made(rendering.write(Kind.VERIFY_EMAIL, wording(product="Fahrerlager Köln")), "Fahrerlager Köln"))
    assert message["From"].addresses[0].display_name == "Fahrerlager Köln"
    assert "Fahrerlager Köln" in message.get_body(("plain",)).get_content()  # type: ignore[union-attr] # it has one


@pytest.mark.parametrize("name", ["Paddock\nBcc: everybody@example.org", "Paddock\r\n\r\nDear all"])
def test_no_line_break_gets_into_a_header(name: str) -> None:
    with pytest.raises(ValueError, match=r"linefeed|newline|invalid"):
        made(rendering.write(Kind.VERIFY_EMAIL, wording()), name)


def test_no_line_break_gets_into_a_subject() -> None:
    letter = Letter(subject="Hello\r\nBcc: everybody@example.org", text="", html="")
    with pytest.raises(ValueError, match=r"linefeed|newline"):
        made(letter)
