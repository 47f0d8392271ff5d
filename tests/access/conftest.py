"""One world for all tests of access."""

from collections.abc import AsyncIterator

import pytest

from attack.cast import Cast, assemble
from attack.matrix import Driver
from attack.people import People
from attack.world import Changes, World, started
from auth.settings import AuthSettings
from devstack.testing import SettingsMaker

FAST = {"bcrypt_cost": 4, "hash_queue": 64}


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
