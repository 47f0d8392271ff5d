"""Users who go, come back or are erased: nothing is sent for somebody who is not there.

Every function gives the same tables in whatever order the events come, and waits for whoever changes the endpoints of
the same user.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, delete, or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from common.errors import ForbiddenError
from webhooks import queries
from webhooks.domain import DisabledReason
from webhooks.models import Endpoint, Member, Person


async def require_in_use(session: AsyncSession, user_id: UUID) -> None:
    """Raise `ForbiddenError` for somebody who is blocked or gone and whose token is good for some moments yet."""
    person = await session.get(Person, user_id)
    if person is not None and (person.erased or not person.active):
        raise ForbiddenError("user_inactive", "The account is out of use.")


async def is_erased(session: AsyncSession, user_id: UUID) -> bool:
    """Tell whether somebody was erased."""
    person = await session.get(Person, user_id)
    return person is not None and person.erased


async def go(session: AsyncSession, user_id: UUID, at: datetime) -> None:
    """Disable a user's endpoints; those that are disabled already keep their reason."""
    if await _learn(session, user_id, active=False, at=at):
        disabled = {"disabled_at": at, "disabled_reason": DisabledReason.DEACTIVATED.value}
        await _change(session, user_id, Endpoint.disabled_at.is_(None), **disabled)


async def come_back(session: AsyncSession, user_id: UUID, at: datetime) -> None:
    """Enable the endpoints that were disabled because their owner had gone."""
    if await _learn(session, user_id, active=True, at=at):
        ours = Endpoint.disabled_reason == DisabledReason.DEACTIVATED.value
        enabled = {"disabled_at": None, "disabled_reason": None, "failures": 0, "failing_since": None}
        await _change(session, user_id, ours, **enabled)


async def erase(session: AsyncSession, user_id: UUID) -> None:
    """Remove a user's endpoints with their secrets, their log and what waits for them."""
    await queries.one_at_a_time(session, user_id)
    row = insert(Person).values(user_id=user_id, active=True, erased=True)
    await session.execute(row.on_conflict_do_update(index_elements=[Person.user_id], set_={"erased": True}))
    await session.execute(delete(Endpoint).where(Endpoint.user_id == user_id))
    await session.execute(delete(Member).where(Member.user_id == user_id))


async def _learn(session: AsyncSession, user_id: UUID, *, active: bool, at: datetime) -> bool:
    """Keep the newest status; return False when something newer is known."""
    await queries.one_at_a_time(session, user_id)
    row = insert(Person).values(user_id=user_id, active=active, status_at=at)
    newer = row.on_conflict_do_update(
        index_elements=[Person.user_id],
        set_={"active": active, "status_at": at},
        where=or_(Person.status_at.is_(None), Person.status_at < row.excluded.status_at),
    )
    return await session.scalar(newer.returning(Person.user_id)) is not None


async def _change(session: AsyncSession, user_id: UUID, which: ColumnElement[bool], **values: object) -> None:
    query = update(Endpoint).where(Endpoint.user_id == user_id, which).values(**values)
    await session.execute(query.execution_options(synchronize_session=False))
