"""The keeper: what JetStream gives up becomes one letter, and a stream that vanishes comes back and counts on."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from subprocess import Popen
from uuid import uuid4

import httpx
import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from common import topology
from devstack import ports
from devstack.nats import NatsServer
from devstack.servers import start_nats
from devstack.testing import eventually

Start = Callable[[], "Process"]


class Process:
    """A keeper in a process of its own."""

    def __init__(self, nats_url: str, log: Path) -> None:
        port = ports.free_port()
        self.url = f"http://127.0.0.1:{port}"
        environment = {**os.environ, "NATS_URL": nats_url, "PORT": str(port), "LOG_FORMAT": "json"}
        with log.open("ab") as output:
            self.popen = Popen([sys.executable, "-m", "paddock.keeper"], env=environment, stdout=output, stderr=output)

    async def ready(self) -> None:
        async def answers() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                async with httpx.AsyncClient() as http:
                    return (await http.get(f"{self.url}/health/ready")).status_code == 200
            return False

        await eventually(answers, seconds=90, what="the keeper")

    async def metrics(self) -> str:
        async with httpx.AsyncClient() as http:
            return (await http.get(f"{self.url}/metrics")).text

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    started = start_nats(tmp_path_factory.mktemp("nats"), durable=False)
    yield started
    started.stop()


@pytest.fixture
async def client(server: NatsServer) -> AsyncIterator[Client]:
    connected = await nats.connect(server.url)
    await topology.apply(connected.jetstream())
    yield connected
    await connected.close()


@pytest.fixture
def js(client: Client) -> JetStreamContext:
    return client.jetstream()


@pytest.fixture
def start(server: NatsServer, tmp_path: Path) -> Iterator[Start]:
    running: list[Process] = []

    def begin() -> Process:
        running.append(Process(server.url, tmp_path / "keeper.log"))
        return running[-1]

    yield begin
    for process in running:
        process.kill()


async def exhaust(js: JetStreamContext, durable: str, count: int) -> list[int]:
    """Deliver events to an outsider's durable until JetStream gives them up; return their sequences."""
    config = ConsumerConfig(
        name=durable,
        durable_name=durable,
        filter_subject="race.finished",
        deliver_policy=DeliverPolicy.NEW,
        ack_policy=AckPolicy.EXPLICIT,
        max_deliver=3,
        ack_wait=30,
    )
    await js.add_consumer(topology.EVENTS, config)
    headers = {"ce-id": str(uuid4()), "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    sequences = [(await js.publish("race.finished", b'{"round":1}', headers=headers)).seq for _ in range(count)]
    subscription = await js.pull_subscribe_bind(durable=durable, stream=topology.EVENTS)
    for _ in range(3):
        left = count
        while left:
            messages = await subscription.fetch(left, timeout=5)
            left -= len(messages)
            for message in messages:
                await message.nak()
    with pytest.raises(nats.errors.TimeoutError):
        await subscription.fetch(1, timeout=0.5)  # the fourth delivery is what tells JetStream that it gives up
    return sequences


async def letters_of(js: JetStreamContext, durable: str) -> dict[str, int]:
    info = await js.stream_info(topology.DEAD_LETTERS, subjects_filter=f"dlq.{durable}.>")
    return dict(info.state.subjects or {})


async def test_what_is_given_up_while_no_keeper_runs_is_a_letter_once_one_does(
    js: JetStreamContext, start: Start
) -> None:
    durable = f"outside-{uuid4().hex[:8]}"
    sequences = await exhaust(js, durable, 10)
    info = await js.consumer_info(topology.EVENTS, durable)
    assert (info.num_pending, info.num_ack_pending) == (0, 0)
    assert await letters_of(js, durable) == {}
    keeper = start()
    await keeper.ready()

    async def all_there() -> bool:
        return len(await letters_of(js, durable)) == 10

    await eventually(all_there, seconds=60, what="ten letters")
    assert await letters_of(js, durable) == {f"dlq.{durable}.{sequence}": 1 for sequence in sequences}
    letter = await js.get_last_msg(topology.DEAD_LETTERS, f"dlq.{durable}.{sequences[0]}")
    headers = letter.headers or {}
    assert letter.data == b'{"round":1}'
    assert headers["paddock-origin"] == "advisory"
    assert headers["paddock-subject"] == "race.finished"
    assert headers["paddock-trace-id"] == "a" * 32
    assert int(headers["paddock-tries"]) >= 3

    async def told() -> bool:
        return f'dlq_depth{{consumer="{durable}"}} 10.0' in await keeper.metrics()

    await eventually(told, seconds=60, what="the depth among the metrics")


async def test_a_keeper_that_dies_before_it_acknowledges_leaves_one_letter(js: JetStreamContext, start: Start) -> None:
    durable = f"outside-{uuid4().hex[:8]}"
    sequences = await exhaust(js, durable, 3)
    first = start()
    await first.ready()

    async def some_there() -> bool:
        return len(await letters_of(js, durable)) == 3

    await eventually(some_there, seconds=60, what="the letters")
    first.kill()
    await js.delete_consumer(topology.ADVISORIES, "keeper_advisories")  # as if nothing had been acknowledged
    await start().ready()

    async def caught_up() -> bool:
        with contextlib.suppress(NotFoundError):
            seen = await js.consumer_info(topology.ADVISORIES, "keeper_advisories")
            return not seen.num_pending and not seen.num_ack_pending
        return False

    await eventually(caught_up, seconds=60, what="all advisories once more")
    assert await letters_of(js, durable) == {f"dlq.{durable}.{sequence}": 1 for sequence in sequences}


async def test_two_keepers_write_one_letter_each_time(js: JetStreamContext, start: Start) -> None:
    keepers = [start(), start()]
    await asyncio.gather(*(keeper.ready() for keeper in keepers))
    durable = f"outside-{uuid4().hex[:8]}"
    sequences = await exhaust(js, durable, 20)

    async def all_there() -> bool:
        return len(await letters_of(js, durable)) == 20

    await eventually(all_there, seconds=60, what="twenty letters")
    assert await letters_of(js, durable) == {f"dlq.{durable}.{sequence}": 1 for sequence in sequences}


async def test_a_stream_that_vanishes_comes_back_and_counts_on(js: JetStreamContext, start: Start) -> None:
    keeper = start()
    await keeper.ready()
    last = (await js.publish("race.finished", b"{}")).seq

    async def seen() -> bool:
        body = await keeper.metrics()
        state = (await js.stream_info(topology.EVENTS)).state
        return f'stream_messages{{stream="EVENTS"}} {float(state.messages)}' in body

    await eventually(seen, seconds=60, what="the keeper's look at the stream")
    await js.delete_stream(topology.EVENTS)

    async def back() -> bool:
        with contextlib.suppress(NotFoundError):
            await js.stream_info(topology.EVENTS)
            return True
        return False

    await eventually(back, seconds=15, what="the stream")
    assert (await js.publish("race.finished", b"{}")).seq > last
    assert 'streams_recreated_total{stream="EVENTS"} 1.0' in await keeper.metrics()


async def test_a_stream_that_an_operator_has_changed_is_not_touched(js: JetStreamContext, start: Start) -> None:
    wanted = (await js.stream_info(topology.EVENTS)).config.evolve(max_age=7 * 24 * 3600, max_bytes=10_000_000)
    await js.update_stream(wanted)
    keeper = start()
    await keeper.ready()
    kept = (await js.stream_info(topology.EVENTS)).config
    assert (kept.max_age, kept.max_bytes) == (7 * 24 * 3600, 10_000_000)
    await topology.apply(js)
    assert (await js.stream_info(topology.EVENTS)).config.max_bytes == 10_000_000
