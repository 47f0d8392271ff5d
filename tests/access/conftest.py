"""One world for all tests of access."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from sqlalchemy.engine import make_url

from attack.cast import Cast, assemble
from attack.matrix import Driver
from attack.people import People
from attack.world import Changes, World, started
from auth.settings import AuthSettings
from common import migrate, topology
from devstack.servers import start_nats
from devstack.testing import PASSWORD, Servers, SettingsMaker, TokenMaker, settings_maker

FAST = {"bcrypt_cost": 4, "hash_queue": 64}


@pytest.fixture(scope="session")
async def prepared(prepared: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """A database and a broker of their own: the services of this world live on while others test theirs."""
    name = f"access_{uuid4().hex[:8]}"
    admin = await asyncpg.connect(prepared.database_url)
    await admin.execute(f"CREATE DATABASE {name}")
    url = make_url(prepared.database_url).set(database=name).render_as_string(hide_password=False)
    await migrate.bootstrap(url, dict.fromkeys(migrate.SERVICES, PASSWORD))
    broker = start_nats(tmp_path_factory.mktemp("nats"), durable=False)
    client = await topology.connect(broker.url, "tests")
    await topology.apply(client.jetstream())
    await client.close()
    yield msgspec.structs.replace(prepared, database_url=url, nats_url=broker.url)
    broker.stop()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture(scope="session")
async def settings_for(prepared: Servers, tokens: TokenMaker) -> SettingsMaker:
    """Settings of that place."""
    return settings_maker(prepared, tokens)


@pytest.fixture(scope="session")
async def world(settings_for: SettingsMaker) -> AsyncIterator[World]:
    """Every service and the gateway, in this process."""
    none = dict.fromkeys(limits(), "0")
    changes: Changes = {
        "auth": FAST | none,
        "ingest": {"jolpica_url": "http://127.0.0.1:1"},
        "leagues": {"verified_only": True},
        "webhooks": {"allow_http": True, "allow_private": True, "ports": "1-65535"},
    }
    async with started(settings_for, changes) as running:
        yield running


def limits() -> list[str]:
    """Name the limits of `auth`, which others test."""
    return [name for name in AuthSettings.__struct_fields__ if name.startswith("limit_")]


@pytest.fixture(scope="session")
async def people(world: World) -> People:
    """Whoever calls."""
    return People(world)


@pytest.fixture(scope="session")
async def cast(world: World, people: People) -> Cast:
    """The people of the matrix."""
    return await assemble(world, people)


@pytest.fixture(scope="session")
def driver(world: World, people: People, cast: Cast) -> Driver:
    """Asks as each of them."""
    return Driver(world, people, cast)
