"""Make the servers fit for the services, in one process: roles, schemas, migrations, streams.

Reads what `python -m common.migrate bootstrap` and `python -m common.topology apply` read.
"""

import asyncio
import os
import sys

import asyncpg
import nats.errors
from sqlalchemy.engine import make_url

from common import migrate, topology

CONNECT_SECONDS = 30


async def _database(admin_url: str, passwords: dict[str, str]) -> None:
    await migrate.bootstrap(admin_url, passwords)
    for service, password in passwords.items():
        own = make_url(admin_url).set(username=migrate.role_of(service), password=password)
        await migrate.upgrade(service, own.render_as_string(hide_password=False))


async def _streams(nats_url: str) -> None:
    client = await asyncio.wait_for(topology.connect(nats_url, "paddock-prepare"), CONNECT_SECONDS)
    try:
        await topology.apply(client.jetstream())
    finally:
        await client.close()


async def _prepare() -> None:
    passwords = {name: os.environ[f"PADDOCK_DB_PASSWORD_{name.upper()}"] for name in migrate.SERVICES}
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_streams(os.environ["NATS_URL"]))
        tasks.create_task(_database(os.environ["DATABASE_URL"], passwords))


def main() -> None:
    """Run, and exit with one line when a server refuses."""
    try:
        asyncio.run(_prepare())
    except* (OSError, asyncpg.PostgresError) as failures:
        sys.exit(f"PostgreSQL or NATS refused: {failures.exceptions[0]}; check DATABASE_URL and NATS_URL")
    except* nats.errors.Error as failures:
        sys.exit(f"NATS refused: {failures.exceptions[0]!r}; check NATS_URL")


if __name__ == "__main__":
    main()
