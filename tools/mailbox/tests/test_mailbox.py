from collections.abc import AsyncIterator
from email.message import EmailMessage

import aiosmtplib
import httpx
import pytest
from litestar import Litestar

from devstack.ports import free_port
from devstack.testing import running
from paddock_mailbox.__main__ import main
from paddock_mailbox.app import create_app
from paddock_mailbox.letters import KEPT, Box
from paddock_mailbox.smtp import LETTER_BYTES

TO = "max@example.org"
SENDER = "no-reply@paddock.example"


def letter(text: str = "Open https://play.example/verify#token=pdl_x now", html: str = "<b>hello</b>") -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Hello <b>you</b>", SENDER, TO
    message["Message-ID"] = "<1@paddock.example>"
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    return message


@pytest.fixture(scope="module")
def smtp_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def app(smtp_port: int) -> Litestar:
    return create_app(Box(), "127.0.0.1", smtp_port)


@pytest.fixture(scope="module")
async def client(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    async with running(app) as http:
        http.base_url = httpx.URL("http://localhost:8025")
        yield http


@pytest.fixture
async def caught(client: httpx.AsyncClient, smtp_port: int) -> dict[str, object]:
    await client.delete("/messages")
    await aiosmtplib.send(letter(), hostname="127.0.0.1", port=smtp_port, recipients=[TO])
    items = (await client.get("/messages")).json()["items"]
    assert len(items) == 1
    found: dict[str, object] = items[0]
    return found


async def test_a_letter_is_caught_with_its_text_its_html_and_its_links(caught: dict[str, object]) -> None:
    assert caught["recipients"] == [TO]
    assert caught["subject"] == "Hello <b>you</b>"
    assert caught["message_id"] == "<1@paddock.example>"
    assert caught["links"] == ["https://play.example/verify#token=pdl_x"]
    assert caught["html"] == "<b>hello</b>\n"


async def test_the_page_shows_a_letter_and_escapes_what_is_not_its_own(
    client: httpx.AsyncClient, caught: dict[str, object]
) -> None:
    index = (await client.get("/")).text
    assert f'<a href="/letters/{caught["id"]}">Hello &lt;b&gt;you&lt;/b&gt;</a>' in index
    page = await client.get(f"/letters/{caught['id']}")
    assert "Hello &lt;b&gt;you&lt;/b&gt;" in page.text
    assert "<b>hello</b>" not in page.text
    assert 'href="https://play.example/verify#token=pdl_x"' in page.text


async def test_html_is_shown_where_it_can_neither_run_nor_load_anything(
    client: httpx.AsyncClient, caught: dict[str, object]
) -> None:
    page = await client.get(f"/letters/{caught['id']}")
    assert f'<iframe sandbox title="The letter\'s HTML" src="/letters/{caught["id"]}/html">' in page.text
    framed = await client.get(f"/letters/{caught['id']}/html")
    policy = framed.headers["content-security-policy"]
    assert "sandbox;" in policy
    assert "default-src 'none'" in policy
    assert "allow-scripts" not in policy
    assert framed.headers["cache-control"] == "no-store"
    assert framed.headers["referrer-policy"] == "no-referrer"


async def test_letters_to_one_address_are_found_in_any_case(
    client: httpx.AsyncClient, caught: dict[str, object]
) -> None:
    assert (await client.get("/messages", params={"to": TO.upper()})).json()["items"] == [caught]
    assert (await client.get("/messages", params={"to": "lewis@example.org"})).json()["items"] == []


async def test_a_site_whose_name_leads_here_reads_nothing(client: httpx.AsyncClient) -> None:
    for path in ("/messages", "/"):
        assert (await client.get(path, headers={"Host": "evil.example:8025"})).status_code == 421


async def test_a_letter_too_long_is_refused(client: httpx.AsyncClient, smtp_port: int) -> None:
    await client.delete("/messages")
    long = letter("x" * 60 + "\n" + ("y" * 70 + "\n") * (LETTER_BYTES // 70))
    with pytest.raises(aiosmtplib.SMTPException) as refused:
        await aiosmtplib.send(long, hostname="127.0.0.1", port=smtp_port, recipients=[TO])
    assert "552" in str(refused.value)
    assert (await client.get("/messages")).json() == {"items": []}


async def test_a_letter_that_is_forgotten_is_gone(client: httpx.AsyncClient, caught: dict[str, object]) -> None:
    await client.delete("/messages")
    assert (await client.get(f"/letters/{caught['id']}")).status_code == 404


def test_only_the_last_letters_are_kept() -> None:
    box = Box()
    for number in range(KEPT + 5):
        box.put(SENDER, [TO], f"Subject: {number}\r\n\r\ntext".encode())
    kept = box.all()
    assert len(kept) == KEPT
    assert kept[0].subject == str(KEPT + 4)
    assert box.find(5) is None
    assert box.find(6) is not None


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"Content-Type: multipart/alternative\r\n\r\nx", b"Content-Type: text/x;;=\r\n\r\n"],
)
def test_what_is_no_proper_letter_is_kept_as_far_as_it_can_be_read(content: bytes) -> None:
    assert Box().put("", [], content).id == 1


def test_an_address_that_cannot_be_listened_on_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", "192.0.2.1"]) == 2
    assert "cannot listen on 192.0.2.1" in capsys.readouterr().err
