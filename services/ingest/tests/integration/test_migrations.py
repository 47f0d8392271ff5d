"""The schema goes up, down to nothing and up again, and is what the models say."""

import asyncpg

from common import migrate
from devstack.testing import PASSWORD, Servers


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'ingest'")
        return {row["tablename"] for row in found}
    finally:
        await connection.close()


async def test_migrations_go_up_down_and_up_without_drift(prepared: Servers) -> None:
    admin = prepared.database_url
    connection = await asyncpg.connect(admin)
    await connection.execute("CREATE DATABASE ingest_migrations")
    await connection.close()
    database = admin.rsplit("/", 1)[0] + "/ingest_migrations"
    await migrate.bootstrap(database, {"ingest": PASSWORD})
    url = prepared.database_url_of("ingest").rsplit("/", 1)[0] + "/ingest_migrations"
    await migrate.upgrade("ingest", url)
    await migrate.check("ingest", url)
    assert "results" in await tables(url)
    await migrate.downgrade("ingest", url)
    assert await tables(url) == {"alembic_version"}
    await migrate.upgrade("ingest", url)
    await migrate.check("ingest", url)
