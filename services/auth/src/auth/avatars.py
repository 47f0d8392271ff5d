"""Avatars: a picture is made anew, stored under a new name, and only then becomes the user's."""

import hashlib
from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, limits, objects, people, profile
from auth.images import Pictures
from auth.models import Avatar
from auth.objects import Objects
from auth.origin import Origin
from auth.settings import AuthSettings
from common import clock
from common.db import Database
from common.errors import NotFoundError, UnavailableError
from common.log import get_logger

log = get_logger(__name__)

SWEEP_LIMIT = 10_000


class Avatars:
    """What people do with their pictures. No database connection is held while one is decoded or stored."""

    def __init__(self, settings: AuthSettings, database: Database, store: Objects) -> None:
        self.pictures = Pictures(settings)
        self._limit = settings.limit_avatar_account
        self._database = database
        self._store = store

    async def admit(self, user_id: UUID) -> None:
        """Count a picture that is about to be sent; raise `TooManyRequestsError` for one too many."""
        await limits.take_apart(self._database, "avatar_account", str(user_id), self._limit)

    async def put(self, user_id: UUID, data: bytes, *, origin: Origin) -> Avatar:
        """Make a picture the user's; raise `UnsupportedImageError`, `InvalidError` or `UnavailableError`.

        Should the process die, or the commit's answer be lost, an object nobody wants stays behind for the sweep. It is
        never the other way round: what a committed row names is there.
        """
        image = await self.pictures.made_anew(data)
        name = await self._store.add(image)
        async with self._database.transaction() as session:
            row, unwanted = await _replace(session, user_id, image, name, origin=origin)
        if unwanted:
            await self._discard(unwanted)
        return row

    async def remove(self, user_id: UUID, *, origin: Origin) -> None:
        """Take the user's picture away; that there is none is fine."""
        async with self._database.transaction() as session:
            user = await profile.own(session, user_id, lock=True)
            name = await forget(session, user_id)
            if name:
                await profile.changed(session, user)
                await _record(session, "avatar.remove", user_id, origin)
        if name:
            await self._discard(name)

    async def find(self, user_id: UUID, viewer: UUID | None) -> tuple[Avatar, bool]:
        """Return a user's picture and whether anybody may see it; `NotFoundError` alike for none and for not you."""
        async with self._database.transaction() as session:
            found = await people.picture(session, user_id, None)
            if found:
                return found, True
            found = await people.picture(session, user_id, viewer) if viewer else None
        if found is None:
            raise no_avatar()
        return found, False

    async def content(self, avatar: Avatar) -> bytes:
        """Return the picture; raise `NotFoundError` when it is not, or not whole, where it was put."""
        content = await self._store.read(avatar.object_name)
        if content is None or hashlib.sha256(content).digest() != avatar.digest:
            log.error("picture missing or damaged", object=avatar.object_name)
            raise no_avatar()
        return content

    async def _discard(self, name: str) -> None:
        """Remove an object nobody wants; if the store is away just now, the sweep does it."""
        try:
            await self._store.remove(name)
        except UnavailableError:
            log.warning("old picture not removed", object=name)


async def forget(session: AsyncSession, user_id: UUID) -> str | None:
    """Delete the row in the caller's transaction and name the object to remove once that has committed."""
    return await session.scalar(delete(Avatar).where(Avatar.user_id == user_id).returning(Avatar.object_name))


async def sweep(database: Database, store: Objects, now: datetime, *, limit: int = SWEEP_LIMIT) -> int:
    """Remove up to ``limit`` objects that no row names, of accounts erased long ago for instance; say how many."""

    async def wanted(names: Collection[str]) -> Collection[str]:
        async with database.transaction() as session:
            return (await session.scalars(select(Avatar.object_name).where(Avatar.object_name.in_(names)))).all()

    return await objects.sweep(store, wanted, now=now, limit=limit)


async def _replace(
    session: AsyncSession, user_id: UUID, image: bytes, name: str, *, origin: Origin
) -> tuple[Avatar, str | None]:
    """Let the user's row name the new object and return it with the object that is not wanted any more."""
    user = await profile.own(session, user_id, lock=True)
    digest = hashlib.sha256(image).digest()
    row = await session.get(Avatar, user_id)
    if row is not None and row.digest == digest:
        return row, name
    unwanted = row.object_name if row else None
    if row is None:
        row = Avatar(user_id=user_id)
        session.add(row)
    row.object_name, row.digest, row.size, row.created_at = name, digest, len(image), clock.now()
    await session.flush()
    await profile.changed(session, user)
    await _record(session, "avatar.change", user_id, origin, digest=digest.hex())
    return row, unwanted


async def _record(session: AsyncSession, action: str, user_id: UUID, origin: Origin, **after: str) -> None:
    actor = audit.Actor.user(user_id)
    await audit.record(session, action, actor=actor, origin=origin, target=user_id, after=after or None)


def no_avatar() -> NotFoundError:
    """Return the one answer for no user, no picture, and a profile that is not for you."""
    return NotFoundError("no_avatar", "There is no such picture.")
