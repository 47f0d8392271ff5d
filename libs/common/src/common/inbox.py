"""The inbox: an effect and the mark that it was done commit together, so a second delivery does nothing.

Beside it stand the attempts: how often an event that is in trouble was tried. A try counts from its beginning, so an
event that kills its process is found out too; one that a shutdown or an outage cut short is given back.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Column, DateTime, Index, Integer, MetaData, Table, Text, Uuid, bindparam, func, text
from sqlalchemy import delete as sql_delete
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession


def inbox_table(metadata: MetaData) -> Table:
    """Declare the inbox among a service's tables."""
    return Table(
        "inbox",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("event_id", Uuid, primary_key=True),
        Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Index(None, "received_at"),
    )


def attempts_table(metadata: MetaData) -> Table:
    """Declare the attempts among a service's tables; a row exists only while its event is in trouble."""
    return Table(
        "attempts",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("event_id", Uuid, primary_key=True),
        Column("tries", Integer, nullable=False),
        Column("since", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


_INBOX = inbox_table(MetaData())
_ATTEMPTS = attempts_table(MetaData())
_CLAIM = text(
    "INSERT INTO inbox (consumer, event_id) SELECT :consumer, unnest(:events) ON CONFLICT DO NOTHING RETURNING event_id"
).bindparams(bindparam("events", type_=ARRAY(Uuid)))


async def claim(session: AsyncSession, consumer: str, event_id: UUID) -> bool:
    """Mark the event as done by ``consumer``; return False when it already was. Insert first, never look first."""
    return event_id in await claim_all(session, consumer, [event_id])


async def claim_all(session: AsyncSession, consumer: str, event_ids: Collection[UUID]) -> set[UUID]:
    """Mark many events as done; return those that were not. Sorted, so that two batches never lock crosswise."""
    result = await session.execute(_CLAIM, {"consumer": consumer, "events": sorted(event_ids)})
    return set(result.scalars())


async def begin_again(session: AsyncSession, consumer: str, event_id: UUID) -> int:
    """Count a delivery that is not the first; return which try it is. The first one left no row and counts as one."""
    return await _count(session, consumer, event_id, first=2, change=1)


async def give_back(session: AsyncSession, consumer: str, event_id: UUID) -> None:
    """Take back a try that nobody is to blame for."""
    await _count(session, consumer, event_id, first=0, change=-1)


async def _count(session: AsyncSession, consumer: str, event_id: UUID, *, first: int, change: int) -> int:
    row = insert(_ATTEMPTS).values(consumer=consumer, event_id=event_id, tries=first)
    counted = row.on_conflict_do_update(
        index_elements=["consumer", "event_id"], set_={"tries": _ATTEMPTS.c.tries + change}
    )
    return int(await session.scalar(counted.returning(_ATTEMPTS.c.tries)) or 0)


async def settle(session: AsyncSession, consumer: str, event_id: UUID) -> None:
    """Forget the tries of an event that is dealt with."""
    row = sql_delete(_ATTEMPTS).where(_ATTEMPTS.c.consumer == consumer, _ATTEMPTS.c.event_id == event_id)
    await session.execute(row)
