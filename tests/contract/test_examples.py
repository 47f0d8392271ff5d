"""The examples for subscribers, each as the process it is: killed and started again, each event takes effect once."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

from common import topology
from common.contracts import Event, encode
from common.contracts.ingest import RaceFinished, ResultsAmended, ResultsSynced
from common.contracts.samples import SAMPLES
from devstack.servers import NatsServer, start_nats
from devstack.testing import eventually
from paddock import nats_command
from paddock.asyncapi import headers
from paddock.nats_authority import Authority

EXAMPLES = Path(__file__).parents[2] / "examples"
SUBJECTS = ["race.>", "results.>"]
EVENTS = 400
ACK_WAIT_SECONDS = 3
WAIT_SECONDS = 60
STOP_SECONDS = 20
INSTALL_SECONDS = 120
BY_SUBJECT = {sample.subject: sample for sample in SAMPLES}
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH")


def from_database(file: Path) -> list[str]:
    """Read the ids of the events that took effect, one for each time that one did."""
    with contextlib.closing(sqlite3.connect(file)) as store, contextlib.suppress(sqlite3.OperationalError):
        return [row[0] for row in store.execute("SELECT event_id FROM journal")]
    return []


def from_lines(file: Path) -> list[str]:
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line)["id"] for line in lines if line.endswith("\n")]


@dataclass
class Program:
    """One example: how it is started, and where it says what it has done."""

    command: list[str]
    folder: Path
    store: Path
    read: Callable[[Path], list[str]]
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        with (self.store.parent / "log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own examples
                self.command, cwd=self.folder, env={**kept, **self.environment}, stdout=log, stderr=log
            )

    def kill(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, f"it had ended by itself:\n{self.log()}"
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def done(self) -> list[str]:
        return self.read(self.store)

    def log(self) -> str:
        return (self.store.parent / "log").read_text()[-4000:]


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The JavaScript example in a scratch folder, with its package installed."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("javascript") / "subscriber"
    shutil.copytree(EXAMPLES / "javascript-subscriber", folder, ignore=shutil.ignore_patterns("node_modules"))
    command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)  # noqa: S603 - constants
    if done.returncode and any(word in done.stderr for word in UNREACHABLE):
        pytest.skip(f"the npm registry is out of reach: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(params=["python", "javascript", "faststream"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Program]:
    match request.param:
        case "python":
            command = [sys.executable, "subscriber.py"]
            made = Program(command, EXAMPLES / "python-subscriber", tmp_path / "store.sqlite", from_database)
        case "faststream":
            command = [sys.executable, "app.py"]
            made = Program(command, EXAMPLES / "faststream-subscriber", tmp_path / "store.sqlite", from_database)
        case _:
            folder: Path = request.getfixturevalue("javascript")
            node = str(shutil.which("node"))
            made = Program([node, "subscriber.js"], folder, tmp_path / "store.jsonl", from_lines)
    made.environment = {"STORE": str(made.store), "PYTHONDONTWRITEBYTECODE": "1"}
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A server of this test's own, to be killed."""
    server = start_nats(tmp_path / "nats", durable=True)
    yield server
    server.stop()


@pytest.fixture
async def client(nats: NatsServer) -> AsyncIterator[Client]:
    client = await topology.connect(nats.url, "tests")
    await topology.apply(client.jetstream())
    yield client
    await client.close()


async def make_durable(js: JetStreamContext, name: str) -> None:
    config = ConsumerConfig(
        durable_name=name,
        filter_subjects=SUBJECTS,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_SECONDS,
        max_ack_pending=256,
        max_deliver=-1,
    )
    await js.add_consumer(topology.EVENTS, config)


