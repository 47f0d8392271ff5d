"""Following: each event once and in order, whatever becomes of NATS meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from uuid import uuid4

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.errors import APIError

from common import clock, following, topology
from common.contracts import encode
from common.contracts.auth import SessionRevoked, UserRegistered
from common.denials import Denials
from common.following import Follower
from common.settings import Settings
from devstack.servers import NatsServer, free_port, start_nats
from devstack.testing import eventually

SUBJECT = SessionRevoked.subject


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A NATS of this module's own, to be treated badly."""
    server = start_nats(tmp_path_factory.mktemp("followed"), durable=True)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is noticed sooner."""
    monkeypatch.setattr(following, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(following, "SILENCE_SECONDS", 0.8)


@pytest.fixture
async def client(server: NatsServer) -> AsyncIterator[Client]:
    """A connection to streams that are there and empty."""
    connected = await topology.connect(server.url, "tests")
    js = connected.jetstream()
    await topology.apply(js)
    await js.purge_stream(topology.EVENTS)
    yield connected
    await connected.close()


class Reader:
    """A follower and what it took."""

    def __init__(self, url: str, purpose: str, **options: object) -> None:
        self.bodies: list[str] = []
        self.begun: list[int] = []
        self.task: asyncio.Task[None]
        self.follower = Follower(
            Settings(nats_url=url),
            "test",
            purpose,
            subjects=[SUBJECT],
            take=self._take,
            begin=self.begun.append,
            **{"past_seconds": 3600, **options},  # type: ignore[arg-type]
        )

    def _take(self, message: Msg) -> None:
        self.bodies.append(message.data.decode())

    async def has(self, bodies: list[str], seconds: float = 15) -> None:
        async def there() -> bool:
            assert bodies[: len(self.bodies)] == self.bodies, "in order and none twice"
            return self.bodies == bodies

        await eventually(there, seconds=seconds, what=f"{len(bodies)} events")

    async def is_connected(self) -> bool:
        return self.follower.connected


Read = Callable[..., Reader]


@pytest.fixture
async def read(server: NatsServer) -> AsyncIterator[Read]:
    """Start followers that end with the test."""
    tasks = []

    def start(purpose: str | None = None, url: str | None = None, **options: object) -> Reader:
        reader = Reader(url or server.url, purpose or f"p{uuid4().hex[:8]}", **options)
        reader.task = asyncio.create_task(reader.follower.run())
        tasks.append(reader.task)
        return reader

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def tell(client: Client, *bodies: str) -> None:
    js = client.jetstream()
    for body in bodies:
        headers = {"Nats-Msg-Id": uuid4().hex}

        async def told(body: str = body, headers: dict[str, str] = headers) -> bool:
            try:
                return bool(await js.publish(SUBJECT, body.encode(), headers=headers))
            except Exception:  # noqa: BLE001 - NATS is on its way back
                return False

        await eventually(told, seconds=20, what="a stream that takes events")


async def test_the_past_comes_first_then_what_happens_and_nothing_else(client: Client, read: Read) -> None:
    await tell(client, "one", "two")
    await client.jetstream().publish(UserRegistered.subject, b"other")
    reader = read()
    await reader.has(["one", "two"])
    assert reader.follower.caught_up.is_set()
    await tell(client, "three")
    await reader.has(["one", "two", "three"])
    assert len(reader.begun) == 1


async def test_what_is_older_than_asked_for_stays_in_the_past(client: Client, read: Read) -> None:
    await tell(client, "one")
    reader = read(past_seconds=0)
    await eventually(reader.is_connected, what="a follower that follows")
    await tell(client, "two")
    await reader.has(["two"])


async def test_it_has_caught_up_when_the_whole_past_was_taken_and_not_before(client: Client, read: Read) -> None:
    past = [str(number) for number in range(400)]
    await asyncio.gather(*(client.jetstream().publish(SUBJECT, body.encode()) for body in past))
    reader = read()
    await asyncio.wait_for(reader.follower.caught_up.wait(), 10)
    assert sorted(reader.bodies) == sorted(past)
    empty = read(past_seconds=0)
    await asyncio.wait_for(empty.follower.caught_up.wait(), 10)
    assert empty.bodies == []


async def test_followers_of_one_purpose_each_get_everything(client: Client, read: Read) -> None:
    readers = [read("shared") for _ in range(5)]
    for reader in readers:
        await eventually(reader.is_connected, what="a follower that follows")
    await tell(client, "one")
    for reader in readers:
        await reader.has(["one"])


async def test_who_finds_every_name_taken_waits_until_one_is_free(
    client: Client, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "FOLLOWERS", 1)
    first = read("single")
    await eventually(first.is_connected, what="the first follower")
    second = read("single")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(second.follower.begun.wait(), 1)
    first.task.cancel()
    await eventually(second.is_connected, seconds=20, what="the second follower")
    await tell(client, "one")
    await second.has(["one"])


async def test_a_crash_of_nats_loses_nothing_and_repeats_nothing(
    client: Client, read: Read, server: NatsServer
) -> None:
    reader = read()
    await tell(client, "one")
    await reader.has(["one"])
    server.kill()
    server.revive()
    await tell(client, "two")
    await reader.has(["one", "two"], 20)
    assert len(reader.begun) == 1


async def test_a_consumer_that_vanishes_is_made_again_where_it_was(client: Client, read: Read) -> None:
    reader = read("vanishing")
    await tell(client, "one")
    await reader.has(["one"])
    js = client.jetstream()
    for info in await js.consumers_info(topology.EVENTS):
        if info.name.startswith("test_vanishing_"):
            await js.delete_consumer(topology.EVENTS, info.name)
    await tell(client, "two")
    await reader.has(["one", "two"])


@pytest.mark.parametrize("after", [[], ["three"]])
async def test_a_delivery_that_is_lost_on_the_way_is_asked_for_again(
    client: Client, read: Read, monkeypatch: pytest.MonkeyPatch, after: list[str]
) -> None:
    """With nothing after it only the heartbeat tells."""
    lost: list[str] = []
    receive = Subscription.next_msg

    async def losing(self: Subscription, timeout: float | None = 1.0) -> Msg:  # noqa: ASYNC109 - the library's
        message = await receive(self, timeout)
        if message.data == b"two" and not lost:
            lost.append("two")
            return await receive(self, timeout)
        return message

    monkeypatch.setattr(Subscription, "next_msg", losing)
    reader = read()
    await tell(client, "one")
    await reader.has(["one"])
    await tell(client, "two", *after)
    await reader.has(["one", "two", *after])
    assert lost


async def test_a_stream_that_lost_its_end_is_read_from_its_beginning(client: Client, read: Read) -> None:
    """As a crash without a sync leaves it: the same stream, and places in it given a second time."""
    reader = read("cut")
    await tell(client, "one")
    await reader.has(["one"])
    reader.follower.last += 5
    js = client.jetstream()
    for info in await js.consumers_info(topology.EVENTS):
        if info.name.startswith("test_cut_"):
            await js.delete_consumer(topology.EVENTS, info.name)
    await tell(client, "two")
    await reader.has(["one", "one", "two"])


@pytest.mark.parametrize("events", [1, 5])
async def test_a_stream_that_was_made_anew_is_read_from_its_beginning(client: Client, read: Read, events: int) -> None:
    """With five events the new stream has grown past the place in the old one."""
    reader = read()
    await tell(client, "old one", "old two")
    await reader.has(["old one", "old two"])
    js = client.jetstream()
    await js.delete_stream(topology.EVENTS)
    await topology.apply(js)
    new = [f"new {number}" for number in range(events)]
    await tell(client, *new)
    await reader.has(["old one", "old two", *new], 20)


async def test_without_a_stream_it_waits_for_one(client: Client, read: Read) -> None:
    js = client.jetstream()
    await js.delete_stream(topology.EVENTS)
    reader = read()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.follower.begun.wait(), 0.5)
    await topology.apply(js)
    await tell(client, "one")
    await reader.has(["one"])


async def test_nats_that_comes_late_is_found_and_its_absence_told(
    server: NatsServer,
    read: Read,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(following.log, "warning", lambda line, **_: lines.append(line))
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.2)
    port = free_port()
    reader = read(url=f"nats://127.0.0.1:{port}")

    async def told() -> bool:
        return "nothing to follow while NATS is away" in lines

    await eventually(told, what="a line in the log")
    late = start_nats(server.data_dir.parent / "late", port=port, durable=False)
    try:
        client = await topology.connect(late.url, "tests")
        await topology.apply(client.jetstream())
        await tell(client, "one")
        await reader.has(["one"], 20)
        await client.close()
    finally:
        late.stop()


async def test_a_connection_that_was_closed_for_good_is_replaced(
    client: Client, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[Client] = []
    connect = topology.connect

    async def remembered(url: str, name: str, credentials: str | None = None) -> Client:
        connections.append(await connect(url, name, credentials))
        return connections[-1]

    monkeypatch.setattr(topology, "connect", remembered)
    reader = read()
    await tell(client, "one")
    await reader.has(["one"])
    await connections[0].close()
    await tell(client, "two")
    await reader.has(["one", "two"])
    assert len(connections) == 2


async def test_ended_sessions_are_known_to_a_process_that_starts_later(client: Client, server: NatsServer) -> None:
    sessions = [uuid4() for _ in range(3)]
    now = clock.now()
    js = client.jetstream()
    for ids in (sessions[:2], sessions[2:]):
        event = SessionRevoked(user_id=uuid4(), session_ids=ids, reason="logout", revoked_at=now)
        await js.publish(event.subject, encode(event))
    await js.publish(SUBJECT, b"not an event")
    denials = Denials(Settings(nats_url=server.url), "test")
    task = asyncio.create_task(denials.run())
    await asyncio.sleep(0)
    await denials.known()
    assert all(denials.denies(session, now.timestamp()) for session in sessions)
    live = uuid4()
    event = SessionRevoked(user_id=uuid4(), session_ids=[live], reason="logout", revoked_at=now)
    await js.publish(event.subject, encode(event))

    async def heard() -> bool:
        return denials.denies(live, now.timestamp())

    await eventually(heard, seconds=2, what="the end of a session")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, APIError):
        await task
