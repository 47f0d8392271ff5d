"""Everything that is kept here about one user, for the copy of their data that they may ask for. No secret is in it."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from webhooks import queries
from webhooks.models import Member
from webhooks.schemas import DeliveryView, EndpointView

LOG_LENGTH = 1000
"""Deliveries of an endpoint that are told, the newest; older ones are in the log's own pages."""


class HeldEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint and its log, the newest delivery first."""

    endpoint: EndpointView
    deliveries: list[DeliveryView]
    deliveries_in_all: int


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    endpoints: list[HeldEndpoint]
    leagues: Sequence[UUID]
    """Whose leaderboards they may have sent, as a member."""
    collected_at: datetime


async def of(session: AsyncSession, user_id: UUID, now: datetime) -> Holdings:
    """Collect it."""
    held = []
    for endpoint in await queries.endpoints_of(session, user_id):
        rows, total = await queries.deliveries_of(session, endpoint.endpoint_id, status=None, skip=0, limit=LOG_LENGTH)
        shown = [DeliveryView.of(row) for row in rows]
        held.append(HeldEndpoint(endpoint=EndpointView.of(endpoint), deliveries=shown, deliveries_in_all=total))
    leagues = await session.scalars(
        select(Member.league_id).where(Member.user_id == user_id).order_by(Member.league_id)
    )
    return Holdings(endpoints=held, leagues=leagues.all(), collected_at=now)
