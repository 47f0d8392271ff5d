from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import Column, Integer, Table, Text

from common.db import Database, service_metadata
from common.inbox import attempts_table, inbox_table
from common.ordered import cursors_table
from common.outbox import outbox_table
from common.settings import Settings
from devstack.testing import Servers, TokenMaker

METADATA = service_metadata()
outbox_table(METADATA)
inbox_table(METADATA)
attempts_table(METADATA)
cursors_table(METADATA)
NOTES = Table("notes", METADATA, Column("id", Integer, primary_key=True), Column("note", Text, nullable=False))

SCHEMA = "auth"
"""The events of auth are the smallest; its schema is borrowed, in a database of these tests' own."""


@pytest.fixture(scope="session")
async def settings(prepared: Servers, tokens: TokenMaker) -> Settings:
    connection = await asyncpg.connect(prepared.database_url)
    await connection.execute("CREATE DATABASE common_tests")
    await connection.close()
    url = prepared.database_url.rsplit("/", 1)[0] + "/common_tests"
    return Settings(database_url=url, nats_url=prepared.nats_url, redis_url=prepared.redis_url, auth_url=tokens.url)


@pytest.fixture(scope="session")
async def schema(settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings, SCHEMA)
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute(f"CREATE SCHEMA {SCHEMA}")
    await connection.close()
    async with database.engine.begin() as sync:
        await sync.run_sync(METADATA.create_all)
    yield database
    await database.close()


@pytest.fixture
async def database(schema: Database) -> Database:
    """An empty schema."""
    async with schema.transaction() as session:
        for table in METADATA.sorted_tables:
            await session.execute(table.delete())
    return schema
