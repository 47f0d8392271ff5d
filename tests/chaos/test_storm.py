"""A race for 100,000 teams while everything is killed at random: every total is what it is on a quiet day (E1).

A thousand events carry the points of a hundred teams each. Workers, relay, broker and PostgreSQL die, by SIGKILL, at
points of the work that a seed chooses. The same storm without the inbox shows that the storm can do harm.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from common import outbox, topology
from common.db import Database
from common.settings import Settings
from devstack.servers import NatsServer, PostgresServer, start_nats, start_postgres
from devstack.testing import eventually
from lab import tables, wire
from lab.events import SERVICE, ChunkScored
from lab.process import Lab, Ledger, Process
from lab.worker import Work

pytestmark = pytest.mark.timeout(400)

SEED = 7
TEAMS = 100_000
CHUNKS = 1_000
DEATHS = Counter(worker=50, relay=10, broker=10, postgres=5)
WORKERS = 2
LAST_DEATH = 0.95
"""Share of the work after which nothing is killed any more."""
SHORTER = {"common.consumers.ACK_WAIT_SECONDS": 2, "common.delivery.ACK_WAIT_SECONDS": 2}
"""A delivery whose worker died comes again soon, and into the storm."""

TOTALS = "SELECT md5(string_agg(team || ':' || points, ',' ORDER BY team)) FROM team_points"
TABLES = """
SELECT md5(string_agg(league || ':' || team || ':' || place, ',' ORDER BY league, place, team)) FROM (
    SELECT team, team % 1000 AS league, rank() OVER (PARTITION BY team % 1000 ORDER BY points DESC) AS place
    FROM team_points) AS ranked
"""


@dataclass(frozen=True)
class Outcome:
    """What a run left behind."""

    totals: str
    leagues: str
    points: int
    chunks: Counter[int]
    """How often each was booked."""
    events: Counter[int]
    """How often each left the outbox for the stream."""
    letters: int


@dataclass
class Arena:
    """Servers and processes that may die at any time."""

    lab: Lab
    postgres: PostgresServer
    broker: NatsServer
    work: Work
    ledger: Ledger
    random: random.Random
    workers: list[Process]
    relay: Process

    @classmethod
    async def open(cls, lab: Lab, postgres: PostgresServer, broker: NatsServer, faults: Sequence[str]) -> "Arena":
        """Make a fresh database with waiting events, fresh streams, and start."""
        chance = random.Random(SEED)  # noqa: S311 - a storm, not a secret
        url = await tables.make_database(postgres.url, f"storm_{uuid4().hex[:12]}")
        await refill(url)
        async with wire.connected(broker.url) as js:
            await topology.apply(js)
        work = Work(
            database_url=url,
            nats_url=broker.url,
            handlers="lab.handlers:storm",
            options={"pause": 0.01},
            patches=SHORTER,
            faults=list(faults),
        )
        workers = [lab.work(work) for _ in range(WORKERS)]
        return cls(lab, postgres, broker, work, Ledger(url, SERVICE), chance, workers, start_relay(lab, work))

    async def booked(self) -> int:
        """How many chunks were booked, each counted once."""
        return int(await self.ledger.value("SELECT count(DISTINCT number) FROM effects"))

    async def kill(self, victim: str) -> None:
        """Kill, and start again at once."""
        if victim == "worker":
            number = self.random.randrange(WORKERS)
            await self.workers[number].kill()
            self.workers[number] = self.lab.work(self.work)
        elif victim == "relay":
            await self.relay.kill()
            self.relay = start_relay(self.lab, self.work)
        else:
            server = self.broker if victim == "broker" else self.postgres
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.revive)

    async def rage(self, deaths: Counter[str]) -> None:
        """Kill each victim at its point of the work, and not before the last one's successor has done something."""
        victims = list(deaths.elements())
        self.random.shuffle(victims)
        points = sorted(self.random.sample(range(5, int(CHUNKS * LAST_DEATH)), len(victims)))
        done = 0
        for victim, point in zip(victims, points, strict=True):
            wanted = max(point, done + 1)

            async def reached(wanted: int = wanted) -> bool:
                return await self.booked() >= wanted

            await eventually(reached, seconds=60, what=f"chunk {wanted}")
            await asyncio.sleep(self.random.uniform(0, 0.05))
            done = await self.booked()
            await self.kill(victim)

    async def settle(self) -> Outcome:
        """Wait until nothing is under way, and look."""

        async def over() -> bool:
            waiting = await self.ledger.value("SELECT count(*) FROM outbox WHERE published_at IS NULL")
            return waiting == 0 and await self.booked() == CHUNKS

        await eventually(over, seconds=60, what="the end of the race")
        async with wire.connected(self.broker.url) as js:

            async def quiet() -> bool:
                infos = await js.consumers_info(topology.EVENTS)
                return sum((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos) == 0

            await eventually(quiet, seconds=60, what="the last acknowledgement")
            streamed = await wire.read_all(js, topology.EVENTS, "laps.booked")
            letters = await wire.read_all(js, topology.DEAD_LETTERS)
        rows = await self.ledger.rows("SELECT number, count(*) FROM effects GROUP BY number")
        return Outcome(
            totals=await self.ledger.value(TOTALS),
            leagues=await self.ledger.value(TABLES),
            points=await self.ledger.value("SELECT sum(points)::bigint FROM team_points"),
            chunks=Counter({number: count for number, count in rows}),  # noqa: C416 - rows are tuples of two
            events=Counter(int((message.headers or {})["ce-subject"]) for message in streamed),
            letters=len(letters),
        )

    async def close(self) -> None:
        """End the processes and empty the streams."""
        await asyncio.to_thread(self.lab.end)
        await self.ledger.close()
        async with wire.connected(self.broker.url) as js:
            await js.delete_stream(topology.EVENTS)


def start_relay(lab: Lab, work: Work) -> Process:
    """Start the relay alone."""
    return lab.work(Work(database_url=work.database_url, nats_url=work.nats_url, relay=True), "relay")


async def refill(url: str) -> None:
    """Store the teams, and an event for each chunk in the outbox."""
    database = Database(Settings(database_url=url), SERVICE)
    async with database.transaction() as session:
        await session.execute(text(f"INSERT INTO team_points SELECT n, 0 FROM generate_series(0, {TEAMS - 1}) AS n"))
        await outbox.publish_all(session, [ChunkScored(number=number) for number in range(CHUNKS)])
    await database.close()


@pytest.fixture(scope="module")
async def servers_of_storm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Any, Any]]:
    """Servers as production has them: both sync what they acknowledge."""
    folder: Path = tmp_path_factory.mktemp("storm")
    postgres = await asyncio.to_thread(start_postgres, folder / "postgres", durable=True)
    broker = await asyncio.to_thread(start_nats, folder / "nats", durable=True)
    yield postgres, broker
    broker.stop()
    postgres.stop()


