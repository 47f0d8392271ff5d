"""A death at every point of every handler, and of the relay, leaves exactly one effect (E2).

What the handlers are is asked of the services' registries, and what the points are of an undisturbed run: after the
begin of the transaction, the inbox row, each write, each event put into the outbox, before and after the commit, after
the acknowledgement. Each case is a fresh database, a process that dies, another one that finishes the work, and a
comparison of every table with those of the undisturbed run.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from sqlalchemy import insert, text
from sqlalchemy.engine import make_url

from common import migrate, outbox, topology
from common.consumers import Consumer, Mode
from common.contracts import Event
from common.contracts.auth import UserDeleted
from common.contracts.ingest import Race, SeasonSynced
from common.contracts.samples import SAMPLES
from common.db import Database
from common.settings import Settings
from devstack.servers import NatsServer, start_nats
from devstack.testing import PASSWORD, Servers, eventually
from lab import crash, registry, wire
from lab.events import LapDriven
from lab.faults import DIED
from lab.process import Lab, Process
from lab.tables import EFFECTS
from lab.worker import Work

pytestmark = pytest.mark.timeout(400)

LANES = 4
"""Cases at once: most of a case is waiting for JetStream to deliver again."""
ACK_WAIT_SECONDS = 0.5
SHORTER = {
    "common.consumers.ACK_WAIT_SECONDS": ACK_WAIT_SECONDS,
    "common.delivery.ACK_WAIT_SECONDS": ACK_WAIT_SECONDS,
}
BASE = "crash_base"
NUMBERED = {("lineups", "slots")}
"""Columns that hold numbers which a sequence gave out; a transaction that is undone uses some up."""

FUTURE = timedelta(days=3650)
SEEDS = {
    "auth": """
        WITH owner AS (
            INSERT INTO users (id, username, email, password_hash, created_at)
            VALUES ('0195c0de-0000-7000-8000-0000000000c1', 'somebody', 'somebody@example.org', '', now()) RETURNING id
        )
        INSERT INTO mails (id, user_id, kind, address, facts, created_at)
        SELECT '0195c0de-0000-7000-8000-0000000000b1', id, 'verify_email', 'somebody@example.org', '{}', now()
        FROM owner
    """,
    "webhooks": """
        INSERT INTO endpoints (endpoint_id, user_id, url, description, format, subjects, secret_sealed, failures,
                               created_at)
        VALUES (gen_random_uuid(), gen_random_uuid(), 'https://example.org', '', 'cloudevents', '{season.synced}', '',
                0, '2020-01-01')
    """,
}
"""What a service must hold for its handlers to have something to do, beyond what events bring: an endpoint, a letter.

