"""A hundred thousand events: scoring drains them (E25), and its leaderboard is rebuilt under traffic (E19)."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from nats.js import JetStreamContext
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from common import migrate, topology
from common.consumers import Consumers
from common.contracts import Event
from common.contracts.ingest import SessionKind
from devstack.servers import start_nats
from devstack.testing import PASSWORD, Servers, eventually
from lab import season, wire
from lab.process import Lab, Process
from scoring import rebuilding
from scoring.consumers import consumers
from scoring.models import metadata

pytestmark = pytest.mark.timeout(600)

EVENTS = 100_000
RATE = 300
GROWTH_BYTES = 100 * 1024 * 1024
REBUILD_SECONDS = 300
PROJECTION = "scoring.leaderboard"
LATE = 1500
RARELY = 100
PACE_SECONDS = 0.04
"""Teams that come while the rebuild is under way; they are newer than every other."""

FACTS = ("seasons", "rounds", "round_locks", "results", "teams", "lineups", "leagues", "league_members")
DERIVED = ("ledger", "scored_rounds", "standings")
POINTS = """
SELECT s.season, s.round, s.team_id, s.round_points, s.total, s.rank, s.place FROM {schema}.standings s
JOIN {schema}.scored_rounds r ON (r.season, r.round, r.score_version) = (s.season, s.round, s.score_version)
"""


@dataclass
class Circuit:
    """A scoring service with a broker and a database of its own."""

    lab: Lab
    js: JetStreamContext
    nats_url: str
    admin_url: str
    database: asyncpg.Pool
    service: Process | None = None

    def start(self) -> Process:
        """Start the real service."""
        service = make_url(self.admin_url).set(username=migrate.role_of("scoring"), password=PASSWORD)
        port = self.lab.port()
        environ = {
            "DATABASE_URL": service.render_as_string(hide_password=False),
            "NATS_URL": self.nats_url,
            "PORT": str(port),
            "PADDOCK_ENV": "test",
        }
        self.service = self.lab.run("scoring", environ, "scoring", port)
        return self.service

    def rebuild(self, *options: str) -> Process:
        """Run the command of an operator."""
        environ = {"DATABASE_URL": self.admin_url, "NATS_URL": self.nats_url, "LAB_ARGUMENTS": " ".join(options)}
        return self.lab.run("lab.rebuilding", environ, "rebuild")

    async def value(self, query: str, *arguments: Any) -> Any:
        return await self.database.fetchval(query, *arguments)

    async def settled(self, seconds: float = 120) -> None:
        """Wait until every event is handled and every round scored."""

        async def quiet() -> bool:
            infos = await self.js.consumers_info(topology.EVENTS)
            waiting = sum((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos)
            return bool(waiting + await self.value("SELECT count(*) FROM scoring.dirty_rounds") == 0)

        await eventually(quiet, seconds=seconds, what="the end of the backlog")

    async def points(self, schema: str) -> list[tuple[Any, ...]]:
        """Read the standings that hold, without their versions."""
        rows = await self.database.fetch(f"{POINTS.format(schema=schema)} ORDER BY s.season, s.round, s.place")
        return [tuple(row) for row in rows]

    async def fingerprints(self, tables: Sequence[str] = FACTS + DERIVED, schema: str = "scoring") -> dict[str, str]:
        """Hash whole tables."""
        return {
            name: await self.value(
                f"SELECT md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))) FROM {schema}.{name} AS t"
            )
            for name in tables
        }


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("backlog"))
    yield lab
    lab.close()


@pytest.fixture(scope="module")
async def circuit(workshop: Lab, servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Circuit]:
    """Everything but the service; the stream holds a hundred thousand events."""
    broker = start_nats(tmp_path_factory.mktemp("broker") / "nats", durable=False)
    name = f"backlog_{uuid4().hex[:8]}"
    admin = await asyncpg.connect(servers.database_url)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    url = make_url(servers.database_url).set(database=name)
    admin_url = url.render_as_string(hide_password=False)
    await migrate.bootstrap(admin_url, dict.fromkeys(migrate.SERVICES, PASSWORD))
    service = url.set(username=migrate.role_of("scoring"), password=PASSWORD)
    await migrate.upgrade("scoring", service.render_as_string(hide_password=False))
    await wire.prepare_streams(broker.url)
    async with wire.connected(broker.url) as js, asyncpg.create_pool(admin_url, min_size=1, max_size=4) as database:
        made = Circuit(workshop, js, broker.url, admin_url, database)
        batch: list[Event] = []
        for event in season.entries(EVENTS):
            batch.append(event)
            if len(batch) == 2000:
                await wire.publish(js, *batch)
                batch.clear()
        await wire.publish(js, *batch)
        assert (await js.stream_info(topology.EVENTS)).state.messages == EVENTS
        yield made
        await asyncio.to_thread(workshop.end)
    broker.stop()


def resident_bytes(process: Process) -> int:
    """Memory of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


