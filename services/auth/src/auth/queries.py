"""What `auth` asks its database, by name."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth.models import LoginSession, SigningKey, User

KEYS_LOCK = 7_301_003
"""First half of the advisory lock's key; the second is a hash of the schema."""


async def user_by_id(session: AsyncSession, user_id: UUID) -> User | None:
    """Find a user."""
    return await session.get(User, user_id)


async def user_by_login(session: AsyncSession, login: str) -> User | None:
    """Find a user by username or e-mail address, in any case; no username holds an ``@``."""
    column = User.email if "@" in login else User.username
    return await session.scalar(select(User).where(func.lower(column) == func.lower(login)))


async def locked_session(session: AsyncSession, session_id: UUID) -> tuple[LoginSession, User] | None:
    """Find a login with its user and keep every other refresh of it waiting."""
    query = (
        select(LoginSession, User)
        .join(User, User.id == LoginSession.user_id)
        .where(LoginSession.id == session_id)
        .with_for_update(of=LoginSession)
    )
    row = (await session.execute(query)).one_or_none()
    return None if row is None else (row[0], row[1])


async def signing_keys(session: AsyncSession) -> list[SigningKey]:
    """List the keys, the newest first."""
    query = select(SigningKey).order_by(SigningKey.signs_from.desc(), SigningKey.id)
    return list((await session.scalars(query)).all())


async def lock_keys(session: AsyncSession) -> None:
    """Wait until no other process is about to change the keys."""
    await session.execute(select(func.pg_advisory_xact_lock(KEYS_LOCK, func.hashtext(func.current_schema()))))