def numbered(number: int) -> Event:
    """Give the events of a season: the flag, the classification, and its later versions out of order."""
    race_id = f"2026-circuit_{number // 4}"
    match number % 4:
        case 0:
            return msgspec.structs.replace(BY_SUBJECT["race.finished"], race_id=race_id)
        case 1:
            return msgspec.structs.replace(BY_SUBJECT["results.synced"], race_id=race_id)
        case 2:
            return msgspec.structs.replace(BY_SUBJECT["results.amended"], race_id=race_id, result_version=3)
        case _:
            return msgspec.structs.replace(BY_SUBJECT["results.amended"], race_id=race_id, result_version=2)


async def publish(js: JetStreamContext, event: Event, **changes: str) -> str:
    """Publish as the relay does, and again until it is acknowledged; return the id."""
    event_id = str(uuid4())
    wire = headers(event) | {"ce-id": event_id, "Nats-Msg-Id": event_id} | changes
    while True:
        with contextlib.suppress(Exception):
            await js.publish(event.subject, encode(event), stream=topology.EVENTS, headers=wire, timeout=2)
            return event_id
        await asyncio.sleep(0.1)


async def settled(js: JetStreamContext, durable: str) -> bool:
    info = await js.consumer_info(topology.EVENTS, durable)
    return (info.num_pending, info.num_ack_pending) == (0, 0)


@pytest.mark.timeout(300)
async def test_each_event_takes_effect_once_whatever_is_killed(
    program: Program, nats: NatsServer, client: Client
) -> None:
    js = client.jetstream()
    durable = f"example-{uuid4().hex[:6]}"
    await make_durable(js, durable)
    program.environment |= {"NATS_URL": nats.url, "DURABLE": durable, "INBOX_PREFIX": f"_INBOX_{durable}"}
    ids: list[str] = []

    async def play() -> None:
        for number in range(EVENTS):
            ids.append(await publish(js, numbered(number)))
            await asyncio.sleep(0.005)

    async def reached(count: int) -> None:
        async def enough() -> bool:
            return len(program.done()) >= count

        await eventually(enough, seconds=WAIT_SECONDS, what=f"{count} events done; log:\n{program.log()}")

    program.start()
    playing = asyncio.create_task(play())
    for share in (0.2, 0.4):
        await reached(int(EVENTS * share))
        program.kill()
        program.start()
    await reached(int(EVENTS * 0.6))
    nats.kill()
    nats.restart()
    await reached(int(EVENTS * 0.8))
    program.kill()
    await playing
    foreign = await publish(js, BY_SUBJECT["race.finished"], **{"ce-type": "paddock.race.finished.v2"})
    program.start()
    last = await publish(js, BY_SUBJECT["race.finished"])
    await eventually(lambda: settled(js, durable), seconds=WAIT_SECONDS, what=f"the durable settled; {program.log()}")
    assert program.stop() == 0, program.log()
    done = Counter(program.done())
    assert {event_id for event_id, times in done.items() if times > 1} == set()
    assert set(done) == {*ids, last}
    assert foreign not in done


async def test_events_of_while_it_was_away_are_not_missed_and_repeated_ones_are_recognised(
    program: Program, nats: NatsServer, client: Client
) -> None:
    js = client.jetstream()
    durable = f"example-{uuid4().hex[:6]}"
    await make_durable(js, durable)
    program.environment |= {"NATS_URL": nats.url, "DURABLE": durable}
    first = [await publish(js, numbered(number)) for number in range(8)]
    program.start()
    await eventually(lambda: settled(js, durable), seconds=WAIT_SECONDS, what="the first events were done")
    assert program.stop() == 0, program.log()
    second = [await publish(js, numbered(number)) for number in range(8, 16)]
    again = [
        await publish(js, numbered(number), **{"ce-id": event_id, "Nats-Msg-Id": uuid4().hex})
        for number, event_id in enumerate(first)
    ]
    program.start()
    await eventually(lambda: settled(js, durable), seconds=WAIT_SECONDS, what="the later events were done")
    assert program.stop() == 0, program.log()
    assert Counter(program.done()) == Counter([*first, *second])
    assert len(again) == len(first)


