"""The keeper: what JetStream gives up becomes one letter, and a stream that vanishes comes back and counts on."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import nats
import nats.errors
import pytest
from litestar import Litestar
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError
from prometheus_client.parser import text_string_to_metric_families

from common import letters, topology
from common.app import in_background
from devstack import ports, spawn
from devstack.nats import NatsServer
from devstack.preload import Nursery
from devstack.servers import start_nats
from devstack.testing import eventually
from paddock import advisories
from paddock import keeper as keeping
from paddock.broker import OperatorSettings

DELIVERIES = 3
TRACE = "a" * 32
PRELOADED = ("common.app", "common.letters", "paddock.broker")
DYING = """
import os
from common import letters

write = letters.write

async def write_and_die(js, letter):
    await write(js, letter)
    os._exit(137)

letters.write = write_and_die
from paddock import keeper
keeper.keep()
"""
"""A keeper that is killed between the letter and the acknowledgement of its advisory."""


class Keeper:
    """A keeper in a process of its own."""

    def __init__(self, process: spawn.Process, port: int) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{port}"

    async def status(self, path: str) -> tuple[int, str]:
        try:
            async with httpx.AsyncClient(timeout=10) as http:
                answer = await http.get(f"{self.url}{path}")
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text

    async def ready(self) -> None:
        async def answers() -> bool:
            return (await self.status("/health/ready"))[0] == 200

        await eventually(answers, seconds=90, what="the keeper")

    async def metric(self, name: str, **labels: str) -> float | None:
        for family in text_string_to_metric_families((await self.status("/metrics"))[1]):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None

    async def wait(self) -> int:
        return await asyncio.to_thread(self._process.wait, 90)

    def kill(self) -> None:
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(10)


Start = Callable[..., Keeper]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    started = start_nats(tmp_path_factory.mktemp("nats"), durable=False)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery | None]:
    """A process that has imported what a keeper is made of; none where the system cannot fork it."""
    if not Nursery.possible():
        yield None
        return
    started = Nursery(tmp_path_factory.mktemp("nursery") / "nursery.log", os.environ, PRELOADED)
    started.start()
    yield started
    started.kill()


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
def start(server: NatsServer, nursery: Nursery | None, tmp_path: Path) -> Iterator[Start]:
    running: list[Keeper] = []

    def begin(*, dying: bool = False) -> Keeper:
        port, log = ports.free_port(), tmp_path / f"keeper-{len(running)}.log"
        environ = {**os.environ, "NATS_URL": server.url, "PORT": str(port), "LOG_FORMAT": "json"}
        argv = (sys.executable, "-m", "paddock.keeper")
        process: spawn.Process
        if dying:
            process = spawn.spawn((sys.executable, "-c", DYING), log=log, env=environ)
        elif nursery is not None:
            process = nursery.spawn(argv, log=log, env=environ)
        else:
            process = spawn.spawn(argv, log=log, env=environ)
        running.append(Keeper(process, port))
        return running[-1]

    yield begin
    for keeper in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            keeper.kill()


@pytest.fixture
def durable() -> str:
    return f"outside-{uuid4().hex[:8]}"


async def subscribed(js: JetStreamContext, durable: str) -> JetStreamContext.PullSubscription:
    """Make the durable of somebody outside, who gives up after three deliveries."""
    config = ConsumerConfig(
        name=durable,
        durable_name=durable,
        filter_subject="race.finished",
        deliver_policy=DeliverPolicy.NEW,
        ack_policy=AckPolicy.EXPLICIT,
        max_deliver=DELIVERIES,
        ack_wait=30,
    )
    await js.add_consumer(topology.EVENTS, config)
    return await js.pull_subscribe_bind(durable=durable, stream=topology.EVENTS)


async def send(js: JetStreamContext) -> int:
    headers = {"ce-id": str(uuid4()), "traceparent": f"00-{TRACE}-{'b' * 16}-01"}
    return (await js.publish("race.finished", b'{"round":1}', headers=headers)).seq


async def exhaust(js: JetStreamContext, durable: str, count: int) -> list[int]:
    """Deliver events to an outsider's durable until JetStream gives them up; return their sequences."""
    subscription = await subscribed(js, durable)
    sequences = [await send(js) for _ in range(count)]
    for _ in range(DELIVERIES):
        left = count
        while left:
            messages = await subscription.fetch(left, timeout=10)
            left -= len(messages)
            for message in messages:
                await message.nak()
    with pytest.raises(nats.errors.TimeoutError):
        await subscription.fetch(1, timeout=0.5)  # the fourth delivery is what tells JetStream that it gives up
    return sequences


async def one(js: JetStreamContext, durable: str) -> Msg:
    """Deliver one event once."""
    subscription = await subscribed(js, durable)
    await send(js)
    [message] = await subscription.fetch(1, timeout=10)
    return message


async def letters_of(js: JetStreamContext, durable: str) -> dict[str, int]:
    info = await js.stream_info(topology.DEAD_LETTERS, subjects_filter=f"dlq.{durable}.>")
    return dict(info.state.subjects or {})


