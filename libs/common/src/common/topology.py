"""The streams of JetStream as code, and how to connect.

No service declares a stream: `paddock topology apply` does, in the migration job or at `make run`, so that a
start-up can never overwrite an operator's configuration with defaults.
"""

import asyncio
from typing import Any

from nats.aio.client import Client, RawCredentials
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from common.contracts import REGISTRY

EVENTS = "EVENTS"
DEAD_LETTERS = "DLQ"
ADVISORIES = "ADVISORIES"
AUDIT = "AUDIT"

DAY_SECONDS = 24 * 3600
DEDUPLICATION_SECONDS = 600
"""How long JetStream remembers a ``Nats-Msg-Id``; the inbox covers what comes later."""

ROOTS = sorted({subject.split(".")[0] for subject in REGISTRY} | {"analytics", "draft", "laps", "notification"})
"""The first words of every subject the product has or will have."""


_ADVICE = "$JS.EVENT.ADVISORY.CONSUMER"


def _stream(name: str, description: str, subjects: list[str], days: int, **more: Any) -> StreamConfig:  # noqa: ANN401 - fields
    """A full stream refuses what is new instead of forgetting what somebody may not have read."""
    return StreamConfig(
        name=name,
        description=description,
        subjects=subjects,
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=more.pop("discard", DiscardPolicy.NEW),
        max_age=days * DAY_SECONDS,
        max_msg_size=1024 * 1024,
        duplicate_window=DEDUPLICATION_SECONDS,
        num_replicas=1,
        allow_direct=True,
        **more,
    )


STREAMS = (
    _stream(EVENTS, "Every event of the product", [f"{root}.>" for root in ROOTS], days=30),
    _stream(DEAD_LETTERS, "Letters of deliveries that were given up, and their way back", ["dlq.>", "redrive.>"], 90),
    _stream(
        ADVISORIES,
        "What JetStream says of deliveries that it gave up",
        [f"{_ADVICE}.MAX_DELIVERIES.>", f"{_ADVICE}.MSG_TERMINATED.>"],
        days=30,
        discard=DiscardPolicy.OLD,
        max_bytes=64 * 1024 * 1024,
    ),
    _stream(AUDIT, "What operators did", ["audit.>"], days=365, deny_delete=True, deny_purge=True),
)
CHOSEN_BY_OPERATORS = ("num_replicas", "max_bytes", "placement", "compression", "metadata", "first_seq")
"""Fields that no release touches once a stream exists."""


def connection_options(name: str, credentials: str | None) -> dict[str, Any]:
    """Options of every connection: endless reconnects, a dead peer noticed within 20 s, replies that only we may read.

    ``name`` is the NATS user's, or that and a part after a dash; ``credentials`` is the text of a credentials file.
    """
    return {
        "name": name,
        "user_credentials": RawCredentials(credentials) if credentials else None,
        "inbox_prefix": f"_INBOX_{name.partition('-')[0]}",
        "allow_reconnect": True,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 1,
        "connect_timeout": 3,
        "ping_interval": 6,
        "max_outstanding_pings": 2,
    }


async def connect(url: str, name: str, credentials: str | None = None) -> Client:
    """Connect and stay connected. Waits while NATS is away."""
    client = Client()
    try:
        await client.connect(url, error_cb=_quiet, **connection_options(name, credentials))
    except asyncio.CancelledError:
        await client.close()
        raise
    return client


async def _quiet(error: Exception) -> None:
    """Connection errors show in metrics and readiness; a line for every attempt would drown the log."""


async def apply(js: JetStreamContext) -> list[str]:
    """Create what is missing and update what differs, but for what is the operator's to choose."""
    lines = []
    for config in STREAMS:
        try:
            live = (await js.stream_info(str(config.name))).config
        except NotFoundError:
            await js.add_stream(config)
            lines.append(f"{config.name}: created")
        else:
            kept = {field: getattr(live, field) for field in CHOSEN_BY_OPERATORS}
            await js.update_stream(config.evolve(**kept))
            lines.append(f"{config.name}: up to date")
    return lines
