"""The connection goes to the checked address, and TLS is with the name: its certificate, and no other."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pytest

from lab.certificates import certify
from webhooks.domain import Attempt, Failure, Format
from webhooks.queue import Job
from webhooks.rendering import Message
from webhooks.sender import Sender
from webhooks.settings import WebhooksSettings
from webhooks.signing import Seal, new_key
from webhooks.targets import Guard

if TYPE_CHECKING:
    from services.webhooks.tests.integration.conftest import Receiver

NAME = "hook.example"


@pytest.fixture
async def port(receiver: "Receiver", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A receiver behind TLS, whose certificate the machine trusts."""
    file = certify(tmp_path, NAME)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def send(settings: WebhooksSettings, url: str) -> Attempt:
    async def resolve(_: str, __: int) -> list[str]:
        return ["127.0.0.1"]

    open_to_all = msgspec.structs.replace(settings, allow_private=True, ports="1-65535")
    guard = Guard(open_to_all, resolve)
    sender, endpoint_id = Sender(open_to_all, guard), uuid4()
    job = Job(
        delivery_id=uuid4(),
        endpoint_id=endpoint_id,
        lease=uuid4(),
        tries=1,
        url=url,
        form=Format.CLOUDEVENTS,
        disabled=False,
        sealed=[Seal(settings.encryption_secret).close(endpoint_id, new_key())],
        message=Message(
            event_id=uuid4(), subject="webhook.test", source="/x", key="k", time="2026-03-08T05:48:12Z", body=b"{}"
        ),
    )
    try:
        return await sender.send(job)
    finally:
        await sender.close()
        guard.close()


async def test_the_certificate_is_that_of_the_name_though_the_connection_goes_to_an_address(
    settings: WebhooksSettings, receiver: "Receiver", port: int
) -> None:
    attempt = await send(settings, f"https://{NAME}:{port}/hook")
    assert attempt.delivered
    assert receiver.requests[0].headers["host"] == f"{NAME}:{port}"


@pytest.mark.parametrize("host", ["another.example", "127.0.0.1"])
async def test_the_certificate_of_another_name_is_refused(
    settings: WebhooksSettings, receiver: "Receiver", port: int, host: str
) -> None:
    attempt = await send(settings, f"https://{host}:{port}/hook")
    assert (attempt.error, attempt.status_code) == (Failure.TLS, None)
    assert receiver.requests == []
