"""The audit log: who did what to whom, from where, and what it changed. Entries are only ever added."""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self
from uuid import UUID, uuid4

import msgspec
from opentelemetry import trace
from sqlalchemy.ext.asyncio import AsyncSession

from auth.models import AuditEntry
from auth.origin import Origin
from common import clock


class Kind(StrEnum):
    """What kind of actor."""

    USER = "user"
    ADMIN = "admin"
    OPERATOR = "operator"
    SYSTEM = "system"
    ANONYMOUS = "anonymous"


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts."""

    kind: Kind
    id: UUID | None = None

    @classmethod
    def user(cls, user_id: UUID) -> Self:
        """Somebody who plays."""
        return cls(kind=Kind.USER, id=user_id)

    @classmethod
    def admin(cls, admin_id: UUID) -> Self:
        """Somebody who looks after the place."""
        return cls(kind=Kind.ADMIN, id=admin_id)


OPERATOR = Actor(kind=Kind.OPERATOR)
SYSTEM = Actor(kind=Kind.SYSTEM)
ANONYMOUS = Actor(kind=Kind.ANONYMOUS)


async def record(
    session: AsyncSession,
    action: str,
    *,
    actor: Actor,
    origin: Origin,
    target: UUID | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry in the caller's transaction. ``before`` and ``after`` hold no secret and no whole address."""
    span = trace.get_current_span().get_span_context()
    entry = AuditEntry(
        at=clock.now(),
        actor_kind=actor.kind.value,
        actor_id=actor.id,
        action=action,
        target_id=target,
        address=origin.address,
        request_id=origin.request_id,
        trace_id=f"{span.trace_id:032x}" if span.is_valid else None,
        before=dict(before) if before is not None else None,
        after=dict(after) if after is not None else None,
        previous_hash=b"",
        hash=hashlib.sha256(uuid4().bytes).digest(),
    )
    session.add(entry)
    await session.flush()
