"""Live events: everyone gets what is theirs, once, in order, whatever restarts in between."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
from nats.aio.client import Client

from common import clock, topology
from common.contracts import Event, encode
from common.contracts.ingest import RaceFinished, SessionKind, SessionStarted
from common.contracts.leagues import LineupsLocked
from common.contracts.scoring import LeaderboardUpdated
from devstack.servers import NatsServer, start_nats
from devstack.testing import Servers, TokenMaker, eventually
from gateway import feed, memory

Upstream = Any
Starter = Callable[..., Awaitable[httpx.AsyncClient]]
Tell = Callable[..., Awaitable[int]]


class Seen(msgspec.Struct):
    """One event as a client sees it."""

    id: int | None
    event: str
    data: dict[str, Any]


class Ear:
    """One open stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()
        self.comments = 0

    async def next(self) -> Seen:
        """Wait for the next event."""
        async with asyncio.timeout(8):
            fields: dict[str, str] = {}
            async for line in self._lines:
                if line.startswith(":"):
                    self.comments += 1
                elif line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields:
                    number = int(fields["id"]) if "id" in fields else None
                    return Seen(number, fields["event"], msgspec.json.decode(fields["data"]))
        pytest.fail("the stream ended")

    async def hushed(self, comments: int) -> None:
        """Wait for so many comments and no event before them."""
        async with asyncio.timeout(8):
            async for line in self._lines:
                assert not line.startswith("data: ")
                self.comments += line.startswith(":")
                if self.comments >= comments:
                    return

    async def heard(self, event: Event) -> Seen:
        """Wait for the next event and find it is this one; another race's may come late from the test before."""
        expected = msgspec.json.decode(encode(event))
        seen = await self.next()
        while seen.event == event.subject and seen.data.get("race_id") != expected.get("race_id"):
            seen = await self.next()
        assert (seen.event, seen.data) == (event.subject, expected)
        return seen


@contextlib.asynccontextmanager
async def listening(client: httpx.AsyncClient, query: str = "", **headers: str) -> AsyncIterator[Ear]:
    async with client.stream("GET", f"/api/v1/stream{query}", headers=headers, timeout=10) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield Ear(response)


def finished(name: str = "Italian Grand Prix") -> RaceFinished:
    return RaceFinished(
        season=2026, round=1, race_id=f"2026-{uuid4().hex}", name=name, winner="norris", podium=["norris"]
    )


def leaderboard(league: UUID | None) -> LeaderboardUpdated:
    return LeaderboardUpdated(
        season=2026, round=1, league_id=league, score_version=1, members=3, leaders=[], updated_at=clock.now()
    )


async def publisher(client: Client) -> Tell:
    js = client.jetstream()

    async def tell(*events: Event) -> int:
        sequence = 0
        for event in events:
            headers = {"Nats-Msg-Id": uuid4().hex}
            sequence = (await js.publish(event.subject, encode(event), headers=headers)).seq
        return sequence

    return tell


@pytest.fixture
async def tell(prepared: Servers) -> AsyncIterator[Tell]:
    """Publish events, as a relay does."""
    client = await topology.connect(prepared.nats_url, "test")
    yield await publisher(client)
    await client.close()


async def test_events_arrive_with_their_place_in_the_stream(client: httpx.AsyncClient, tell: Tell) -> None:
    first, second = finished(), finished()
    async with listening(client) as ear:
        numbers = [await tell(first), await tell(second)]
        assert [(await ear.heard(first)).id, (await ear.heard(second)).id] == numbers
        assert ear.response.headers["cache-control"] == "no-store"


async def test_only_the_topics_asked_for_arrive(client: httpx.AsyncClient, tell: Tell) -> None:
    now = clock.now()
    locked = LineupsLocked(season=2026, round=1, race_id="2026-monza", locked_at=now)
    started = SessionStarted(season=2026, round=1, race_id="2026-monza", session=SessionKind.RACE, starts_at=now)
    async with listening(client, "?topics=lineups.locked,session.started") as ear:
        await tell(finished(), locked, leaderboard(None), started)
        await ear.heard(locked)
        await ear.heard(started)
    refused = await client.get("/api/v1/stream?topics=race.scored,user.registered")
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_topic")


async def test_who_comes_back_gets_what_was_missed_and_nothing_twice(
    client: httpx.AsyncClient, start: Starter, tell: Tell
) -> None:
    first, *missed = [finished(str(number)) for number in range(4)]
    async with listening(client, "?topics=race.finished") as ear:
        await tell(first)
        last = (await ear.heard(first)).id
    await tell(*missed)
    for gateway in (client, await start()):
        async with listening(gateway, "?topics=race.finished", **{"Last-Event-ID": str(last)}) as ear:
            for event in missed:
                await ear.heard(event)
            live = finished("live")
            await tell(live)
            await ear.heard(live)
            missed.append(live)


