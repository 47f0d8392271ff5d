"""The inbox: an effect and the mark that it was done commit together, so a second delivery does nothing."""

from uuid import UUID

from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, Uuid, func
from sqlalchemy.dialects.postgresql import insert
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


_INBOX = inbox_table(MetaData())


async def claim(session: AsyncSession, consumer: str, event_id: UUID) -> bool:
    """Mark the event as done by ``consumer``; return False when it already was. Insert first, never look first."""
    row = insert(_INBOX).values(consumer=consumer, event_id=event_id).on_conflict_do_nothing()
    result = await session.execute(row.returning(_INBOX.c.event_id))
    return result.scalar_one_or_none() is not None
