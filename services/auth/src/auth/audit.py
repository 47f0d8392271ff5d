"""The audit log: who did what to whom, from where, and what it changed. Entries are only ever added.

Each entry carries the hash of the one before, so an entry that is changed, removed or put between is found by `verify`.
Entries wait in the session until its transaction is about to commit; then they are chained and written, one transaction
at a time. So an entry shares the fate of what it tells, the chain has the order of the commits, and nobody who holds
the chain's lock waits for anything else.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

import msgspec
from opentelemetry import trace
from sqlalchemy import event, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from auth.models import AuditEntry
from auth.origin import Origin
from common import clock
from common.db import Database

CHAIN_LOCK = 7_301_004
"""First half of the advisory lock's key; the second is a hash of the schema."""
GENESIS = bytes(32)
"""What the first entry follows."""
BATCH = 1000
FORM = 1
"""Version of the canonical form."""
_WAITING = "audit entries"


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
    """Add an entry to the caller's transaction. ``before`` and ``after`` hold no secret and no whole e-mail address.

    They are texts, whole numbers, truths, instants, ids and lists of them: what JSON writes in one way only.
    """
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
        before=_plain(before),
        after=_plain(after),
    )
    inner = session.sync_session.get_nested_transaction()
    session.info.setdefault(_WAITING, []).append((inner, entry))


async def record_apart(
    database: Database,
    action: str,
    *,
    actor: Actor,
    origin: Origin,
    target: UUID | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry in a transaction of its own: what was refused is told although the request is undone."""
    async with database.transaction() as session:
        await record(session, action, actor=actor, origin=origin, target=target, after=after)


@event.listens_for(Session, "before_commit")
def _write(session: Session) -> None:
    """Chain what waits to the newest entry, with every other writer kept out until the commit."""
    if session.in_nested_transaction() or not (waiting := session.info.pop(_WAITING, None)):
        return
    session.flush()
    session.execute(select(func.pg_advisory_xact_lock(CHAIN_LOCK, func.hashtext(func.current_schema()))))
    previous = session.scalar(select(AuditEntry.hash).order_by(AuditEntry.id.desc()).limit(1)) or GENESIS
    for _, entry in waiting:
        entry.previous_hash = previous
        entry.hash = previous = hash_of(entry)
        session.add(entry)
        session.flush()


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, undone: SessionTransaction) -> None:
    """Drop what was recorded in a transaction, or in a savepoint, that is undone."""
    waiting = session.info.get(_WAITING, ())
    session.info[_WAITING] = [
        (inner, entry) for inner, entry in waiting if undone.nested and not _within(inner, undone)
    ]


def _within(inner: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while inner is not None and inner is not outer:
        inner = inner.parent
    return inner is outer


def hash_of(entry: AuditEntry) -> bytes:
    """Return SHA-256 over the canonical form: a JSON list without blanks, keys in order, the hash before included."""
    form = [
        FORM,
        entry.previous_hash.hex(),
        entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        entry.actor_kind,
        entry.actor_id,
        entry.action,
        entry.target_id,
        entry.address,
        entry.request_id,
        entry.trace_id,
        entry.before,
        entry.after,
    ]
    return hashlib.sha256(msgspec.json.encode(form, order="deterministic")).digest()


def _plain(facts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what the database gives back; raise `TypeError` for a number that JSON can write in several ways."""
    if facts is None:
        return None
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(facts))
    _refuse_floats(plain)
    return plain


def _refuse_floats(value: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, float):
        raise TypeError("an audit entry holds no floating-point number")
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _refuse_floats(part)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify` found."""

    entries: int
    """How many are whole, from the first on."""
    head_id: int | None
    """The newest of them."""
    head_hash: str
    broken_id: int | None
    """The first that is not whole."""
    fault: str | None


async def verify(database: Database, *, anchor: tuple[int, str] | None = None) -> Verdict:
    """Go through the chain; stop at the first entry that is not what was written or does not follow the one before.

    Entries cut off at the end leave a chain that is whole. ``anchor``, an id with its hash as an earlier verdict told,
    finds that out: that entry must be there still.
    """
    previous, count, head, fault = GENESIS, 0, None, None
    anchored = anchor is None
    async for entry in entries(database):
        if entry.previous_hash != previous:
            fault = "does not follow the entry before it: one between them is missing, or it was put here"
        elif entry.hash != hash_of(entry):
            fault = "is not what was written"
        elif anchor and entry.id == anchor[0]:
            anchored = entry.hash.hex() == anchor[1]
            fault = None if anchored else "is another entry than the one you know"
        if fault:
            return Verdict(entries=count, head_id=head, head_hash=previous.hex(), broken_id=entry.id, fault=fault)
        previous, head, count = entry.hash, entry.id, count + 1
    if not anchored and anchor:
        fault = "is gone, and so may be what came after it"
        return Verdict(entries=count, head_id=head, head_hash=previous.hex(), broken_id=anchor[0], fault=fault)
    return Verdict(entries=count, head_id=head, head_hash=previous.hex(), broken_id=None, fault=None)


async def entries(database: Database, after: int = 0) -> AsyncIterator[AuditEntry]:
    """Yield every entry behind ``after`` in the chain's order, read in batches, a transaction for each."""
    while True:
        async with database.transaction() as session:
            query = select(AuditEntry).where(AuditEntry.id > after).order_by(AuditEntry.id).limit(BATCH)
            batch = (await session.scalars(query)).all()
        for entry in batch:
            yield entry
        if len(batch) < BATCH:
            return
        after = batch[-1].id
