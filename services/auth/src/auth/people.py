"""What is asked about people, by name: oneself, whoever may be seen, and who is found."""

import re
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from auth.choices import DEFAULTS
from auth.models import Avatar, LeagueMember, Preferences, User
from common.contracts.auth import Visibility

IN_USE = and_(User.deleted_at.is_(None), User.deactivated_at.is_(None))
_WILDCARD = re.compile(r"([\\%_])")
_TRIGRAM = re.compile(r"[^\W_]{3}")
"""What the index can look up inside a word; anything shorter it finds only where a word begins."""


class Person(NamedTuple):
    """Somebody as others may see them."""

    user: User
    preferences: Preferences | None
    avatar_url: str | None


def avatar_path(user_id: UUID) -> str:
    """Return where the gateway serves the picture of a user."""
    return f"/api/v1/users/{user_id}/avatar"


async def avatar_url(session: AsyncSession, user_id: UUID) -> str | None:
    """Return where the picture of a user is, if there is one."""
    found = await session.scalar(select(Avatar.user_id).where(Avatar.user_id == user_id))
    return avatar_path(user_id) if found else None


async def in_use(session: AsyncSession, user_id: UUID, *, lock: bool = False) -> User | None:
    """Find an account that is neither blocked nor deleted; with ``lock`` nobody else changes it meanwhile."""
    query = select(User).where(User.id == user_id, IN_USE).execution_options(populate_existing=lock)
    return await session.scalar(query.with_for_update() if lock else query)


async def shared_leagues(session: AsyncSession, one: UUID, other: UUID) -> list[LeagueMember]:
    """List the memberships of ``other`` in leagues that ``one`` is in too."""
    mine = select(LeagueMember.league_id).where(LeagueMember.user_id == one)
    query = select(LeagueMember).where(LeagueMember.user_id == other, LeagueMember.league_id.in_(mine))
    return list((await session.scalars(query.order_by(LeagueMember.league_id))).all())


async def person(session: AsyncSession, username: str, viewer: UUID | None) -> Person | None:
    """Find whoever has the name, in any case, unless the viewer may not see them."""
    query = _people(viewer).where(func.lower(User.username) == func.lower(username))
    row = (await session.execute(query)).one_or_none()
    return None if row is None else _person(*row)


async def search(session: AsyncSession, term: str, viewer: UUID, limit: int) -> list[Person]:
    """Find people by a part of their name, the best match first."""
    rows = await session.execute(found_by(term, viewer, limit))
    return [_person(*row) for row in rows]


def found_by(term: str, viewer: UUID, limit: int) -> Select[User, Preferences, UUID]:
    """Build the search. Wildcards in the term mean themselves.

    A term without three letters or digits in a row must begin the username or a word of the full name: only so can the
    trigram index help.
    """
    literal = _WILDCARD.sub(r"\\\1", term)
    if _TRIGRAM.search(term):
        matches = or_(User.username.ilike(f"%{literal}%"), User.full_name.ilike(f"%{literal}%"))
    else:
        begins = [User.full_name.ilike(pattern) for pattern in (f"{literal}%", f"% {literal}%")]
        matches = or_(User.username.ilike(f"{literal}%"), *begins)
    exact, starts = func.lower(User.username) == func.lower(term), User.username.ilike(f"{literal}%")
    best = (exact.desc(), starts.desc(), func.length(User.username), func.lower(User.username))
    return _people(viewer).where(matches).order_by(*best).limit(limit)


def _people(viewer: UUID | None) -> Select[User, Preferences, UUID]:
    return (
        select(User, Preferences, Avatar.user_id)
        .outerjoin(Preferences, Preferences.user_id == User.id)
        .outerjoin(Avatar, Avatar.user_id == User.id)
        .where(IN_USE, _visible_to(viewer))
    )


def _visible_to(viewer: UUID | None) -> ColumnElement[bool]:
    visibility = func.coalesce(Preferences.profile_visibility, DEFAULTS.profile_visibility.value)
    public = visibility == Visibility.PUBLIC.value
    if viewer is None:
        return public
    mine, theirs = aliased(LeagueMember), aliased(LeagueMember)
    together = exists().where(mine.user_id == viewer, theirs.user_id == User.id, mine.league_id == theirs.league_id)
    league_only = visibility == Visibility.LEAGUE_ONLY.value
    return or_(public, User.id == viewer, and_(league_only, together))


def _person(user: User, preferences: Preferences | None, pictured: UUID | None) -> Person:
    return Person(user, preferences, avatar_path(user.id) if pictured else None)


async def picture(session: AsyncSession, user_id: UUID, viewer: UUID | None) -> Avatar | None:
    """Find the picture of a user, unless the viewer may not see them."""
    query = _people(viewer).where(User.id == user_id).with_only_columns(Avatar).where(Avatar.user_id.is_not(None))
    return await session.scalar(query)
