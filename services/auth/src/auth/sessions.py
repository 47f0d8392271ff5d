"""Sessions of users and of admins: begun by a login, listed, and ended for everybody to know.

Wherever an account and its sessions are locked, the account comes first.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from enum import Enum
from functools import cache
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, DateTime, Select, Uuid, and_, bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from auth import audit, owners
from auth.audit import Actor
from auth.models import Admin, LoginSession, User
from auth.origin import Origin
from auth.owners import Owner, Realm
from auth.settings import AuthSettings
from common import clock, outbox
from common.contracts.auth import SessionRevoked

MOST_SESSIONS = 100
"""Of one user or admin; one more ends the one that was not used for longest."""


class All(Enum):
    """Its one value stands for every session there is."""

    ALL = "all"


ALL: Final = All.ALL


async def start(session: AsyncSession, owner: Owner, origin: Origin, settings: AuthSettings) -> LoginSession:
    """Begin a session of an owner who is locked; the one used longest ago makes room when there are too many."""
    now = clock.now()
    surplus = await session.scalars(_surplus(owners.realm_of(owner)), {"owner": owner.id, "now": now})
    if ids := surplus.all():
        await end(session, owner, ids, reason="too many sessions", actor=owners.actor_of(owner), origin=origin)
    started = LoginSession(
        id=uuid4(),
        user_id=owner.id if isinstance(owner, User) else None,
        admin_id=owner.id if isinstance(owner, Admin) else None,
        device=origin.user_agent,
        address=origin.address,
        last_seen_at=now,
        generation=0,
        created_at=now,
        rotated_at=now,
        expires_at=now + settings.refresh_absolute,
    )
    session.add(started)
    await session.flush()
    return started


async def end(
    session: AsyncSession,
    owner: Owner,
    ids: Collection[UUID] | All,
    *,
    reason: str,
    actor: Actor,
    origin: Origin,
    keep: UUID | None = None,
    also: Iterable[UUID] = (),
) -> int:
    """End sessions of an owner in the caller's transaction, tell everybody, and record it; say how many there were.

    The owner's row is locked first: no login that is under way escapes, as it begins its session under the same lock.

    Args:
        session: The caller's transaction.
        owner: Whose they are; ids of somebody else's are passed over.
        ids: Which, or `ALL`.
        reason: In words, for the row, the event and the audit log.
        actor: Who ends them.
        origin: From where.
        keep: One that goes on although all end.
        also: Further ``sid`` whose access tokens are to be refused, as those of personal access tokens; not counted.
    """
    await owners.lock(session, owners.realm_of(owner), owner.id)
    query = select(LoginSession).where(_open(owner)).order_by(LoginSession.id).with_for_update()
    if not isinstance(ids, All):
        query = query.where(LoginSession.id.in_(ids))
    rows = (await session.scalars(query.execution_options(populate_existing=True))).all()
    wanted = [row for row in rows if row.id != keep]
    refused = [*(row.id for row in wanted), *also]
    if not refused:
        return 0
    now = clock.now()  # with the rows locked: whatever was signed for them is older
    for row in wanted:
        row.revoked_at, row.revoked_because = now, reason
    await session.flush()
    await outbox.publish(session, SessionRevoked(user_id=owner.id, session_ids=refused, reason=reason, revoked_at=now))
    before = {"sessions": [str(one) for one in refused]}
    after = {"reason": reason}
    await audit.record(session, "session.end", actor=actor, origin=origin, target=owner.id, before=before, after=after)
    return len(wanted)


async def live(session: AsyncSession, owner: Owner, *, idle: timedelta) -> Sequence[LoginSession]:
    """List the sessions that can go on, the one used last first; ``idle`` is the longest pause of one."""
    now = clock.now()
    query = select(LoginSession).where(
        _open(owner), LoginSession.expires_at > now, LoginSession.rotated_at > now - idle
    )
    return (await session.scalars(query.order_by(LoginSession.last_seen_at.desc(), LoginSession.id))).all()


@cache
def _surplus(realm: Realm) -> Select[UUID]:
    """Build, once for each realm, the query for what has to make room."""
    whose = _column(realm) == bindparam("owner", type_=Uuid)
    current = LoginSession.expires_at > bindparam("now", type_=DateTime(timezone=True))
    query = select(LoginSession.id).where(whose, LoginSession.revoked_at.is_(None), current)
    return query.order_by(LoginSession.rotated_at.desc()).offset(MOST_SESSIONS - 1)


def _open(owner: Owner) -> ColumnElement[bool]:
    """Select what was not ended, what has run out too: its last access token may be good still."""
    return and_(_column(owners.realm_of(owner)) == owner.id, LoginSession.revoked_at.is_(None))


def _column(realm: Realm) -> InstrumentedAttribute[UUID | None]:
    return LoginSession.user_id if realm is Realm.USERS else LoginSession.admin_id