async def buried(js: JetStreamContext, durable: str, sequences: list[int]) -> None:
    """Wait for the letters; there is one of each delivery and no other."""

    async def all_there() -> bool:
        return len(await letters_of(js, durable)) >= len(sequences)

    await eventually(all_there, seconds=60, what=f"{len(sequences)} letters")
    assert await letters_of(js, durable) == {f"dlq.{durable}.{sequence}": 1 for sequence in sequences}


async def caught_up(js: JetStreamContext) -> None:
    """Wait until no advisory is unread, nor read and not acknowledged."""

    async def nothing_left() -> bool:
        with contextlib.suppress(NotFoundError):
            seen = await js.consumer_info(topology.ADVISORIES, advisories.DURABLE)
            return not seen.num_pending and not seen.num_ack_pending
        return False

    await eventually(nothing_left, seconds=60, what="all advisories dealt with")


async def test_what_is_given_up_while_the_keeper_is_dead_is_a_letter_once_one_runs(
    js: JetStreamContext, start: Start, durable: str
) -> None:
    before = start()
    await before.ready()
    before.kill()
    sequences = await exhaust(js, durable, 10)
    info = await js.consumer_info(topology.EVENTS, durable)
    assert (info.num_pending, info.num_ack_pending) == (0, 0), "its lag tells of nothing"
    assert await letters_of(js, durable) == {}

    keeper = start()
    await keeper.ready()
    await buried(js, durable, sequences)
    letter = await js.get_last_msg(topology.DEAD_LETTERS, f"dlq.{durable}.{sequences[0]}")
    headers = letter.headers or {}
    assert letter.data == b'{"round":1}'
    assert headers["paddock-origin"] == "advisory"
    assert headers["paddock-subject"] == "race.finished"
    assert headers["paddock-stream-seq"] == str(sequences[0])
    assert headers["paddock-trace-id"] == TRACE
    assert headers["paddock-error"] == "MaxDeliveries"
    assert int(headers["paddock-tries"]) >= DELIVERIES

    async def told() -> bool:
        return await keeper.metric("dlq_depth", consumer=durable) == 10

    await eventually(told, seconds=60, what="the depth among the metrics")
    assert await keeper.metric("consumer_pending", consumer=durable) == 0
    assert await keeper.metric("dlq_letters_total", origin="advisory") == 10
    assert await keeper.metric("advisories_total", kind="max_deliver") == 10


@pytest.mark.timeout(240)
async def test_a_keeper_that_is_killed_between_letter_and_acknowledgement_leaves_one_letter(
    js: JetStreamContext, start: Start, durable: str
) -> None:
    sequences = await exhaust(js, durable, 3)
    assert await start(dying=True).wait() == 137
    assert len(await letters_of(js, durable)) == 1
    assert (await js.consumer_info(topology.ADVISORIES, advisories.DURABLE)).num_ack_pending == 1
    keeper = start()
    await keeper.ready()
    await caught_up(js)
    await buried(js, durable, sequences)
    assert await keeper.metric("advisories_total", kind="max_deliver") == 3
    assert await keeper.metric("dlq_letters_total", origin="advisory") == 2


async def test_two_keepers_write_one_letter_each_time(js: JetStreamContext, start: Start, durable: str) -> None:
    keepers = [start(), start()]
    await asyncio.gather(*(keeper.ready() for keeper in keepers))
    sequences = await exhaust(js, durable, 20)
    await buried(js, durable, sequences)
    await caught_up(js)
    written = [await keeper.metric("dlq_letters_total", origin="advisory") or 0 for keeper in keepers]
    assert sum(written) == 20


async def test_a_delivery_that_the_bus_has_ended_gets_no_second_letter_even_when_its_own_was_dropped(
    js: JetStreamContext, start: Start, durable: str
) -> None:
    keeper = start()
    await keeper.ready()
    await letters.end(await one(js, durable))
    await send(js)  # the next one, ended by its subscriber alone
    subscription = await js.pull_subscribe_bind(durable=durable, stream=topology.EVENTS)
    [message] = await subscription.fetch(1, timeout=10)
    await message.term()
    await buried(js, durable, [message.metadata.sequence.stream])
    letter = await js.get_last_msg(topology.DEAD_LETTERS, f"dlq.{durable}.{message.metadata.sequence.stream}")
    assert (letter.headers or {})["paddock-error"] == "Terminated"
    await caught_up(js)
    assert await keeper.metric("dlq_letters_total", origin="bus") == 1
    assert await keeper.metric("advisories_total", kind="terminated") == 1, "of the bus there is nothing to advise"


async def test_of_an_event_that_is_gone_there_is_a_letter_that_says_so(
    js: JetStreamContext, start: Start, durable: str
) -> None:
    [sequence] = await exhaust(js, durable, 1)
    await js.purge_stream(topology.EVENTS)
    await start().ready()
    await buried(js, durable, [sequence])
    letter = await js.get_last_msg(topology.DEAD_LETTERS, f"dlq.{durable}.{sequence}")
    assert letter.data in (b"", None)
    assert "no longer in the stream" in (letter.headers or {})["paddock-reason"]


