"""The operator's settings and connection to NATS, for commands that end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from nats.aio.client import Client

from common import topology
from common.settings import Settings, SettingsError, described

NATS_SECONDS = 10


class OperatorSettings(Settings, frozen=True, kw_only=True):
    """What a command of the operator is told."""

    prefix = "PADDOCK_"

    nats_dir: Annotated[str, described("Folder of the NATS keys, made by `paddock nats init`")] = ".paddock/nats-auth"

    def refuse_defaults(self) -> None:
        """Nothing is refused: the one default secret is that of a database, which few commands open."""

    def credentials(self) -> str | None:
        """Return ``NATS_CREDS``, else what the operator's file in the folder of the keys says, else nothing."""
        creds = Path(self.nats_dir) / "creds"
        for file in (creds / "paddock.creds", creds / "paddock" / "nats.creds"):
            if self.nats_creds is None and file.is_file():
                return file.read_text(encoding="utf-8")
        return self.nats_creds


@contextlib.asynccontextmanager
async def connected(settings: OperatorSettings | None = None) -> AsyncIterator[Client]:
    """Connect to ``NATS_URL`` as the operator; raise `SettingsError` when NATS does not answer, or not to us."""
    settings = settings or OperatorSettings.load()
    credentials = settings.credentials()
    try:
        connecting = topology.connect(settings.nats_url, "paddock", credentials)
        client = await asyncio.wait_for(connecting, timeout=NATS_SECONDS)
    except TimeoutError as error:
        whose = "the operator's credentials" if credentials else "no credentials: set NATS_CREDS_FILE if it wants some"
        raise SettingsError(f"NATS did not let us in within {NATS_SECONDS} s, with {whose}; check NATS_URL") from error
    try:
        yield client
    finally:
        await client.close()
