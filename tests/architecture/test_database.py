"""Each service owns one schema and nothing else, and its migrations go up, down and up again without drift."""

from importlib import import_module

import asyncpg
import pytest
from sqlalchemy import DateTime, MetaData

from common import migrate
from devstack.testing import Servers

PAIRS = [(own, other) for own in migrate.SERVICES for other in migrate.SERVICES if own != other]


@pytest.fixture(scope="module")
async def migrated(prepared: Servers) -> Servers:
    for service in migrate.SERVICES:
        await migrate.upgrade(service, prepared.database_url_of(service))
    return prepared


async def tables(url: str, schema: str) -> set[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
    await connection.close()
    return {row["tablename"] for row in rows}


@pytest.mark.parametrize("service", migrate.SERVICES)
async def test_a_role_uses_its_own_schema(service: str, migrated: Servers) -> None:
    connection = await asyncpg.connect(migrated.database_url_of(service))
    assert await connection.fetchval("SELECT count(*) FROM outbox WHERE false") == 0
    assert await connection.fetchval("SELECT current_schema()") == service
    await connection.close()


@pytest.mark.parametrize(("own", "other"), PAIRS)
async def test_a_role_is_refused_on_every_other_schema(own: str, other: str, migrated: Servers) -> None:
    connection = await asyncpg.connect(migrated.database_url_of(own))
    statements = [
        f"SELECT * FROM {other}.outbox",
        f"INSERT INTO {other}.inbox (consumer, event_id) VALUES ('x', gen_random_uuid())",
        f"DROP TABLE {other}.outbox",
        f"CREATE TABLE {other}.mine (id int)",
        f"SET ROLE {migrate.role_of(other)}",
    ]
    for statement in statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


@pytest.mark.parametrize("service", migrate.SERVICES)
async def test_a_role_cannot_create_in_public_or_make_itself_more(service: str, migrated: Servers) -> None:
    connection = await asyncpg.connect(migrated.database_url_of(service))
    for statement in ("CREATE TABLE public.mine (id int)", "CREATE ROLE boss SUPERUSER", "CREATE SCHEMA mine"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


@pytest.mark.parametrize("service", migrate.SERVICES)
async def test_migrations_go_up_down_and_up_again_without_drift(service: str, prepared: Servers) -> None:
    """In a database of its own, so that no test that runs beside it loses its tables."""
    name = f"migrations_of_{service}"
    admin = await asyncpg.connect(prepared.database_url)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    scratch = Servers(
        database_url=prepared.database_url.rsplit("/", 1)[0] + f"/{name}",
        nats_url=prepared.nats_url,
        redis_url=prepared.redis_url,
    )
    await migrate.bootstrap(scratch.database_url, {service: "paddock-test"})
    url = scratch.database_url_of(service)
    await migrate.upgrade(service, url)
    first = await tables(url, service)
    await migrate.check(service, url)
    await migrate.downgrade(service, url)
    assert await tables(url, service) == {"alembic_version"}
    await migrate.upgrade(service, url)
    assert await tables(url, service) == first
    assert {"inbox", "outbox"} < first


@pytest.mark.parametrize("service", migrate.SERVICES)
def test_every_instant_is_stored_with_its_zone(service: str) -> None:
    metadata: MetaData = import_module(f"{service}.models").metadata
    columns = [column for table in metadata.sorted_tables for column in table.columns]
    naive = [str(column) for column in columns if isinstance(column.type, DateTime) and not column.type.timezone]
    assert columns
    assert naive == []