The letter has no link, so that it is dropped, which is all that its handler can do without a mail server.
"""

Row = dict[str, Any]


@dataclass
class Lane:
    """A broker and databases that no other lane touches."""

    number: int
    lab: Lab
    broker: NatsServer
    servers: Servers
    folder: Path
    js: JetStreamContext
    numbers: Any = field(default_factory=itertools.count)
    passed: dict[str, list[str]] = field(default_factory=dict)
    """The points of each durable."""

    def url(self, database: str, service: str) -> str:
        url = make_url(self.servers.database_url_of(service)).set(database=database)
        return url.render_as_string(hide_password=False)

    async def administer(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.servers.database_url, timeout=10)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def study(self, service: str, consumer: Consumer, event: Event) -> list[str]:
        """Kill at every point of one handler; return what went wrong."""
        template = f"crash_{self.number}_{next(self.numbers)}"
        await self.administer(f"CREATE DATABASE {template} TEMPLATE {BASE}")
        await prepare(self.url(template, service), service, event)
        case = Case(self, template, service, consumer, event)
        before = await case.look_at_template()
        undisturbed, points = await case.run(None)
        again, _ = await case.run(None)
        ignored = differing(undisturbed, again) | NUMBERED
        wanted = without(undisturbed, ignored)
        name = f"{consumer.durable} of {event.subject}"
        self.passed[name] = points
        problems = []
        if before | {"inbox": []} == undisturbed | {"inbox": []}:
            problems.append(f"{name}: the sample has no effect")
        for number, point in enumerate(points):
            found, died_at = await case.run(number)
            if died_at != points[: number + 1]:
                problems.append(f"{name}: died at {died_at[-1:]} instead of {point}")
            elif without(found, ignored) != wanted:
                problems.append(f"{name}: after a death at {point}: {explain(wanted, without(found, ignored))}")
        await self.administer(f"DROP DATABASE {template}")
        return problems


@dataclass
class Case:
    """One handler, one event, and the state that it meets."""

    lane: Lane
    template: str
    service: str
    consumer: Consumer
    event: Event

    async def look_at_template(self) -> dict[str, list[Row]]:
        return await contents(self.lane.url(self.template, self.service), self.service)

    async def run(self, crash_at: int | None) -> tuple[dict[str, list[Row]], list[str]]:
        """Process the event, with a death or without; return the tables, and the points passed before the death."""
        lane, database = self.lane, f"{self.template}_case"
        record = lane.folder / f"{next(lane.numbers)}.points"
        await lane.administer(f"CREATE DATABASE {database} TEMPLATE {self.template}")
        await lane.js.purge_stream(topology.EVENTS)
        for consumer in (self.consumer, registry.consumers_of(self.service).redrive()):
            await forget(lane.js, consumer)
        await wire.publish(lane.js, self.event)
        work = Work(
            database_url=lane.url(database, self.service),
            nats_url=lane.broker.url,
            service=self.service,
            handlers="lab.registry:only",
            options={"service": self.service, "durable": self.consumer.durable},
            patches=SHORTER,
            faults=["lab.crash:in_consumers"],
            environ={crash.RECORD: str(record)} | ({} if crash_at is None else {crash.CRASH_AT: str(crash_at)}),
        )
        process = lane.lab.work(work, "crash")
        if crash_at is not None:
            assert await process.wait() == DIED, process.log.read_text()[-2000:]
            process = lane.lab.work(msgspec.structs.replace(work, faults=[], environ={}), "survivor")
        await eventually(self.is_settled, seconds=30, what=f"{self.consumer.durable} after {crash_at}")
        if crash_at is None and self.consumer.mode is not Mode.ORDERED:
            await eventually(lambda: said(record, "acknowledged"), what="the acknowledgement's return")
        await process.kill()
        passed = names_in(record)
        found = await contents(lane.url(database, self.service), self.service)
        await lane.administer(f"DROP DATABASE {database} WITH (FORCE)")
        return found, passed

    async def is_settled(self) -> bool:
        try:
            info = await self.lane.js.consumer_info(self.consumer.stream, self.consumer.names()[0])
        except NotFoundError:
            return False
        seen = info.delivered is not None and info.delivered.consumer_seq > 0
        return seen and not info.num_pending and not info.num_ack_pending


async def said(record: Path, point: str) -> bool:
    return point in names_in(record)


def names_in(record: Path) -> list[str]:
    return record.read_text().splitlines() if record.exists() else []


async def forget(js: JetStreamContext, consumer: Consumer) -> None:
    for name in consumer.names():
        try:
            await js.delete_consumer(consumer.stream, name)
        except NotFoundError:
            continue


async def prepare(url: str, service: str, event: Event) -> None:
    """Bring a database into the state that the event meets: all samples before it have been handled."""
    database = Database(Settings(database_url=url), service)
    if seed := SEEDS.get(service):
        async with database.transaction() as session:
            await session.execute(text(seed))
    for sample in itertools.takewhile(lambda sample: type(sample) is not type(event), samples()):
        for consumer in registry.consumers_of(service).all:
            if type(sample) in consumer.events and consumer.mode is not Mode.RAW:
                async with database.transaction() as session:
                    await consumer.apply([sample], session)
    await database.close()


async def contents(url: str, schema: str) -> dict[str, list[Row]]:
    """Read every table of a schema; numbers that a sequence gives out are left out."""
    connection = await asyncpg.connect(url, timeout=10, server_settings={"search_path": schema})
    columns: dict[str, list[str]] = {}
    for table, column in await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = $1 "
        "AND is_identity = 'NO' AND table_name <> 'alembic_version' "
        "AND coalesce(column_default, '') NOT LIKE 'nextval%'",
        schema,
    ):
        columns.setdefault(table, []).append(column)
    found = {}
    for table, names in columns.items():
        listed = ", ".join(f'"{name}"::text' for name in sorted(names))
        rows = await connection.fetch(f'SELECT {listed} FROM "{table}" AS t ORDER BY t::text')
        found[table] = [dict(row) for row in rows]
    await connection.close()
    return found


def differing(one: dict[str, list[Row]], other: dict[str, list[Row]]) -> set[tuple[str, str]]:
    """Find the columns in which two runs of the same disagree."""
    found = set()
    for table, rows in one.items():
        for name in {name for row in rows for name in row}:
            if Counter(row[name] for row in rows) != Counter(row[name] for row in other[table]):
                found.add((table, name))
    return found


def without(found: dict[str, list[Row]], ignored: set[tuple[str, str]]) -> dict[str, Counter[tuple[Any, ...]]]:
    """Forget the columns that differ anyway."""
    return {
        table: Counter(
            tuple(sorted((name, value) for name, value in row.items() if (table, name) not in ignored)) for row in rows
        )
        for table, rows in found.items()
    }


def explain(wanted: dict[str, Counter[Any]], found: dict[str, Counter[Any]]) -> str:
    return "; ".join(
        f"{table}: missing {list(wanted[table] - found[table])}, too much {list(found[table] - wanted[table])}"
        for table in wanted
        if wanted[table] != found[table]
    )


def samples() -> list[Event]:
    """The samples, but for a calendar that lies ahead, as what has begun can no longer be locked, and an erasure at
    the end, as nothing is learnt about whoever is erased.
    """
    ordered = sorted(SAMPLES, key=lambda sample: isinstance(sample, UserDeleted))
    return [
        msgspec.structs.replace(sample, races=[later(race) for race in sample.races])
        if isinstance(sample, SeasonSynced)
        else sample
        for sample in ordered
    ]


def later(race: Race) -> Race:
    sessions = [msgspec.structs.replace(held, starts_at=held.starts_at + FUTURE) for held in race.sessions]
    return msgspec.structs.replace(race, sessions=sessions)


def cases() -> list[tuple[str, Consumer, Event]]:
    """Every handler of every service with a sample of each event; a raw one takes all alike, so one will do."""
    return [
        (service, consumer, sample)
        for service, consumer in registry.every_consumer()
        for kind in (consumer.events[:1] if consumer.mode is Mode.RAW else consumer.events)
        for sample in samples()
        if type(sample) is kind
    ]


@pytest.fixture(scope="module")
async def base(servers: Servers) -> Servers:
    """A database with every schema at its head."""
    connection = await asyncpg.connect(servers.database_url, timeout=10)
    await connection.execute(f"CREATE DATABASE {BASE}")
    await connection.close()
    admin = make_url(servers.database_url).set(database=BASE).render_as_string(hide_password=False)
    await migrate.bootstrap(admin, dict.fromkeys(migrate.SERVICES, PASSWORD))
    for service in migrate.SERVICES:
        url = make_url(servers.database_url_of(service)).set(database=BASE)
        await migrate.upgrade(service, url.render_as_string(hide_password=False))
    return servers


@pytest.fixture(scope="module")
async def studied(
    base: Servers, preloaded: Lab, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[list[str], dict[str, list[str]]]]:
    """Every case, a few at a time: what went wrong, and which points there were."""
    waiting = cases()
    problems: list[str] = []
    passed: dict[str, list[str]] = {}

    async def work(number: int) -> None:
        folder = tmp_path_factory.mktemp(f"lane{number}")
        broker = await asyncio.to_thread(start_nats, folder / "nats", durable=False)
        try:
            await wire.prepare_streams(broker.url)
            async with wire.connected(broker.url) as js:
                lane = Lane(number, preloaded, broker, base, folder, js)
                while waiting:
                    problems.extend(await lane.study(*waiting.pop(0)))
                passed.update(lane.passed)
        finally:
            broker.stop()

    await asyncio.gather(*(work(number) for number in range(LANES)))
    yield problems, passed
    preloaded.end()


def test_every_handler_of_every_service_is_killed_at_every_kind_of_point(studied: Any) -> None:
    _, passed = studied
    handlers = {consumer.durable for _, consumer in registry.every_consumer()}
    assert handlers == {name.split(" of ")[0] for name in passed}, "a handler without a sample of its event"
    assert len(handlers) > 15
    for name, points in passed.items():
        assert points[0] == "begin", name
        assert "write inbox" in points, name
        assert [point for point in points if point.startswith("write ") and point != "write inbox"], name
        assert points[points.index("write inbox") :][-3:] == ["before commit", "committed", "acknowledged"], name
    assert [name for name, points in passed.items() if "write outbox" in points], "nobody published"


def test_a_death_at_any_point_of_any_handler_leaves_one_effect(studied: Any) -> None:
    problems, passed = studied
    print(f"E2: {sum(len(points) for points in passed.values())} deaths in {len(passed)} handlers")  # noqa: T201
    assert problems == []


RELAY_POINTS: Sequence[str] = ("selected", "published", "marked")


@pytest.mark.parametrize("point", RELAY_POINTS)
async def test_a_relay_that_dies_at_any_point_publishes_each_event_once(bench: Any, tmp_path: Path, point: str) -> None:
    database = Database(Settings(database_url=bench.database_url), "auth")
    async with database.transaction() as session:
        await session.execute(insert(EFFECTS).values(handler="relay", key="44", number=1))
        await outbox.publish_all(session, [LapDriven(car=str(car), number=1) for car in range(50)])
    await database.close()
    record = tmp_path / "points"
    environ = {crash.RECORD: str(record), crash.CRASH_AT: str(RELAY_POINTS.index(point))}
    relay: Process = bench.start(relay=True, faults=["lab.crash:in_relay"], environ=environ)
    assert await relay.wait() == DIED
    assert record.read_text().splitlines()[-1] == point
    bench.start(relay=True)

    async def drained() -> bool:
        return bool(await bench.ledger.value("SELECT count(*) = 0 FROM outbox WHERE published_at IS NULL"))

    await eventually(drained, seconds=30, what="an empty outbox")
    streamed = [(message.headers or {})["ce-id"] for message in await wire.read_all(bench.js, topology.EVENTS)]
    stored = [str(row[0]) for row in await bench.ledger.rows("SELECT event_id FROM outbox")]
    assert Counter(streamed) == Counter(stored)
    assert len(stored) == 50