async def test_an_event_that_cannot_be_processed_does_not_hold_up_the_others(
    program: Program, nats: NatsServer, client: Client
) -> None:
    js = client.jetstream()
    durable = f"example-{uuid4().hex[:6]}"
    await make_durable(js, durable)
    program.environment |= {"NATS_URL": nats.url, "DURABLE": durable}
    wire = headers(BY_SUBJECT["race.finished"]) | {"Nats-Msg-Id": uuid4().hex, "ce-id": str(uuid4())}
    await js.publish("race.finished", b'{"season": 2026', stream=topology.EVENTS, headers=wire)
    later = [await publish(js, numbered(number)) for number in range(4)]
    program.start()

    async def others_done() -> bool:
        return sorted(program.done()) == sorted(later)

    await eventually(others_done, seconds=WAIT_SECONDS, what="the others were done")
    assert program.stop() == 0, program.log()
    assert program.process is not None


async def test_it_stops_in_order_while_nats_is_away(program: Program, nats: NatsServer, client: Client) -> None:
    js = client.jetstream()
    durable = f"example-{uuid4().hex[:6]}"
    await make_durable(js, durable)
    program.environment |= {"NATS_URL": nats.url, "DURABLE": durable}
    await publish(js, numbered(0))
    program.start()
    await eventually(lambda: settled(js, durable), seconds=WAIT_SECONDS, what="it was at work")
    nats.kill()
    assert program.stop() == 0, program.log()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "auth"
    nats_command.init(folder)
    return folder


@pytest.fixture
def guarded(keys: Path, tmp_path: Path) -> Iterator[NatsServer]:
    """A server that lets in nobody whom the operator's keys have not signed."""
    server = start_nats(tmp_path / "guarded", durable=True, include=Authority.found(keys).conf)
    yield server
    server.stop()


def operator(keys: Path, server: NatsServer, *arguments: str) -> str:
    """Type an operator's command."""
    command = [sys.executable, "-m", "paddock", *arguments]
    settings = {"PADDOCK_NATS_DIR": str(keys), "NATS_URL": server.url}
    done = subprocess.run(  # noqa: S603 - our own command
        command, env=os.environ | settings, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(240)
async def test_what_the_operator_prints_is_all_that_an_example_needs(
    program: Program, guarded: NatsServer, keys: Path
) -> None:
    credentials = Authority.found(keys).credentials_of("paddock").read_text()
    client = await topology.connect(guarded.url, "paddock", credentials)
    try:
        js = client.jetstream()
        await topology.apply(js)
        printed = operator(keys, guarded, "subscribers", "add", "my-bot", "--subjects", ",".join(SUBJECTS))
        told = dict(line.split(": ", 1) for line in printed.splitlines())
        (file,) = [value for name, value in told.items() if name.endswith("a secret")]
        program.environment |= {
            "NATS_URL": told["url"],
            "NATS_CREDS_FILE": file,
            "DURABLE": told["durable"],
            "INBOX_PREFIX": told["inbox prefix"],
        }
        ids = [await publish(js, numbered(number)) for number in range(40)]
        program.start()

        async def some() -> bool:
            return len(program.done()) >= len(ids) // 2

        await eventually(some, seconds=WAIT_SECONDS, what=f"half were done; log:\n{program.log()}")
        assert program.stop() == 0, program.log()  # a kill would leave deliveries until the ack wait of 30 s is over
        ids += [await publish(js, numbered(number)) for number in range(40, 80)]
        unasked = await publish(js, BY_SUBJECT["league.created"])
        program.start()
        await eventually(lambda: settled(js, "my-bot"), seconds=WAIT_SECONDS, what=f"all were done; {program.log()}")
        assert program.stop() == 0, program.log()
        assert Counter(program.done()) == Counter(ids)
        assert unasked not in program.done()
    finally:
        await client.close()


def test_the_events_of_these_tests_are_what_the_examples_handle() -> None:
    assert [type(numbered(number)) for number in range(4)] == [
        RaceFinished,
        ResultsSynced,
        ResultsAmended,
        ResultsAmended,
    ]