async def test_a_keeper_whose_durable_is_deleted_makes_it_anew(
    js: JetStreamContext, start: Start, durable: str
) -> None:
    await start().ready()
    await eventually(lambda: _there(js), seconds=30, what="the keeper's durable")
    await js.delete_consumer(topology.ADVISORIES, advisories.DURABLE)
    sequences = await exhaust(js, durable, 2)
    await buried(js, durable, sequences)


async def _there(js: JetStreamContext) -> bool:
    with contextlib.suppress(NotFoundError):
        await js.consumer_info(topology.ADVISORIES, advisories.DURABLE)
        return True
    return False


async def test_a_subscriber_that_is_removed_is_exported_no_more(
    js: JetStreamContext, start: Start, durable: str
) -> None:
    await subscribed(js, durable)
    await send(js)
    keeper = start()
    await keeper.ready()
    assert await keeper.metric("consumer_pending", consumer=durable) == 1
    await js.delete_consumer(topology.EVENTS, durable)

    async def forgotten() -> bool:
        return await keeper.metric("consumer_pending", consumer=durable) is None

    await eventually(forgotten, seconds=60, what="the end of the series")
    assert await keeper.metric("consumer_ack_floor_age_seconds", consumer=durable) is None


async def test_a_stream_that_vanishes_comes_back_as_its_operator_had_it_and_counts_on(
    js: JetStreamContext, start: Start
) -> None:
    live = (await js.stream_info(topology.EVENTS)).config
    await js.update_stream(live.evolve(max_bytes=10_000_000, metadata={"team": "races"}))
    keeper = start()
    await keeper.ready()
    await send(js)
    for _ in range(100):
        last = await send(js)  # the keeper has not seen these

    await js.delete_stream(topology.EVENTS)

    async def back() -> bool:
        with contextlib.suppress(NotFoundError):
            await js.stream_info(topology.EVENTS)
            return True
        return False

    await eventually(back, seconds=15, what="the stream")
    assert await send(js) > last
    config = (await js.stream_info(topology.EVENTS)).config
    assert config.max_bytes == 10_000_000
    assert (config.metadata or {})["team"] == "races"
    assert config.max_age == 30 * 24 * 3600
    assert await keeper.metric("streams_recreated_total", stream="EVENTS") == 1
    await keeper.ready()


async def test_a_stream_that_was_never_seen_is_left_to_the_operator(js: JetStreamContext, start: Start) -> None:
    await js.delete_stream(topology.EVENTS)
    keeper = start()

    async def complains() -> bool:
        status, body = await keeper.status("/health")
        return status == 200 and "no stream EVENTS; run `paddock topology apply`" in body

    await eventually(complains, seconds=60, what="the complaint")
    assert (await keeper.status("/health/ready"))[0] == 503
    assert (await keeper.status("/health/live"))[0] == 200
    with pytest.raises(NotFoundError):
        await js.stream_info(topology.EVENTS)
    await topology.apply(js)
    await keeper.ready()


async def test_a_stream_that_an_operator_has_changed_is_not_touched(js: JetStreamContext, start: Start) -> None:
    wanted = (await js.stream_info(topology.EVENTS)).config.evolve(max_age=7 * 24 * 3600, max_bytes=10_000_000)
    await js.update_stream(wanted)
    keeper = start()
    await keeper.ready()
    kept = (await js.stream_info(topology.EVENTS)).config
    assert (kept.max_age, kept.max_bytes) == (7 * 24 * 3600, 10_000_000)
    await topology.apply(js)
    assert (await js.stream_info(topology.EVENTS)).config.max_bytes == 10_000_000


async def test_a_connection_that_is_closed_for_good_is_made_anew(
    server: NatsServer, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.1)
    await js.stream_info(topology.EVENTS)
    kept = keeping.Keeper(OperatorSettings(nats_url=server.url))

    async def well() -> bool:
        return kept.trouble is None

    async with in_background(Litestar(), [("keeper", kept.run)]):
        await eventually(well, seconds=30, what="the first look")
        first = kept.client
        assert first is not None
        await first.close()  # as when NATS refuses the credentials of a connection that comes back

        async def another() -> bool:
            return kept.client is not first and kept.trouble is None

        await eventually(another, seconds=30, what="a look over another connection")


async def test_a_keeper_that_starts_before_nats_waits_for_it(
    server: NatsServer, js: JetStreamContext, start: Start
) -> None:
    await js.stream_info(topology.EVENTS)
    server.kill()
    early = start()

    async def alive() -> bool:
        return (await early.status("/health/live"))[0] == 200

    await eventually(alive, seconds=60, what="a sign of life")
    assert (await early.status("/health/ready"))[0] == 503
    server.restart()
    await early.ready()


async def test_an_outage_of_nats_is_told_and_waited_out(server: NatsServer, js: JetStreamContext, start: Start) -> None:
    keeper = start()
    await keeper.ready()
    server.kill()

    async def down() -> bool:
        return (await keeper.status("/health/ready"))[0] == 503

    await eventually(down, seconds=60, what="the keeper to notice")
    assert (await keeper.status("/health/live"))[0] == 200
    server.restart()
    await keeper.ready()
    await topology.apply(js)
