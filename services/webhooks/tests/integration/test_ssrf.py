"""No URL and no name makes us talk to our own network: a canary listens there, and hears nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import pytest

from webhooks.domain import Attempt, Failure, Format
from webhooks.queue import Job
from webhooks.rendering import Message
from webhooks.sender import Sender
from webhooks.settings import WebhooksSettings
from webhooks.signing import Seal, new_key
from webhooks.targets import Guard

if TYPE_CHECKING:
    from services.webhooks.tests.integration.conftest import Answer, Receiver, Start, World

PAYLOADS = [
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/",
    "http://ip6-localhost:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://127.255.255.254:{port}/",
    "http://2130706433:{port}/",
    "http://017700000001:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0x0.0x0.0x1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::]:{port}/",
    "http://[::1]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://example.com:80@127.0.0.1:{port}/",
    "http://example.com%00@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://127。0。0。1:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://loc\u00adalhost:{port}/",
    "http://%6c%6f%63%61%6c%68%6f%73%74:{port}/",
    "http://127.0.0.1:{port}\t/",
    " http://127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_x",
    "file:///etc/passwd",
]
OPEN = {"allow_http": True, "ports": "1-65535"}
"""Everything is allowed but private addresses, so that nothing else stops a payload."""


def job(url: str, settings: WebhooksSettings) -> Job:
    endpoint_id = uuid4()
    message = Message(
        event_id=uuid4(), subject="webhook.test", source="/x", key="k", time="2026-03-08T05:48:12Z", body=b"{}"
    )
    return Job(
        delivery_id=uuid4(),
        endpoint_id=endpoint_id,
        lease=uuid4(),
        tries=1,
        url=url,
        form=Format.CLOUDEVENTS,
        disabled=False,
        sealed=[Seal(settings.encryption_secret).close(endpoint_id, new_key())],
        message=message,
    )


Attack = Callable[..., Awaitable[Attempt]]


@pytest.fixture
async def attack(settings: WebhooksSettings) -> Attack:
    """Send to a URL that is in the database already, whoever let it in."""

    async def send(url: str, resolve: Any = None, **changes: Any) -> Attempt:
        changed = msgspec.structs.replace(settings, **{**OPEN, **changes})
        guard = Guard(changed, resolve)
        sender = Sender(changed, guard)
        try:
            return await sender.send(job(url, changed))
        finally:
            await sender.close()
            guard.close()

    return send


async def test_no_payload_can_be_registered_and_the_canary_hears_nothing(
    world: "World", start: "Start", receiver: "Receiver"
) -> None:
    ann = world.subscriber(await start(allow_private=False))
    endpoint = uuid4()
    for payload in PAYLOADS:
        url = payload.format(port=receiver.port)
        for method, path, body in (
            ("POST", "", {"url": url, "subjects": ["race.finished"]}),
            ("PATCH", f"/{endpoint}", {"url": url}),
        ):
            response = await ann.call(method, path, body)
            assert (response.status_code, response.json()["code"]) == (422, "url_refused"), url
    assert await world.rows("SELECT 1 FROM endpoints") == []
    assert receiver.connections == 0


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_a_payload_that_was_let_in_is_stopped_when_it_is_sent(
    attack: Attack, receiver: "Receiver", payload: str
) -> None:
    attempt = await attack(payload.format(port=receiver.port))
    assert (attempt.error, attempt.status_code) == (Failure.ADDRESS, None)
    assert receiver.connections == 0


async def test_the_canary_would_sing(attack: Attack, receiver: "Receiver") -> None:
    attempt = await attack(receiver.url, allow_private=True)
    assert attempt.delivered
    assert receiver.connections == 1


async def test_a_name_that_changes_its_address_after_the_check_is_checked_again(
    attack: Attack, receiver: "Receiver", settings: WebhooksSettings
) -> None:
    answers = iter([["93.184.216.34"], ["127.0.0.1"], ["127.0.0.1"]])

    async def rebinding(_: str, __: int) -> list[str]:
        return next(answers)

    url = f"http://rebind.example:{receiver.port}/"
    await Guard(msgspec.structs.replace(settings, **OPEN), rebinding).check(url)
    attempt = await attack(url, rebinding)
    assert attempt.error is Failure.ADDRESS
    assert receiver.connections == 0


async def test_the_connection_goes_to_the_address_that_was_checked_and_the_name_is_not_looked_up_again(
    attack: Attack, receiver: "Receiver"
) -> None:
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    attempt = await attack(f"http://only-here.example:{receiver.port}/hook", resolve, allow_private=True)
    assert attempt.delivered, "the system's resolver knows no such name"
    assert asked == [("only-here.example", receiver.port)]
    assert receiver.requests[0].headers["host"] == f"only-here.example:{receiver.port}"


async def test_one_private_address_among_public_ones_is_enough(attack: Attack, receiver: "Receiver") -> None:
    async def mixed(_: str, __: int) -> list[str]:
        return ["93.184.216.34", "127.0.0.1"]

    attempt = await attack(f"http://mixed.example:{receiver.port}/", mixed)
    assert attempt.error is Failure.ADDRESS
    assert receiver.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_nobody_goes_there(
    attack: Attack, receiver: "Receiver", another: "Receiver", answer: "type[Answer]", status: int
) -> None:
    receiver.behave = lambda _: answer(status=status, headers={"Location": another.url})
    attempt = await attack(receiver.url, allow_private=True)
    assert (attempt.error, attempt.status_code) == (Failure.STATUS, status)
    assert (receiver.connections, another.connections) == (1, 0)


async def test_no_proxy_of_the_environment_is_used(
    attack: Attack, receiver: "Receiver", another: "Receiver", monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, another.url)
    assert (await attack(receiver.url, allow_private=True)).delivered
    assert another.connections == 0


async def test_a_certificate_is_checked_against_the_name(attack: Attack, receiver: "Receiver") -> None:
    attempt = await attack(receiver.url.replace("http:", "https:"), allow_private=True)
    assert attempt.error is Failure.TLS


async def test_an_answer_without_end_is_not_read_to_its_end(attack: Attack) -> None:
    sent = 0

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                sent += 65536
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    attempt = await attack(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", allow_private=True)
    assert attempt.delivered
    assert sent < 50_000_000
    server.close()


async def test_a_name_server_that_is_silent_is_not_waited_for(attack: Attack) -> None:
    async def silent(_: str, __: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    attempt = await attack("http://silent.example/", silent, request_seconds=0.2)
    assert attempt.error is Failure.TIMEOUT
