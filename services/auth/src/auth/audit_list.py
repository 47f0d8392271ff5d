"""The audit log as it is read: filters, the newest first, and pages by where the last one ended."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth.models import AuditEntry


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries; ``None`` is any."""

    action: str | None = None
    """The whole of it, or with a dot at the end what begins so: ``login.``"""
    actor_id: UUID | None = None
    actor_kind: str | None = None
    target_id: UUID | None = None
    address: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Not included."""


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """One entry."""

    id: int
    at: datetime
    actor_kind: str
    actor_id: UUID | None
    action: str
    target_id: UUID | None
    address: str | None
    request_id: str | None
    trace_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    hash: str

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        """Show a row."""
        values = {name: getattr(entry, name) for name in cls.__struct_fields__ if name != "hash"}
        return cls(**values, hash=entry.hash.hex())


async def find(session: AsyncSession, filters: Filters, *, before: int | None, limit: int) -> Sequence[AuditEntry]:
    """Return the newest entries whose id is less than ``before``."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    for name in ("actor_id", "actor_kind", "target_id", "address", "request_id"):
        if (wanted := getattr(filters, name)) is not None:
            query = query.where(getattr(AuditEntry, name) == wanted)
    if filters.action:
        exact = not filters.action.endswith(".")
        column = AuditEntry.action
        query = query.where(column == filters.action if exact else column.startswith(filters.action, autoescape=True))
    if filters.since:
        query = query.where(AuditEntry.at >= filters.since)
    if filters.until:
        query = query.where(AuditEntry.at < filters.until)
    return (await session.scalars(query)).all()
