"""The list of accounts as admins search it: filters, order, and the page."""

import re
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth.models import Guard, User

_WILDCARD = re.compile(r"([\\%_])")


class Order(StrEnum):
    """By what the list is sorted; equal ones by id. A minus is the other way round."""

    NEWEST = "-created_at"
    OLDEST = "created_at"
    USERNAME = "username"
    USERNAME_DOWN = "-username"
    EMAIL = "email"
    EMAIL_DOWN = "-email"


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which accounts; ``None`` is any."""

    q: str | None = None
    """A part of username, e-mail address or full name, in any case."""
    active: bool | None = None
    """Not deactivated and not deleted."""
    verified: bool | None = None
    deleted: bool | None = None
    locked: bool | None = None
    """Closed for somebody, a stranger at least, because of wrong passwords."""
    registered_from: datetime | None = None
    registered_to: datetime | None = None
    """Not included."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An account, and until when somebody is kept out of it."""

    user: User
    locked_until: datetime | None


async def find(
    session: AsyncSession, filters: Filters, order: Order, now: datetime, *, skip: int, limit: int
) -> tuple[list[Found], int]:
    """Return one part of the list, and how many there are in all."""
    total = await session.scalar(select(func.count()).select_from(User).where(*_conditions(filters, now)))
    rows = await session.execute(matching(filters, order, now).offset(skip).limit(limit))
    return [Found(user=user, locked_until=until) for user, until in rows.all()], total or 0


def matching(filters: Filters, order: Order, now: datetime) -> Select[User, datetime | None]:
    """Build the query of the list."""
    locked = locked_until(now).label("locked_until")
    return select(User, locked).where(*_conditions(filters, now)).order_by(*_order(order))


async def one(session: AsyncSession, user_id: UUID, now: datetime) -> Found | None:
    """Return one account."""
    query = select(User, locked_until(now)).where(User.id == user_id).execution_options(populate_existing=True)
    row = (await session.execute(query)).one_or_none()
    return None if row is None else Found(user=row[0], locked_until=row[1])


def locked_until(now: datetime) -> ColumnElement[datetime | None]:
    """Give the end of the longest lock of an account that still holds."""
    return select(func.max(Guard.locked_until)).where(*_lock(now)).correlate(User).scalar_subquery()


async def guards_of(session: AsyncSession, user: User) -> Sequence[Guard]:
    """List where wrong passwords for an account came from, the latest first."""
    query = select(Guard).where(Guard.user_id == user.id).order_by(Guard.last_at.desc(), Guard.origin)
    return (await session.scalars(query.limit(100))).all()


def _lock(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return Guard.user_id == User.id, Guard.locked_until > now


def _conditions(filters: Filters, now: datetime) -> Sequence[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if filters.q:
        columns = (User.username, User.full_name, User.email)
        part = "%" + _WILDCARD.sub(r"\\\1", filters.q) + "%"
        found.append(or_(*(column.ilike(part) for column in columns)))
    is_active = and_(User.deactivated_at.is_(None), User.deleted_at.is_(None))
    is_locked = select(Guard.subject).where(*_lock(now)).correlate(User).exists()
    for wanted, condition in (
        (filters.active, is_active),
        (filters.verified, User.email_verified_at.is_not(None)),
        (filters.deleted, User.deleted_at.is_not(None)),
        (filters.locked, is_locked),
    ):
        if wanted is not None:
            found.append(condition if wanted else ~condition)
    if filters.registered_from:
        found.append(User.created_at >= filters.registered_from)
    if filters.registered_to:
        found.append(User.created_at < filters.registered_to)
    return found


def _order(order: Order) -> tuple[ColumnElement[Any], ...]:
    columns: dict[str, ColumnElement[Any]] = {
        "created_at": User.created_at.expression,
        "username": func.lower(User.username),
        "email": func.lower(User.email),
    }
    column = columns[order.value.removeprefix("-")]
    if order.value.startswith("-"):
        return column.desc(), User.id.desc()
    return column.asc(), User.id.asc()
