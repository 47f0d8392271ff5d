"""The tables of a laboratory: those of the bus, what handlers change, and a notebook that no rollback clears."""

import asyncpg
from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, Integer, Table, Text, func
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from common.db import Database, service_metadata
from common.inbox import attempts_table, inbox_table
from common.ordered import cursors_table
from common.outbox import outbox_table
from lab.events import SERVICE

METADATA = service_metadata()
outbox_table(METADATA)
inbox_table(METADATA)
attempts_table(METADATA)
cursors_table(METADATA)

TEAM_POINTS = Table(
    "team_points", METADATA, Column("team", Integer, primary_key=True), Column("points", Integer, nullable=False)
)

EFFECTS = Table(
    "effects",
    METADATA,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("handler", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
"""Written in the transaction of the handler: what was done."""

Index("ix_effects_handler", EFFECTS.c.handler)

RUNS = Table(
    "runs",
    METADATA,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("handler", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("step", Text, nullable=False),
    Column("process", Integer, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
"""Written at once, whatever becomes of the handler: what was tried."""


async def make_database(admin_url: str, name: str) -> str:
    """Create a database with the tables of a laboratory; return its URL."""
    connection = await asyncpg.connect(admin_url, timeout=10)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    url = make_url(admin_url).set(database=name)
    engine = create_async_engine(
        url.set(drivername="postgresql+asyncpg"), connect_args={"server_settings": {"search_path": SERVICE}}
    )
    async with engine.begin() as sync:
        await sync.exec_driver_sql(f"CREATE SCHEMA {SERVICE}")
        await sync.run_sync(METADATA.create_all)
    await engine.dispose()
    return url.render_as_string(hide_password=False)


async def empty(database: Database) -> None:
    """Remove every row."""
    async with database.engine.begin() as connection:
        for table in METADATA.sorted_tables:
            await connection.execute(table.delete())
