"""Who logs in: users and, apart from them, admins. What is different between the two is here and nowhere else."""

from enum import Enum
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Text, Uuid, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth.audit import Actor
from auth.jwts import Bearer
from auth.models import Admin, User
from auth.settings import AuthSettings
from common.errors import ForbiddenError, PaddockError

Owner = User | Admin


class Realm(Enum):
    """Where somebody logs in. Names, tokens and sessions of one are nothing in the other."""

    USERS = "user"
    ADMINS = "admin"

    @property
    def model(self) -> type[User] | type[Admin]:
        """The table of its owners."""
        return User if self is Realm.USERS else Admin


async def find(session: AsyncSession, realm: Realm, login: str) -> Owner | None:
    """Find who has a username or an e-mail address, in any case; no username holds an ``@``. The deleted have none."""
    found: Owner | None = await session.scalar(_finding(realm, by_address="@" in login), {"login": login})
    return found


@cache
def _finding(realm: Realm, *, by_address: bool) -> Select[Any]:
    kind = realm.model
    column = kind.email if by_address else kind.username
    query = select(kind).where(func.lower(column) == func.lower(bindparam("login", type_=Text)))
    return query.where(User.deleted_at.is_(None)) if realm is Realm.USERS else query


async def lock(session: AsyncSession, realm: Realm, owner_id: UUID) -> Owner | None:
    """Read an owner's row anew and keep everybody else from changing it; nothing when it is gone or deleted."""
    found: Owner | None = await session.scalar(_locking(realm), {"id": owner_id})
    return None if isinstance(found, User) and found.deleted_at is not None else found


@cache
def _locking(realm: Realm) -> Select[Any]:
    kind = realm.model
    query = select(kind).where(kind.id == bindparam("id", type_=Uuid)).with_for_update(key_share=True)
    return query.execution_options(populate_existing=True)


@cache
def holding(realm: Realm) -> Select[UUID]:
    """Build the query that waits for whoever has an owner locked, and lets others read and refer to it meanwhile."""
    kind = realm.model
    return select(kind.id).where(kind.id == bindparam("id", type_=Uuid)).with_for_update(read=True, key_share=True)


def realm_of(owner: Owner) -> Realm:
    """Return where an owner logs in."""
    return Realm.USERS if isinstance(owner, User) else Realm.ADMINS


def refusal(owner: Owner) -> PaddockError | None:
    """Say why somebody who knows the password may not log in all the same, and may not stay either."""
    if owner.deactivated_at is not None or (isinstance(owner, User) and owner.deleted_at is not None):
        return ForbiddenError("user_inactive", "This account is out of use.")
    if isinstance(owner, User) and owner.must_reset_password:
        return ForbiddenError("password_reset_required", "This account needs a new password; ask for a reset.")
    return None


def actor_of(owner: Owner) -> Actor:
    """Return the owner as the one who acts."""
    return Actor.user(owner.id) if isinstance(owner, User) else Actor.admin(owner.id)


def bearer_of(owner: Owner, session_id: UUID) -> Bearer:
    """Return what an owner's access token says: a user may do everything, an admin what their scopes are."""
    return Bearer(
        id=owner.id,
        username=owner.username,
        session_id=session_id,
        verified=isinstance(owner, User) and owner.email_verified_at is not None,
        scopes=frozenset(owner.scopes) if isinstance(owner, Admin) else None,
    )


def audience_of(owner: Owner, settings: AuthSettings) -> str:
    """Return who accepts an owner's access token."""
    return settings.token_audience if isinstance(owner, User) else settings.token_admin_audience
