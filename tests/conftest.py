"""Whole stacks and the players who use them, for the end-to-end and the chaos tests."""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations, islice
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
import nats
import pytest
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy

from common import migrate
from devstack.stack import Stack

ROOT = Path(__file__).parents[1]
RECORDED = Path(os.environ.get("PADDOCK_RECORDED_DATA", ROOT.parent / "shared" / "data"))
NO_LIMITS = {
    "GATEWAY_LIMIT_DEFAULT_PER_MINUTE": "0",
    "GATEWAY_LIMIT_USER_PER_MINUTE": "0",
    "GATEWAY_LIMIT_CREDENTIALS_PER_MINUTE": "0",
    "GATEWAY_LIMIT_EXCHANGE_PER_MINUTE": "0",
    "GATEWAY_LIMIT_ANALYTICS_PER_MINUTE": "0",
    "AUTH_BCRYPT_COST": "4",
}

T = TypeVar("T")


async def until(probe: Callable[[], Awaitable[T | None]], *, seconds: float, what: str) -> T:
    """Ask ``probe`` until it answers with something; connection errors count as nothing yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if value := await probe():
                return value
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come within {seconds:.0f} s")
        await asyncio.sleep(0.1)


@dataclass
class Player:
    """A client of the gateway with an account."""

    name: str
    http: httpx.AsyncClient
    tokens: dict[str, Any] = field(default_factory=dict)

    async def call(self, method: str, path: str, status: int, **options: Any) -> Any:
        """Make a call, with the token where there is one, and hold its status against what is expected."""
        headers = {"Authorization": f"Bearer {self.tokens['access_token']}"} if self.tokens else {}
        response = await self.http.request(method, f"/api/v1{path}", headers=headers, **options)
        assert response.status_code == status, f"{method} {path}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    async def get(self, path: str, **params: Any) -> Any:
        return await self.call("GET", path, 200, params=params)

    async def enter(self) -> "Player":
        """Register and log in."""
        account = {"username": self.name, "email": f"{self.name}@example.org", "password": "Tyres-Hot-99"}
        await self.call("POST", "/auth/register", 201, json=account)
        credentials = {"username": self.name, "password": account["password"]}
        self.tokens = await self.call("POST", "/auth/login", 200, json=credentials)
        return self

    async def market(self) -> Any:
        """Wait until everything that can be picked has a price."""

        async def priced() -> Any:
            response = await self.http.get("/api/v1/market", headers={"Authorization": self.bearer})
            if response.status_code != 200:
                return None
            market = response.json()
            assets = market["drivers"] + market["constructors"]
            ready = assets and all(asset["price"] is not None for asset in assets) and len(market["constructors"]) > 1
            return market if ready else None

        return await until(priced, seconds=30, what="a market with prices")

    @property
    def bearer(self) -> str:
        return f"Bearer {self.tokens['access_token']}"

    async def team(self, name: str) -> str:
        team = await self.call("POST", "/teams", 201, json={"name": name})
        return str(team["team_id"])

    async def submit(self, team_id: str, lineup: dict[str, list[str]], status: int = 200) -> Any:
        return await self.call("PUT", f"/teams/{team_id}/lineup", status, json=lineup)

    async def scored(self, round_number: int, *, seconds: float) -> Any:
        """Wait for the final scores of a round."""

        async def final() -> Any:
            season = (await self.http.get("/api/v1/leaderboard")).json()["season"]
            response = await self.http.get(f"/api/v1/rounds/{season}/{round_number}/scores")
            return response.json() if response.status_code == 200 and not response.json()["provisional"] else None

        return await until(final, seconds=seconds, what=f"the score of round {round_number}")


def lineups(market: Any, count: int) -> list[dict[str, list[str]]]:
    """Build different line-ups under the cap, the same ones for the same market."""
    drivers = sorted(market["drivers"], key=lambda driver: (driver["price"], driver["driver_id"]))
    constructors = sorted(market["constructors"], key=lambda team: (team["price"], team["constructor_id"]))
    found = (
        {
            "drivers": [driver["driver_id"] for driver in five],
            "constructors": [constructor["constructor_id"] for constructor in two],
        }
        for five in combinations(drivers[::2] + drivers[1::2], 5)
        for two in combinations(constructors[:4], 2)
        if sum(asset["price"] for asset in (*five, *two)) <= market["cap"]
    )
    return list(islice(found, 0, count * 7, 7))


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:
    """Give a function that starts a stack on a fresh directory; each ends with the module at the latest."""
    started: list[Stack] = []

    def start(environ: dict[str, str] | None = None, decisions: Path | None = None, **options: Any) -> Stack:
        """Start; ``decisions`` are the stewards' of another run of the simulator, there from the beginning."""
        state = tmp_path_factory.mktemp("stack") / "state"
        if decisions is not None:
            state.mkdir()
            shutil.copy(decisions, state / "trackside.json")
        stack = Stack(state, durable=False, environ=NO_LIMITS | (environ or {}), **options)
        stack.start()
        started.append(stack)
        return stack

    yield start
    for stack in started:
        stack.stop()


