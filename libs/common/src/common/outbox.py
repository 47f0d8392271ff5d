"""The outbox: state and event commit together, and only the relay publishes.

A row may carry ``deliver_at``: that is how timers survive a restart. A timer that can be moved has a ``slot``;
scheduling the slot again replaces what it holds until the relay takes it out. From then on `cancel` says that it is too
late, and `publish` makes a new timer beside the one that is on its way.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy import delete as sql_delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from common import telemetry
from common.contracts import Event, encode

UNCLAIMED = "published_at IS NULL AND claimed_at IS NULL"
"""A timer in its slot."""

MAX_BODY_BYTES = 1024 * 1024 - 16 * 1024
"""What the stream takes, less room for the headers. Refused when it is stored: later it would block its key."""


def outbox_table(metadata: MetaData) -> Table:
    """Declare the outbox among a service's tables."""
    table = Table(
        "outbox",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("event_id", Uuid, nullable=False, unique=True),
        Column("subject", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("source", Text, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("traceparent", Text),
        Column("slot", Text),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("deliver_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("claimed_at", DateTime(timezone=True)),
        Column("published_at", DateTime(timezone=True)),
        Column("stream_seq", BigInteger),
    )
    waiting = text("published_at IS NULL")
    Index("ix_outbox_waiting", table.c.id, postgresql_where=waiting)
    Index("uq_outbox_slot_unclaimed", table.c.slot, unique=True, postgresql_where=text(UNCLAIMED))
    return table


_OUTBOX = outbox_table(MetaData())


def channel(service: str) -> str:
    """Name the NOTIFY channel that wakes a service's relay."""
    return f"{service}_outbox"


async def publish(
    session: AsyncSession, event: Event, *, deliver_at: datetime | None = None, slot: str | None = None
) -> UUID:
    """Store the event in the caller's transaction; the relay sends it after the commit, not before ``deliver_at``.

    In a ``slot`` it takes the place of a timer that the relay has not taken. Who must know which it was asks `cancel`.
    """
    values = _values(event) | {"slot": slot}
    if deliver_at is not None:
        values["deliver_at"] = deliver_at
    row = insert(_OUTBOX).values(**values)
    if slot is not None:
        row = row.on_conflict_do_update(
            index_elements=[_OUTBOX.c.slot],
            index_where=text(UNCLAIMED),
            set_={name: row.excluded[name] for name in ("event_id", "body", "traceparent", "deliver_at")},
        )
    await session.execute(row)
    await session.execute(text(f"NOTIFY {channel(event.source)}"))
    event_id: UUID = values["event_id"]
    return event_id


async def publish_all(session: AsyncSession, events: Sequence[Event]) -> None:
    """Store many events of one service in the caller's transaction, in their order and in one round trip."""
    if events:
        await session.execute(insert(_OUTBOX), [_values(event) for event in events])
        await session.execute(text(f"NOTIFY {channel(events[0].source)}"))


def _values(event: Event) -> dict[str, Any]:
    body = encode(event)
    if len(body) > MAX_BODY_BYTES:
        raise ValueError(f"{event.subject} of {len(body)} bytes; JetStream takes {MAX_BODY_BYTES}")
    return {
        "event_id": uuid4(),
        "subject": event.subject,
        "key": event.key(),
        "source": event.source,
        "body": body,
        "traceparent": telemetry.current_traceparent(),
    }


async def cancel(session: AsyncSession, slot: str) -> bool:
    """Take back a timer; return False when there is none, or when the relay has it and it goes off."""
    row = sql_delete(_OUTBOX).where(_OUTBOX.c.slot == slot, text(UNCLAIMED))
    result = await session.execute(row.returning(_OUTBOX.c.id))
    return result.first() is not None
