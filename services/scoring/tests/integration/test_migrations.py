"""The schema goes up, down to nothing and up again, and is what the models say."""

import asyncpg

from common import migrate
from devstack.testing import Servers


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'scoring'")
        return {row["tablename"] for row in rows}
    finally:
        await connection.close()


async def test_the_schema_goes_up_down_and_up_without_drift(prepared: Servers) -> None:
    admin = await asyncpg.connect(prepared.database_url)
    await admin.execute("CREATE DATABASE scoring_migrations")
    url = f"{prepared.database_url.rsplit('/', 1)[0]}/scoring_migrations"
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE SCHEMA scoring")
    await connection.close()
    try:
        await migrate.upgrade("scoring", url)
        await migrate.check("scoring", url)
        assert {"ledger", "standings", "outbox", "inbox"} <= await tables(url)
        await migrate.downgrade("scoring", url)
        assert await tables(url) == {"alembic_version"}
        await migrate.upgrade("scoring", url)
        await migrate.check("scoring", url)
    finally:
        await admin.execute("DROP DATABASE scoring_migrations WITH (FORCE)")
        await admin.close()


async def test_constraints_have_the_names_of_the_house(prepared: Servers) -> None:
    admin = await asyncpg.connect(prepared.database_url)
    await migrate.upgrade("scoring", prepared.database_url_of("scoring"))
    rows = await admin.fetch(
        "SELECT conname FROM pg_constraint JOIN pg_namespace ON pg_namespace.oid = connamespace"
        " WHERE nspname = 'scoring' AND contype = 'c'"
    )
    await admin.close()
    assert {row["conname"] for row in rows} == {
        "ck_assets_kind",
        "ck_ledger_kind",
        "ck_ledger_session",
        "ck_prices_kind",
        "ck_prices_price",
        "ck_results_session",
        "ck_scored_rounds_score_version",
    }
