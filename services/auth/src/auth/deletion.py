"""How accounts go: blocked, deleted for a month in which they can come back, erased for good.

Deleted, an account is gone for everybody at once: no login, no token, no profile, and name and address are free. The
row stays, so that its owner may think again; `erase_due` removes it with everything that hangs on it. Others hear of it
in the same two steps: `user.deactivated`, then `user.deleted`.
"""

from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from auth import access_tokens, audit, avatars, links, sessions
from auth.audit import Actor
from auth.models import Guard, LeagueMember, User
from auth.objects import Objects
from auth.origin import OPERATOR as NOWHERE
from auth.origin import Origin
from auth.profile import TAKEN
from common import clock, outbox
from common.contracts.auth import DeactivationReason, UserActivated, UserDeactivated, UserDeleted
from common.db import Database, violated_constraint
from common.errors import ConflictError, UnavailableError
from common.log import get_logger

log = get_logger(__name__)

KEPT = timedelta(days=30)
"""How long a deleted account can be brought back."""
INSTANT = timedelta(microseconds=1)


async def deactivate(session: AsyncSession, user: User, *, actor: Actor, origin: Origin) -> None:
    """Put a locked account out of use; its personal access tokens come back with it."""
    user.deactivated_at = _moved(user)
    await _announce_absence(session, user, DeactivationReason.BLOCKED)
    also = await access_tokens.live_ids(session, user.id)
    await sessions.end(session, user, sessions.ALL, reason="account blocked", actor=actor, origin=origin, also=also)


async def activate(session: AsyncSession, user: User, *, actor: Actor, origin: Origin) -> None:  # noqa: ARG001 - as its siblings
    """Take a locked account into use again."""
    user.deactivated_at = None
    _moved(user)
    await _announce_return(session, user)


async def soft_delete(session: AsyncSession, user: User, *, actor: Actor, origin: Origin) -> None:
    """Delete a locked account; from the commit on it is gone for everybody, and for `KEPT` it can come back."""
    user.deleted_at = _moved(user)
    await _announce_absence(session, user, DeactivationReason.DELETED)
    await links.void(session, user.id)
    await access_tokens.revoke_all(session, user.id, reason="account deleted", actor=actor, origin=origin)
    await sessions.end(session, user, sessions.ALL, reason="account deleted", actor=actor, origin=origin)


async def restore(session: AsyncSession, user: User, *, actor: Actor, origin: Origin) -> None:  # noqa: ARG001 - as its siblings
    """Bring a locked account back as it was, blocked if it was blocked; its tokens for programs stay dead.

    Raises:
        ConflictError: its time is over, or somebody else has the name, the address or the telephone number by now.
    """
    if user.deleted_at is None:
        return
    if user.deleted_at + KEPT <= clock.now():
        raise ConflictError("restore_too_late", "The account is about to be erased and cannot come back.")
    try:
        async with session.begin_nested():
            user.deleted_at = None
            _moved(user)
            await session.flush()
    except IntegrityError as error:
        taken = TAKEN.get(violated_constraint(error) or "")
        if taken is None:
            raise
        raise ConflictError(*taken) from error
    if user.deactivated_at is None:
        await _announce_return(session, user)


async def erase_due(database: Database, store: Objects, now: datetime, *, limit: int) -> int:
    """Erase up to ``limit`` accounts that were deleted long enough ago, each in its own transaction; say how many."""
    due = User.deleted_at <= now - KEPT
    async with database.transaction() as session:
        ids = (await session.scalars(select(User.id).where(due).order_by(User.deleted_at).limit(limit))).all()
    erased = 0
    for user_id in ids:
        async with database.transaction() as session:
            query = select(User).where(User.id == user_id, due).with_for_update(skip_locked=True)
            user = await session.scalar(query)
            picture = await _erase(session, user, now) if user else None
        erased += user is not None
        if picture:
            await _discard(store, picture)
    return erased


async def _erase(session: AsyncSession, user: User, now: datetime) -> str | None:
    """Remove an account and everything of it here; return the picture that nobody wants any more.

    Sessions, links, letters, preferences and tokens go with the row. The audit log stays: it holds ids, no names.
    """
    picture = await avatars.forget(session, user.id)
    for table in (LeagueMember, Guard):
        await session.execute(delete(table).where(table.user_id == user.id))
    await session.delete(user)
    await session.flush()
    await outbox.publish(session, UserDeleted(user_id=user.id, deleted_at=now))
    await audit.record(session, "account.erase", actor=audit.SYSTEM, origin=NOWHERE, target=user.id)
    return picture


async def _discard(store: Objects, picture: str) -> None:
    try:
        await store.remove(picture)
    except UnavailableError:
        log.warning("picture of an erased account left to the sweep", object=picture)


def _moved(user: User) -> datetime:
    """Count a change of state and return its moment, which is after the one before whatever the clock does."""
    user.version += 1
    user.updated_at = max(clock.now(), user.updated_at + INSTANT)
    return user.updated_at


async def _announce_absence(session: AsyncSession, user: User, reason: DeactivationReason) -> None:
    await session.flush()
    await outbox.publish(session, UserDeactivated(user_id=user.id, reason=reason, deactivated_at=user.updated_at))


async def _announce_return(session: AsyncSession, user: User) -> None:
    await session.flush()
    event = UserActivated(user_id=user.id, username=user.username, activated_at=user.updated_at)
    await outbox.publish(session, event)
