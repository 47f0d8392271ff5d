"""Several processes share the queue, and one that dies leaves nothing behind but its leases."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from devstack.ports import free_port
from devstack.testing import eventually
from webhooks.settings import WebhooksSettings

if TYPE_CHECKING:
    from services.webhooks.tests.integration.conftest import Answer, Receiver, World

EVENTS = 60
ENDPOINTS = 4


@dataclass
class Running:
    """A process of the service."""

    process: asyncio.subprocess.Process
    http: httpx.AsyncClient
    log: Path

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        self.process.terminate()
        return await self.process.wait()

    async def alive(self) -> bool:
        try:
            return (await self.http.get("/health/live")).status_code == 200
        except httpx.TransportError:
            assert self.process.returncode is None, self.log.read_text()
            return False


Launch = Callable[..., Awaitable[Running]]


@pytest.fixture
async def launch(settings: WebhooksSettings, tmp_path: Path) -> AsyncIterator[Launch]:
    """Run `python -m webhooks`, with NATS out of reach, and wait until it lives."""
    async with contextlib.AsyncExitStack() as stack:

        async def run(**own: str) -> Running:
            port = free_port()
            environ = {
                "PATH": os.environ["PATH"],
                "PADDOCK_ENV": "test",
                "PORT": str(port),
                "DATABASE_URL": settings.database_url,
                "NATS_URL": "nats://127.0.0.1:1",
                "AUTH_URL": settings.auth_url,
                "LOG_FORMAT": "json",
                "WEBHOOKS_ALLOW_HTTP": "true",
                "WEBHOOKS_ALLOW_PRIVATE": "true",
                "WEBHOOKS_PORTS": "1-65535",
                **own,
            }
            log = tmp_path / f"webhooks-{port}.log"
            with log.open("wb") as out:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "webhooks", env=environ, stdout=out, stderr=out
                )
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20))
            running = Running(process, http, log)
            stack.push_async_callback(_end, running)
            await eventually(running.alive, seconds=60, what="a process")
            return running

        yield run


async def _end(running: Running) -> None:
    if running.process.returncode is None:
        await running.kill()


async def test_two_processes_deliver_everything_once(world: "World", receiver: "Receiver", launch: Launch) -> None:
    first, second = await asyncio.gather(launch(), launch())
    ann = world.subscriber(first.http)
    endpoints = [await ann.register(f"{receiver.url}/{number}") for number in range(ENDPOINTS)]
    for _ in range(EVENTS):
        await world.happen()
    await receiver.heard(EVENTS * ENDPOINTS, seconds=60)
    for endpoint in endpoints:
        await ann.ended(endpoint, EVENTS)
    sent = Counter((request.path, request.headers["webhook-id"]) for request in receiver.requests)
    assert len(sent) == EVENTS * ENDPOINTS
    assert set(sent.values()) == {1}, "nobody sends what another has in hand"
    (attempts,) = await world.rows("SELECT count(*), count(DISTINCT delivery_id) FROM delivery_attempts")
    assert tuple(attempts) == (EVENTS * ENDPOINTS, EVENTS * ENDPOINTS)
    shares = [await delivered_by(running) for running in (first, second)]
    assert sum(shares) == EVENTS * ENDPOINTS
    assert min(shares) > 0, "both had a part in it"
    assert [await first.stop(), await second.stop()] == [0, 0]


async def delivered_by(running: Running) -> int:
    metrics = (await running.http.get("/metrics")).text
    line = next(
        line for line in metrics.splitlines() if line.startswith('webhook_deliveries_total{outcome="delivered"}')
    )
    return int(float(line.split()[-1]))


async def test_what_a_killed_process_had_in_hand_is_sent_again_when_its_lease_has_ended(
    world: "World", receiver: "Receiver", answer: "type[Answer]", launch: Launch
) -> None:
    own = {"WEBHOOKS_REQUEST_SECONDS": "5", "WEBHOOKS_LEASE_SECONDS": "6"}
    receiver.behave = lambda _: answer(seconds=60)
    victim, heir = await asyncio.gather(launch(**own, WEBHOOKS_CONCURRENCY="1"), launch(**own))
    ann = world.subscriber(heir.http)
    endpoint = await ann.register(receiver.url)
    heir.process.send_signal(signal.SIGSTOP)
    await world.happen()
    await receiver.heard(1)
    await victim.kill()
    receiver.behave = lambda _: answer()
    heir.process.send_signal(signal.SIGCONT)
    first, second = await receiver.heard(2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    (delivery,) = await ann.ended(endpoint)
    assert delivery["status"] == "delivered"
    assert [attempt["number"] for attempt in delivery["attempts"]] == [1], "the first one told nobody how it ended"


async def test_a_process_that_is_stopped_gives_back_what_it_has_in_hand_at_once(
    world: "World", receiver: "Receiver", answer: "type[Answer]", launch: Launch
) -> None:
    running = await launch(WEBHOOKS_REQUEST_SECONDS="50", WEBHOOKS_LEASE_SECONDS="60")
    receiver.behave = lambda _: answer(seconds=60)
    await world.subscriber(running.http).register(receiver.url)
    await world.happen()
    await receiver.heard(1)
    assert await running.stop() == 0
    assert await world.rows("SELECT lease, due_at <= now(), tries FROM deliveries") == [(None, True, 0)]


async def test_what_happens_while_nobody_sends_waits_and_what_waits_survives_a_restart(
    world: "World", receiver: "Receiver", answer: "type[Answer]", launch: Launch
) -> None:
    running = await launch()
    ann = world.subscriber(running.http)
    endpoint = await ann.register(receiver.url)
    receiver.behave = lambda _: answer(status=500)
    await world.happen()

    async def failed() -> bool:
        return bool((await ann.read(endpoint))["failures"])

    await eventually(failed, seconds=20, what="a failure")
    assert await running.stop() == 0
    await world.happen()
    receiver.behave = lambda _: answer()
    ann.http = (await launch()).http
    log = await ann.ended(endpoint, 2, seconds=40)
    assert sorted(len(delivery["attempts"]) for delivery in log) == [1, 2]
    assert {delivery["status"] for delivery in log} == {"delivered"}


async def test_no_secret_and_no_path_of_a_subscriber_is_in_the_log(
    world: "World", receiver: "Receiver", answer: "type[Answer]", launch: Launch
) -> None:
    running = await launch(LOG_LEVEL="DEBUG")
    ann = world.subscriber(running.http)
    endpoint = await ann.register(receiver.url + "/token-of-a-chat", description="my own words")
    rotated = (await ann.call("POST", f"/{endpoint['endpoint_id']}/secret")).json()
    await world.happen()
    await ann.ended(endpoint)
    receiver.behave = lambda _: answer(status=500)
    await world.happen()
    await receiver.heard(2)
    (request, _) = receiver.requests
    assert await running.stop() == 0
    log = running.log.read_text()
    assert "delivery failed" in log
    for word in (endpoint["secret"], rotated["secret"], request.headers["webhook-signature"], "token-of-a-chat"):
        assert word.removeprefix("whsec_") not in log
    assert "my own words" not in log
