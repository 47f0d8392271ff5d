"""The operator's connection to NATS, for commands that end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from nats.aio.client import Client

from common import topology
from common.settings import Settings, SettingsError

NATS_SECONDS = 30


class OperatorSettings(Settings, frozen=True, kw_only=True):
    """What a command is told; it opens no database, so that a default password is no reason to stop."""

    def refuse_defaults(self) -> None:
        """Refuse nothing."""


@contextlib.asynccontextmanager
async def connected(settings: Settings | None = None) -> AsyncIterator[Client]:
    """Connect to ``NATS_URL`` with ``NATS_CREDS``; raise `SettingsError` when NATS does not answer."""
    settings = settings or OperatorSettings.load()
    try:
        connecting = topology.connect(settings.nats_url, "paddock", settings.nats_creds)
        client = await asyncio.wait_for(connecting, timeout=NATS_SECONDS)
    except TimeoutError as error:
        raise SettingsError(f"NATS did not answer within {NATS_SECONDS} s; check NATS_URL and NATS_CREDS") from error
    try:
        yield client
    finally:
        await client.close()