async def test_a_hundred_thousand_waiting_events_are_drained_in_bounded_memory(circuit: Circuit) -> None:
    service = circuit.start()
    await eventually(lambda: circuit.value("SELECT count(*) FROM scoring.inbox"), seconds=180, what="the first effect")
    begun, first = time.monotonic(), await circuit.value("SELECT count(*) FROM scoring.inbox")
    memory = [resident_bytes(service)]

    async def drained() -> bool:
        memory.append(resident_bytes(service))
        return bool(await circuit.value("SELECT count(*) FROM scoring.inbox") == EVENTS)

    await eventually(drained, seconds=EVENTS / RATE, what="the end of the backlog")
    rate = (EVENTS - first) / (time.monotonic() - begun)
    growth = max(memory) - memory[0]
    print(f"E25: {rate:.0f} events/s, {growth / 1024 / 1024:.0f} MiB")  # noqa: T201 - a figure
    assert rate >= RATE
    assert growth <= GROWTH_BYTES
    await circuit.settled()
    delivered = 0
    for info in await circuit.js.consumers_info(topology.EVENTS):
        assert not info.num_redelivered
        delivered += info.delivered.consumer_seq if info.delivered else 0
    assert delivered == EVENTS, "every event was delivered once"
    assert await circuit.value("SELECT count(*) FROM scoring.attempts") == 0


@pytest.fixture(scope="module")
async def scored(circuit: Circuit) -> Circuit:
    """The service has drained the stream and scored three weekends."""
    if circuit.service is None:
        circuit.start()
    await circuit.settled(EVENTS / RATE)
    await circuit.database.execute("ANALYZE")
    await wire.publish(circuit.js, *season.races())
    for number in season.ROUNDS:
        final = f"SELECT count(*) > 0 FROM scoring.scored_rounds WHERE final AND round = {number}"
        await eventually(partial(circuit.value, final), seconds=120, what=f"the score of round {number}")
        await circuit.database.execute("ANALYZE")  # as autovacuum does within a minute
    await circuit.settled(EVENTS / RATE)
    return circuit


async def damage(circuit: Circuit) -> None:
    """Change, remove and invent rows behind the service's back."""
    for statement in (
        "UPDATE scoring.standings SET total = total + 1000 WHERE place % 97 = 0",
        "DELETE FROM scoring.lineups WHERE ctid IN (SELECT ctid FROM scoring.lineups LIMIT 300)",
        "UPDATE scoring.teams SET name = 'Nobody' WHERE name LIKE '%77'",
        "INSERT INTO scoring.leagues VALUES (gen_random_uuid(), 'Ghosts', 2026, false, gen_random_uuid())",
        "DELETE FROM scoring.league_members WHERE user_id IN (SELECT user_id FROM scoring.league_members LIMIT 200)",
        "DELETE FROM scoring.standings WHERE round = 2 AND place > 24000",
    ):
        await circuit.database.execute(statement)