async def test_who_was_away_too_long_is_told_so(start: Starter, tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TOPIC_EVENTS", 3)
    client = await start()
    events = [finished(str(number)) for number in range(6)]
    async with listening(client, "?topics=race.finished") as ear:
        first = await tell(events[0])
        await tell(*events[1:])
        for event in events:
            await ear.heard(event)
    async with listening(client, "?topics=race.finished", **{"Last-Event-ID": str(first)}) as ear:
        gap = await ear.next()
        assert (gap.id, gap.event) == (None, "gap")
        for event in events[3:]:
            await ear.heard(event)


@pytest.mark.parametrize("odd", ["-1", "x", "99999999999999999999", "1e3", ""])
async def test_an_odd_last_event_id_is_as_good_as_none(client: httpx.AsyncClient, tell: Tell, odd: str) -> None:
    await tell(finished())
    event = finished()
    async with listening(client, "?topics=race.finished", **{"Last-Event-ID": odd}) as ear:
        await tell(event)
        await ear.heard(event)


async def test_a_leagues_leaderboard_is_heard_by_those_whom_scoring_lets_see_it(
    client: httpx.AsyncClient, upstream: Upstream, tokens: TokenMaker, tell: Tell
) -> None:
    mine, world, other = uuid4(), leaderboard(None), leaderboard(uuid4())
    own = leaderboard(mine)
    path = f"/api/v1/stream?topics=leaderboard.updated&league={mine}"
    anonymous = await client.get(path)
    assert (anonymous.status_code, anonymous.json()["code"]) == (401, "invalid_token")
    upstream.strangers_to = {str(mine)}
    stranger = await client.get(path, headers=tokens.headers())
    assert (stranger.status_code, stranger.json()["code"]) == (403, "not_a_member")
    upstream.strangers_to = set()
    query = "?topics=leaderboard.updated"
    before = await tell(finished())
    async with (
        listening(client, query) as public,
        listening(client, f"{query}&league={mine}", **tokens.headers()) as member,
    ):
        await tell(other, own, world)
        await public.heard(world)
        await member.heard(own)
        await member.heard(world)
    asked = [request["query"] for request in upstream.requests if str(mine) in request["path"]]
    assert asked == ["limit=1"] * 3
    async with listening(client, query, **{"Last-Event-ID": str(before)}) as public:
        await public.heard(world)
        later = leaderboard(None)
        await tell(later)
        await public.heard(later)


async def test_silence_is_filled_with_comments(start: Starter, tell: Tell) -> None:
    client = await start(gateway_heartbeat_seconds=0.05)
    event = finished()
    async with listening(client) as ear:
        await ear.hushed(3)
        await tell(event)
        await ear.heard(event)


async def listeners(client: httpx.AsyncClient) -> int:
    metrics = (await client.get("/metrics")).text
    return int(float(metrics.split("\ngateway_stream_listeners ")[1].split("\n")[0]))


async def test_a_client_that_leaves_is_forgotten(client: httpx.AsyncClient) -> None:
    async with listening(client):
        assert await listeners(client) == 1

    async def none_left() -> bool:
        return await listeners(client) == 0

    await eventually(none_left, what="an empty list of listeners")


async def test_a_client_that_does_not_read_is_cut_off_and_the_others_are_not(
    start: Starter, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "WAITING_EVENTS", 16)
    client = await start()
    address = urlsplit(str(client.base_url))
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with contextlib.closing(slow):
        await asyncio.to_thread(slow.connect, (address.hostname, address.port))
        slow.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: test\r\n\r\n")

        async def count(wanted: int) -> bool:
            return await listeners(client) == wanted

        await eventually(lambda: count(1), what="the slow listener")
        async with listening(client, "?topics=race.finished") as ear:
            for _ in range(300):
                event = finished("x" * 60_000)
                await tell(event)
                await ear.heard(event)
                if await count(1):
                    break
            else:
                pytest.fail("the slow listener was never cut off")
            last = finished()
            await tell(last)
            await ear.heard(last)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A NATS of this module's own, to be treated badly."""
    server = start_nats(tmp_path_factory.mktemp("fragile"), durable=True)
    yield server
    server.stop()


async def test_listeners_stay_through_a_crash_of_nats_and_miss_nothing(start: Starter, fragile: NatsServer) -> None:
    nats = await topology.connect(fragile.url, "test")
    await topology.apply(nats.jetstream())
    tell = await publisher(nats)
    client = await start(nats_url=fragile.url)
    before, after = finished("before"), finished("after")
    async with listening(client, "?topics=race.finished") as ear:
        await tell(before)
        first = await ear.heard(before)
        fragile.kill()
        fragile.revive()

        async def told() -> bool:
            try:
                return bool(await tell(after))
            except Exception:  # noqa: BLE001 - NATS is on its way back
                return False

        began = clock.now()
        await eventually(told, seconds=15, what="a stream that takes events again")
        second = await ear.heard(after)
        assert (second.id or 0) > (first.id or 0)
        assert clock.now() - began < timedelta(seconds=15)
    await nats.close()


async def test_without_nats_a_stream_is_a_503(start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "READY_SECONDS", 0.1)
    client = await start(nats_url="nats://127.0.0.1:1")
    response = await client.get("/api/v1/stream")
    assert (response.status_code, response.json()["code"]) == (503, "stream_unavailable")
    assert response.headers["retry-after"] == "2"
