"""What the API asks the database, by name."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from common.errors import NotFoundError
from webhooks.domain import TEST_SUBJECT, DeliveryStatus
from webhooks.models import Delivery, DeliveryAttempt, Endpoint, League, Member, StoredMessage

USER_LOCK = 7_301_201
"""First half of the advisory lock's key; the second is a hash of the user's id."""


class DeliveryRow(NamedTuple):
    """A delivery, what is delivered, and every attempt, the oldest first."""

    delivery: Delivery
    subject: str
    attempts: list[DeliveryAttempt]


async def one_at_a_time(session: AsyncSession, user_id: UUID) -> None:
    """Wait until no other transaction adds an endpoint for this user."""
    await session.execute(select(func.pg_advisory_xact_lock(USER_LOCK, func.hashtext(str(user_id)))))


async def count_endpoints(session: AsyncSession, user_id: UUID) -> int:
    """Count a user's endpoints."""
    return int(await session.scalar(select(func.count()).where(Endpoint.user_id == user_id)) or 0)


async def endpoints_of(session: AsyncSession, user_id: UUID) -> Sequence[Endpoint]:
    """List a user's endpoints, the oldest first."""
    query = select(Endpoint).where(Endpoint.user_id == user_id).order_by(Endpoint.created_at, Endpoint.endpoint_id)
    return (await session.scalars(query)).all()


async def endpoint_for(session: AsyncSession, endpoint_id: UUID, user_id: UUID, *, lock: bool = False) -> Endpoint:
    """Read an endpoint; raise `NotFoundError` when there is none or it is somebody else's."""
    query = select(Endpoint).where(Endpoint.endpoint_id == endpoint_id, Endpoint.user_id == user_id)
    endpoint = await session.scalar(query.with_for_update() if lock else query)
    if endpoint is None:
        raise NotFoundError("unknown_endpoint", "There is no such endpoint.")
    return endpoint


async def may_read_league(session: AsyncSession, league_id: UUID, user_id: UUID) -> bool:
    """Tell whether a league's leaderboard is shown to a user: a public one, or one that he is in."""
    member = select(Member).where(Member.league_id == league_id, Member.user_id == user_id).exists()
    visible = or_(~League.private, League.owner_id == user_id, member)
    return await session.scalar(select(League.league_id).where(League.league_id == league_id, visible)) is not None


async def tests_this_hour(session: AsyncSession, endpoint_id: UUID) -> int:
    """Count the test events of the last hour."""
    recent = StoredMessage.received_at > func.now() - func.make_interval(0, 0, 0, 0, 1)
    tests = and_(Delivery.endpoint_id == endpoint_id, StoredMessage.subject == TEST_SUBJECT, recent)
    query = select(func.count()).select_from(Delivery).join(StoredMessage, StoredMessage.event_id == Delivery.event_id)
    return int(await session.scalar(query.where(tests)) or 0)


async def deliveries_of(
    session: AsyncSession, endpoint_id: UUID, *, status: DeliveryStatus | None, skip: int, limit: int
) -> tuple[list[DeliveryRow], int]:
    """List an endpoint's deliveries, the newest first; and count them all."""
    shown = Delivery.endpoint_id == endpoint_id
    if status is not None:
        shown = and_(shown, Delivery.status == status.value)
    total = await session.scalar(select(func.count()).select_from(Delivery).where(shown))
    query = _deliveries().where(shown).order_by(Delivery.created_at.desc(), Delivery.delivery_id)
    return await _rows(session, query.offset(skip).limit(limit)), int(total or 0)


async def delivery_for(session: AsyncSession, endpoint_id: UUID, delivery_id: UUID) -> DeliveryRow:
    """Read a delivery of an endpoint; raise `NotFoundError` when there is none."""
    this = and_(Delivery.endpoint_id == endpoint_id, Delivery.delivery_id == delivery_id)
    rows = await _rows(session, _deliveries().where(this))
    if not rows:
        raise NotFoundError("unknown_delivery", "There is no such delivery; they are kept for 30 days.")
    return rows[0]


def _deliveries() -> Select[Delivery, str]:
    query = select(Delivery, StoredMessage.subject).join(StoredMessage, StoredMessage.event_id == Delivery.event_id)
    return query.execution_options(populate_existing=True)


async def _rows(session: AsyncSession, query: Select[Delivery, str]) -> list[DeliveryRow]:
    found = (await session.execute(query)).all()
    attempts: dict[UUID, list[DeliveryAttempt]] = {delivery.delivery_id: [] for delivery, _ in found}
    tried = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id.in_(attempts)).order_by(DeliveryAttempt.number)
    for attempt in await session.scalars(tried):
        attempts[attempt.delivery_id].append(attempt)
    return [DeliveryRow(delivery, subject, attempts[delivery.delivery_id]) for delivery, subject in found]
