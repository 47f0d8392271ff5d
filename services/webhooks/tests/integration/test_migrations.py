"""The schema goes up, down and up again, and is what the models say. In a database of its own."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from common import migrate
from devstack.testing import PASSWORD, Servers


@pytest.fixture
async def url(prepared: Servers) -> AsyncIterator[str]:
    admin = await asyncpg.connect(prepared.database_url)
    await admin.execute("CREATE DATABASE webhooks_migrations")
    await migrate.bootstrap(elsewhere(prepared.database_url), {"webhooks": PASSWORD})
    yield elsewhere(prepared.database_url_of("webhooks"))
    await admin.execute("DROP DATABASE webhooks_migrations WITH (FORCE)")
    await admin.close()


def elsewhere(url: str) -> str:
    return make_url(url).set(database="webhooks_migrations").render_as_string(hide_password=False)


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'webhooks'")
    await connection.close()
    return {row["tablename"] for row in rows}


async def test_the_migrations_go_up_down_and_up_again_without_drift(url: str) -> None:
    await migrate.upgrade("webhooks", url)
    await migrate.check("webhooks", url)
    up = await tables(url)
    await migrate.downgrade("webhooks", url)
    assert await tables(url) == {"alembic_version"}
    await migrate.upgrade("webhooks", url)
    await migrate.check("webhooks", url)
    assert await tables(url) == up