async def run(lab: Lab, servers: tuple[Any, Any], deaths: Counter[str], *faults: str) -> Outcome:
    arena = await Arena.open(lab, *servers, faults=faults)
    try:
        await arena.rage(deaths)
        return await arena.settle()
    finally:
        await arena.close()


@pytest.fixture(scope="module")
async def calm(preloaded: Lab, servers_of_storm: tuple[Any, Any]) -> Outcome:
    """A quiet day."""
    return await run(preloaded, servers_of_storm, Counter())


async def test_a_hundred_thousand_totals_survive_a_storm(
    calm: Outcome, lab: Lab, servers_of_storm: tuple[Any, Any]
) -> None:
    outcome = await run(lab, servers_of_storm, DEATHS)
    doubled = [number for number, count in outcome.chunks.items() if count > 1]
    assert doubled == []
    assert outcome == calm
    assert len(outcome.chunks) == len(outcome.events) == CHUNKS
    assert set(outcome.events.values()) == {1}
    assert outcome.letters == 0
    print(f"E1: {sum(DEATHS.values())} deaths, 0 lost, 0 doubled of {outcome.points:,} points")  # noqa: T201 - a figure


async def test_without_the_inbox_the_same_storm_counts_twice(
    calm: Outcome, lab: Lab, servers_of_storm: tuple[Any, Any]
) -> None:
    outcome = await run(lab, servers_of_storm, DEATHS, "lab.faults:no_inbox")
    doubled = [number for number, count in outcome.chunks.items() if count > 1]
    print(f"E1 control: {len(doubled)} chunks twice, {outcome.points - calm.points:+,} points")  # noqa: T201 - a figure
    assert doubled
    assert outcome.totals != calm.totals
    assert outcome.points > calm.points
