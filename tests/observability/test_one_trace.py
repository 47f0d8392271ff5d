"""O1: one trace from the request of a client to what the listeners of the live stream are told.

A team is made over HTTP while NATS is away, and the service that has its event in the outbox is killed. Both come back,
and the event goes its way: through the relay to scoring, whose scorer works later on what a handler has marked, through
scoring's outbox and relay to the gateway and its listeners. The round that is scored has results already, as when a
result came while events of teams were held up.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from common import outbox
from common.contracts.ingest import SessionKind
from common.contracts.samples import SAMPLES
from common.db import Database
from common.settings import Environment, Settings
from devstack.stack import Stack
from devstack.testing import eventually
from lab.collector import Collector, Seen

PARENT = "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as started:
        yield started


@pytest.fixture(scope="module")
def stack(stacks: Callable[..., Stack], collector: Collector) -> Stack:
    """A season whose first session is far away, so that nothing happens but what the test does."""
    return stacks(environ=collector.environ, pace=36_000, seed=7, rounds="1")


async def bring_results(stack: Stack, race: dict[str, Any]) -> None:
    """Let ingest tell of the race's result, by its own outbox and relay."""
    url = stack.addresses.database_url_of("ingest")
    database = Database(Settings(paddock_env=Environment.TEST, database_url=url), "ingest")
    sample = next(event for event in SAMPLES if event.subject == "results.synced")
    where = {"season": race["season"], "round": race["round"], "race_id": race["race_id"]}
    try:
        async with database.transaction() as session:
            await outbox.publish(session, msgspec.structs.replace(sample, session=SessionKind.RACE, **where))
    finally:
        await database.close()


@pytest.fixture
async def listener(stack: Stack) -> AsyncIterator[asyncio.Task[dict[str, Any]]]:
    """Listens for the first leaderboard on which a team stands."""

    async def listen() -> dict[str, Any]:
        client = httpx.AsyncClient(base_url=stack.gateway_url, timeout=httpx.Timeout(10, read=120))
        async with client, client.stream("GET", "/api/v1/stream?topics=leaderboard.updated") as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: ") and (told := msgspec.json.decode(line[6:]))["members"]:
                    return dict(told)
        raise AssertionError("the stream has ended")

    task = asyncio.create_task(listen())
    yield task
    task.cancel()


async def test_one_trace_goes_from_a_request_to_the_listeners_over_a_killed_relay(
    stack: Stack,
    collector: Collector,
    player_at: Callable[[Stack, str], Any],
    listener: asyncio.Task[dict[str, Any]],
) -> None:
    player = await player_at(stack, "tracer").enter()
    await player.market()
    race = (await player.get("/races"))["items"][0]
    await bring_results(stack, race)
    await player.scored(race["round"], seconds=30)

    await asyncio.to_thread(stack.kill, "nats")
    trace_id = uuid4().hex
    headers = {"traceparent": f"00-{trace_id}-{PARENT}-01", "Authorization": player.bearer}
    made = await player.http.post("/api/v1/teams", headers=headers, json={"name": "Box Box"})
    assert made.status_code == 201

    def span(service: str, name: str) -> Seen | None:
        return next((one for one in collector.spans(trace_id) if (one.service, one.name) == (service, name)), None)

    async def served() -> bool:
        return span("leagues", "POST /api/v1/teams") is not None

    await eventually(served, what="the span of the request in leagues")
    assert span("leagues", "publish team.created") is None
    await asyncio.to_thread(stack.kill, "leagues")
    await asyncio.to_thread(stack.start_again, "nats")
    await asyncio.to_thread(stack.start_again, "leagues")

    told = await asyncio.wait_for(listener, 60)
    assert [row["team_name"] for row in told["leaders"]] == ["Box Box"]

    chain = [
        ("gateway", "POST /api/v1/teams", "server"),
        ("gateway", "POST leagues", "client"),
        ("leagues", "POST /api/v1/teams", "server"),
        ("leagues", "publish team.created", "producer"),
        ("scoring", "process scoring_store-team_team-created", "consumer"),
        ("scoring", "score round", "internal"),
        ("scoring", "publish leaderboard.updated", "producer"),
        ("gateway", "push leaderboard.updated", "consumer"),
    ]

    async def whole() -> bool:
        return all(span(service, name) is not None for service, name, _ in chain)

    with contextlib.suppress(pytest.fail.Exception):  # what is missing is said below
        await eventually(whole, what="every span of the chain")
    parent = PARENT
    for service, name, kind in chain:
        found = span(service, name)
        assert found is not None, f"no span {name} of {service} in {collector.spans(trace_id)}"
        assert (found.kind, found.parent_id) == (kind, parent), name
        parent = found.span_id


async def test_no_span_is_named_after_somebody(stack: Stack, collector: Collector) -> None:
    async with httpx.AsyncClient(base_url=stack.gateway_url, timeout=10) as client:
        for number in range(20):
            await client.get(f"/api/v1/leagues/{uuid4()}/leaderboard")
            await client.get(f"/api/v1/rounds/2026/{number}/scores")
            await client.get(f"/nowhere/{uuid4()}")
            await client.request(f"VERB{number}", f"{stack.urls['leagues']}/{uuid4()}")

    async def arrived() -> bool:
        return sum(span.name == "GET /api/v1/rounds/{season}/{round}/scores" for span in collector.spans()) >= 20

    names = {span.name for span in collector.spans()}
    await eventually(arrived, what=f"the spans of the requests, of {names}")
    names = {span.name for span in collector.spans()}
    assert [name for name in names if re.search(r"[0-9a-f]{8}-|/nowhere|VERB|2026|@", name)] == []
    assert len(names) < 60