async def test_a_rebuild_under_traffic_that_is_killed_halfway_loses_no_event_and_fails_no_reader(
    scored: Circuit,
) -> None:
    expected = await control(scored)
    await damage(scored)
    done, over = asyncio.Event(), asyncio.Event()
    readers = [asyncio.create_task(read(scored, done)) for _ in range(3)]
    traffic = asyncio.create_task(publish_late_ones(scored.js, over))
    begun = time.monotonic()
    first = scored.rebuild(PROJECTION)
    await eventually(partial(halfway, scored), seconds=REBUILD_SECONDS, what="half of the rebuild")
    first.signal(signal.SIGKILL)
    await first.wait()
    again = scored.rebuild(PROJECTION)
    assert await again.wait(REBUILD_SECONDS) == 0, again.log.read_text()
    took = time.monotonic() - begun
    said = again.log.read_text()
    resumed = int(said.split("going on after event ")[1].split("\n")[0].replace(",", ""))
    assert EVENTS / 2 <= resumed < EVENTS
    assert not traffic.done(), "there was traffic until the end"
    over.set()
    await traffic
    await scored.settled()
    done.set()
    reads = sum(await asyncio.gather(*readers))
    print(f"E19: killed at {resumed:,}, {took:.0f} s in all, {reads:,} reads without an error")  # noqa: T201 - a figure
    assert took <= REBUILD_SECONDS
    assert reads > 100
    assert await scored.fingerprints(FACTS) == expected
    assert await scored.points("scoring") == await scored.points("control")
    assert await scored.value("SELECT to_regnamespace('scoring_rebuild') IS NULL")


async def halfway(circuit: Circuit) -> bool:
    with contextlib.suppress(asyncpg.UndefinedTableError):
        return bool(await circuit.value("SELECT sequence >= $1 FROM scoring_rebuild.rebuild_progress", EVENTS // 2))
    return False


def late() -> list[Event]:
    """What comes while the rebuild is under way: two decisions of the stewards, and teams, few of them in time."""
    events: list[Event] = []
    for number in range(EVENTS, EVENTS + LATE):
        in_time = number % RARELY == 0
        events += [season.team(number, in_time=in_time), season.joined(number)]
        events.append(season.lineup(number) if in_time else season.lineup(number, effective_round=4))
    events.insert(40, season.result(2, SessionKind.RACE, version=2))
    events.insert(80, season.result(1, SessionKind.QUALIFYING, version=2))
    return events


async def publish_late_ones(js: JetStreamContext, over: asyncio.Event) -> None:
    """Publish at a steady pace, and what is left at once when the rebuild is over."""
    events = late()
    while events and not over.is_set():
        await wire.publish(js, events.pop(0))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PACE_SECONDS):
                await over.wait()
    await wire.publish(js, *events)


async def read(circuit: Circuit, done: asyncio.Event) -> int:
    """Read leaderboards and points as the public does; every answer must be whole."""
    assert circuit.service is not None
    reads = 0
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{circuit.service.port}", timeout=30) as client:
        while not done.is_set():
            number = reads % len(season.ROUNDS) + 1
            board = await client.get("/api/v1/leaderboard", params={"round": number, "limit": 50})
            assert board.status_code == 200, board.text
            rows = board.json()["items"]
            assert len(rows) == 50
            team = await client.get(f"/api/v1/teams/{rows[0]['team_id']}/points")
            assert team.status_code == 200, team.text
            scores = await client.get(f"/api/v1/rounds/{season.YEAR}/{number}/scores")
            assert scores.status_code == 200, scores.text
            reads += 3
            await asyncio.sleep(0.05)  # a pace, not a wait
    return reads


async def control(circuit: Circuit) -> dict[str, str]:
    """Apply the late events to a copy of the tables; return what the facts are then.

    The handlers are those of the service, and nothing of the rebuild takes part.
    """
    engine = create_async_engine(
        make_url(circuit.admin_url).set(drivername="postgresql+asyncpg"),
        connect_args={"server_settings": {"search_path": "control"}},
    )
    async with engine.begin() as connection:
        await connection.execute(text("CREATE SCHEMA control"))
        await connection.run_sync(metadata.create_all)
        for name in (*FACTS, *DERIVED, "assets", "prices"):
            names = ", ".join(metadata.tables[name].c.keys())
            copy = f"INSERT INTO {name} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM scoring.{name}"
            await connection.execute(text(copy))
            await connection.execute(text(f"ANALYZE {name}"))
    sessions = async_sessionmaker(engine)
    async with sessions() as session, session.begin():
        await apply(session, consumers, late())
        await rebuilding.score_all(session)
    await engine.dispose()
    return await circuit.fingerprints(FACTS, "control")


async def apply(session: AsyncSession, handlers: Consumers, events: Sequence[Event]) -> None:
    for consumer in handlers.all:
        if mine := [event for event in events if type(event) in consumer.events]:
            await consumer.apply(mine, session)
