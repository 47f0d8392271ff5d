"""A database with every service's tables and a broker with every stream, both of the module's own."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from nats.js import JetStreamContext
from sqlalchemy.engine import make_url

from analytics.app import create_app
from analytics.settings import AnalyticsSettings
from common import migrate, topology
from common.contracts import Event, encode
from common.settings import Environment
from devstack.servers import NatsServer, start_nats
from devstack.testing import PASSWORD, Servers, eventually, running
from lab import season, wire
from paddock import audit

HOUR = timedelta(hours=1)


@dataclass
class Past:
    """What has happened, and where it is kept."""

    nats: NatsServer
    js: JetStreamContext
    admin_url: str
    database: asyncpg.Connection

    def analytics(self) -> Any:
        """The real service, to be run with `running`."""
        url = make_url(self.admin_url).set(username=migrate.role_of("analytics"), password=PASSWORD)
        return create_app(
            AnalyticsSettings(
                paddock_env=Environment.TEST,
                database_url=url.render_as_string(hide_password=False),
                nats_url=self.nats.url,
            )
        )

    async def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.database.fetch(query, *arguments)]

    async def value(self, query: str, *arguments: Any) -> Any:
        return await self.database.fetchval(query, *arguments)

    async def consumed(self) -> None:
        """Wait until no durable has anything open."""

        async def nothing_open() -> bool:
            infos = await self.js.consumers_info(topology.EVENTS)
            return sum((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos) == 0

        await eventually(nothing_open, seconds=30, what="the end of consumption")

    async def apply(self, *events: Event) -> list[UUID]:
        """Publish events and let the service of analytics apply them."""
        ids = await wire.publish(self.js, *events)
        async with running(self.analytics()):
            await eventually(self._attached, seconds=30, what="durables")
            await self.consumed()
        return ids

    async def _attached(self) -> bool:
        """The durables are there; who follows the ends of sessions comes and goes."""
        return sum(bool(info.config.durable_name) for info in await self.js.consumers_info(topology.EVENTS)) == 3

    async def acts(self) -> list[str]:
        """What operators did."""
        messages = await wire.read_all(self.js, audit.STREAM)
        return [message.subject.removeprefix("audit.") for message in messages]

    async def publish_outbox(self, service: str, events: Sequence[Event], when: datetime | None = None) -> None:
        """Store events in an outbox and in the stream, as a relay does."""
        for event in events:
            (event_id,) = await wire.publish(self.js, event)
            place = (await self.js.stream_info(topology.EVENTS)).state.last_seq
            await self.keep(service, event, event_id, place, when)

    async def keep(
        self, service: str, event: Event, event_id: UUID, place: int | None, when: datetime | None = None
    ) -> None:
        """Store a published event in an outbox."""
        await self.database.execute(
            f"INSERT INTO {service}.outbox (event_id, subject, key, source, body, created_at, published_at, stream_seq)"
            " VALUES ($1, $2, $3, $4, $5, $6, $6, $7)",
            *(event_id, event.subject, event.key(), event.source, encode(event), when or datetime.now(UTC) - HOUR),
            place,
        )

    async def streamed(self) -> list[tuple[int, str]]:
        """Places and ids of the stream."""
        messages = await wire.read_all(self.js, topology.EVENTS)
        return [(one.metadata.sequence.stream, (one.headers or {})["ce-id"]) for one in messages]


@pytest.fixture(scope="module")
async def place(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Past]:
    server = start_nats(tmp_path_factory.mktemp("nats"), durable=False)
    name = f"past_{uuid4().hex[:8]}"
    admin = await asyncpg.connect(servers.database_url)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    url = make_url(servers.database_url).set(database=name)
    admin_url = url.render_as_string(hide_password=False)
    await migrate.bootstrap(admin_url, dict.fromkeys(migrate.SERVICES, PASSWORD))
    for service in migrate.SERVICES:
        own = url.set(username=migrate.role_of(service), password=PASSWORD)
        await migrate.upgrade(service, own.render_as_string(hide_password=False))
    database = await asyncpg.connect(admin_url)
    async with wire.connected(server.url) as js:
        yield Past(server, js, admin_url, database)
    await database.close()
    server.stop()


@pytest.fixture
async def past(place: Past) -> Past:
    """Nothing has happened yet."""
    js = place.js
    for stream in await js.streams_info():
        await js.delete_stream(str(stream.config.name))
    await topology.apply(js)
    for info in await js.consumers_info(topology.EVENTS):
        await js.delete_consumer(topology.EVENTS, info.name)
    await place.database.execute("DROP SCHEMA IF EXISTS analytics_rebuild, leagues_rebuild, scoring_rebuild CASCADE")
    for schema in migrate.SERVICES:
        tables = await place.rows("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
        kept = {"alembic_version", *getattr(import_module(f"{schema}.models"), "APPEND_ONLY", ())}
        names = ", ".join(f"{schema}.{name}" for (name,) in tables if name not in kept)
        await place.database.execute(f"TRUNCATE {names} RESTART IDENTITY")
    return place


@pytest.fixture
def weekend() -> list[Event]:
    """A season and two results, one of them corrected."""
    kinds = season.KINDS
    return [season.calendar(), *(season.result(1, kind) for kind in kinds), season.result(1, kinds[1], version=2)]
