"""The streams belong to the operator: what a whole running product leaves alone, with credentials that enforce it."""

import asyncio
import json
from collections.abc import Callable
from urllib.parse import urlsplit

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig

from common import migrate, topology
from devstack.stack import Stack
from devstack.testing import eventually
from paddock import nats_users

DAY_SECONDS = 24 * 3600


@pytest.fixture(scope="module")
def stack(stacks: Callable[..., Stack]) -> Stack:
    return stacks()


async def config_of(client: Client, stream: str) -> str:
    """What the server says of a stream's configuration, to the letter."""
    answer = json.loads((await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=5)).data)
    return json.dumps(answer["config"], sort_keys=True)


def durables() -> set[str]:
    registries = [nats_users.registry(service) for service in migrate.SERVICES]
    return {
        name
        for registry in registries
        if registry
        for consumer in registry.durables()
        if consumer.stream == topology.EVENTS
        for name in consumer.names()
    }


@pytest.mark.timeout(300)
async def test_no_start_of_a_service_changes_a_stream_that_the_operator_made(stack: Stack) -> None:
    client = await nats.connect(stack.nats_url, user_credentials=stack.nats_creds())
    try:
        js = client.jetstream()
        live = (await js.stream_info(topology.EVENTS)).config
        by_hand: StreamConfig = live.evolve(
            description="made by hand",
            max_age=30 * DAY_SECONDS,
            duplicate_window=600,
            max_bytes=123_456_789,
            metadata={"owner": "the operator"},
        )
        await js.update_stream(by_hand)
        for name in durables():
            await js.delete_consumer(topology.EVENTS, name)
        before = await config_of(client, topology.EVENTS)
        assert '"max_bytes": 123456789' in before
        for name in (*migrate.SERVICES, "gateway"):
            stack.kill(name)
        for name in (*migrate.SERVICES, "gateway"):
            stack.start_again(name)

        async def attached() -> bool:
            return durables() <= {info.name for info in await js.consumers_info(topology.EVENTS)}

        await eventually(attached, seconds=60, what="every durable")
        assert await config_of(client, topology.EVENTS) == before
    finally:
        await client.close()
    assert violations(stack) == []


def violations(stack: Stack) -> list[str]:
    """What NATS has refused anybody; the product asks for nothing that its credentials do not allow."""
    log = (stack.state.logs / "nats.log").read_text()
    return [line for line in log.splitlines() if "Violation" in line or "authorization" in line.lower()]


@pytest.mark.timeout(300)
async def test_a_stack_lets_in_nobody_without_credentials(stack: Stack) -> None:
    address = urlsplit(stack.nats_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        await reader.readline()
        writer.write(b'CONNECT {"verbose": false, "protocol": 1, "lang": "test", "version": "0"}\r\nPING\r\n')
        assert await asyncio.wait_for(reader.readline(), 5) == b"-ERR 'Authorization Violation'\r\n"
    finally:
        writer.close()
        await writer.wait_closed()
