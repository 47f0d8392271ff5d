"""The keeper in a whole stack: a stream that vanishes comes back under running services (E7), letters of outsiders."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import nats
import nats.errors
import pytest
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError
from prometheus_client.parser import text_string_to_metric_families

from devstack.stack import Stack
from devstack.testing import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("chaos")]

RECREATED_SECONDS = 15
IDLE_SECONDS = 20.0
IDLE_SHARE = 0.02
"""Of a core; measured 0.05 %, with room for a machine that runs other tests beside this one."""
OUTSIDER = "outsider"
TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def stack(stacks: Callable[..., Stack]) -> Stack:
    """A season whose first session is far away, with the credentials of `make run`."""
    return stacks(pace=36_000, seed=7, rounds="1-2")


@pytest.fixture
async def js(stack: Stack) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(stack.nats_url, user_credentials=stack.nats_creds())
    yield client.jetstream()
    await client.close()


async def metric(stack: Stack, name: str, **labels: str) -> float | None:
    async with httpx.AsyncClient(timeout=20) as http:
        page = (await http.get(f"{stack.urls['keeper']}/metrics")).text
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return None


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def test_an_idle_keeper_costs_next_to_nothing(stack: Stack) -> None:
    pid = stack.programs["keeper"].pid
    assert pid is not None
    begun, used = time.monotonic(), cpu_seconds(pid)
    await asyncio.sleep(IDLE_SECONDS)  # what is measured is a time in which nothing is asked of it
    share = (cpu_seconds(pid) - used) / (time.monotonic() - begun)
    print(f"keeper: {share:.2%} of a core while idle")  # noqa: T201 - a figure
    assert share <= IDLE_SHARE


async def test_a_stream_that_is_deleted_under_the_services_comes_back_and_events_flow_on(
    stack: Stack, js: JetStreamContext, player_at: Callable[[Stack, str], Any], observe: Callable[[Stack], Any]
) -> None:
    await player_at(stack, "before").enter()
    await eventually(lambda: known(observe(stack), "before"), seconds=30, what="the player in leagues")
    last = (await js.stream_info("EVENTS")).state.last_seq
    await js.delete_stream("EVENTS")
    begun = time.monotonic()
    await player_at(stack, "after").enter()

    async def back() -> bool:
        with contextlib.suppress(NotFoundError):
            return bool((await js.stream_info("EVENTS")).state.messages)
        return False

    await eventually(back, seconds=RECREATED_SECONDS + 5, what="the stream, and the event that waited for it")
    assert (await js.stream_info("EVENTS")).state.first_seq > last
    await eventually(lambda: known(observe(stack), "after"), seconds=60, what="the next player in leagues")
    print(f"E7: events flow again {time.monotonic() - begun:.1f} s after EVENTS was deleted")  # noqa: T201 - a figure
    assert await metric(stack, "streams_recreated_total", stream="EVENTS") == 1


async def known(observer: Any, name: str) -> bool:
    return bool(await observer.rows(f"SELECT 1 FROM leagues.users WHERE username = '{name}'"))


async def test_what_an_outsider_lost_while_the_keeper_was_dead_is_a_letter_and_shows_although_lag_is_nothing(
    stack: Stack, js: JetStreamContext, player_at: Callable[[Stack, str], Any]
) -> None:
    config = ConsumerConfig(
        durable_name=OUTSIDER,
        filter_subject="user.registered",
        deliver_policy=DeliverPolicy.NEW,
        ack_policy=AckPolicy.EXPLICIT,
        max_deliver=3,
    )
    await js.add_consumer("EVENTS", config)
    stack.kill("keeper")
    for number in range(10):
        await player_at(stack, f"lost_{number}").enter()
    subscription = await js.pull_subscribe_bind(durable=OUTSIDER, stream="EVENTS")
    for _ in range(30):
        [message] = await subscription.fetch(1, timeout=20)
        await message.nak()
    with pytest.raises(nats.errors.TimeoutError):
        await subscription.fetch(1, timeout=0.5)
    stack.start_again("keeper")

    async def shown() -> bool:
        return await metric(stack, "dlq_depth", consumer=OUTSIDER) == 10

    await eventually(shown, seconds=60, what="ten letters among the metrics")
    assert await metric(stack, "consumer_pending", consumer=OUTSIDER) == 0
    assert await metric(stack, "consumer_ack_pending", consumer=OUTSIDER) == 0
    info = await js.stream_info("DLQ", subjects_filter=f"dlq.{OUTSIDER}.>")
    assert sorted((info.state.subjects or {}).values()) == [1] * 10