@pytest.fixture(scope="session")
def recorded_seasons() -> Path:
    """Recorded Jolpica bodies; the licence keeps them out of the repository."""
    folder = RECORDED / "jolpica"
    if not folder.is_dir():
        pytest.skip(f"no recorded Jolpica bodies: set PADDOCK_RECORDED_DATA (looked in {folder.parent.name}/jolpica)")
    return folder


SCHEMAS = migrate.SERVICES


@dataclass
class Observer:
    """Looks into a stack from outside: its database as an administrator, its streams as anybody."""

    stack: Stack

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query that may name any schema."""
        connection = await asyncpg.connect(self.stack.database_url)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    async def messages(self, stream: str) -> list[Msg]:
        """Read a whole stream."""
        client = await nats.connect(self.stack.nats_url, user_credentials=self.stack.nats_creds())
        js = client.jetstream()
        total = (await js.stream_info(stream)).state.messages
        found: list[Msg] = []
        if total:
            config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, max_ack_pending=100_000)
            subscription = await js.pull_subscribe("", stream=stream, config=config)
            while len(found) < total:
                found += await subscription.fetch(min(100, total - len(found)), timeout=5)
            await subscription.unsubscribe()
        await client.close()
        return found

    async def settled(self, seconds: float = 90) -> None:
        """Wait until nothing is under way: no outbox row due, no delivery open, no round marked for scoring."""
        client = await nats.connect(self.stack.nats_url, user_credentials=self.stack.nats_creds())
        js = client.jetstream()
        due = " UNION ALL ".join(
            f"SELECT count(*) FROM {schema}.outbox WHERE published_at IS NULL AND deliver_at <= now()"
            for schema in SCHEMAS
        )
        async with asyncio.timeout(seconds):
            quiet = 0
            while quiet < 3:
                waiting = await self.rows(f"{due} UNION ALL SELECT count(*) FROM scoring.dirty_rounds")
                open_deliveries = sum(
                    (info.num_pending or 0) + (info.num_ack_pending or 0)
                    for info in await js.consumers_info("EVENTS")
                    if info.config.durable_name
                )
                quiet = quiet + 1 if sum(count for (count,) in waiting) + open_deliveries == 0 else 0
                await asyncio.sleep(0.2)
        await client.close()


@pytest.fixture(scope="session")
def observe() -> Callable[[Stack], Observer]:
    """Give a function that makes an observer of a stack."""
    return Observer


@pytest.fixture(scope="session")
async def player_at() -> AsyncIterator[Callable[[Stack, str], Player]]:
    """Give a function that makes a player for a stack."""
    async with contextlib.AsyncExitStack() as clients:

        def enter(stack: Stack, name: str) -> Player:
            client = httpx.AsyncClient(base_url=stack.gateway_url, timeout=20)
            clients.push_async_callback(client.aclose)
            return Player(name, client)

        yield enter


@pytest.fixture(scope="session")
def make_lineups() -> Callable[[Any, int], list[dict[str, list[str]]]]:
    return lineups
