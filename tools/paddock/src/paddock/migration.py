"""`paddock migrate`: everything that must exist before a service starts, in one command, safe to repeat."""

import os

from common import migrate
from common.settings import Settings, SettingsError
from paddock import streams
from paddock.broker import connected


async def run() -> list[str]:
    """Make roles and schemas, migrate each, and apply the streams when ``NATS_URL`` is set; return a line for each."""
    admin_url = Settings.load().database_url
    passwords = {service: _password(service) for service in migrate.SERVICES}
    await migrate.bootstrap(admin_url, passwords)
    lines = ["roles and schemas: ready"]
    for service in passwords:
        await migrate.upgrade(service, admin_url)
        lines.append(f"{service}: migrated")
    if os.environ.get("NATS_URL"):
        lines += await apply_topology()
    return lines


async def apply_topology() -> list[str]:
    """Create or update streams and durables of ``NATS_URL``; raise `SettingsError` when NATS does not answer."""
    async with connected() as client:
        return await streams.apply(client.jetstream())


def _password(service: str) -> str:
    variable = f"PADDOCK_DB_PASSWORD_{service.upper()}"
    value = os.environ.get(variable)
    if not value:
        raise SettingsError(f"{variable} is not set; it becomes the password of the role {migrate.role_of(service)}")
    return value
