"""Registrations sent again: a client that lost the answer sends the same ``Idempotency-Key`` and gets it once more.

The account and the key commit together, and the key is stored last, so no connection to the database is held while
passwords are hashed. Of the same request twice at once, the second runs into the first one's name and then finds its
answer. The body is remembered as a bcrypt hash, as it holds a password that a faster one would give away.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth.models import RegistrationKey
from auth.passwords import PasswordHasher
from auth.sealing import derived
from auth.settings import AuthSettings
from common import clock
from common.db import Database
from common.errors import ConflictError, InvalidError

KEPT = timedelta(hours=24)
PURGE_BATCH = 1000
KEY_LENGTH = (16, 128)
"""Keys are everybody's, so they are long enough that nobody meets another's; a UUID is."""
KEY = r"^[!-~]+$(?!\n)"

Registering = Callable[[AsyncSession], Awaitable[bytes]]


class RegistrationKeys:
    """Remembers answers to registrations for a day."""

    def __init__(self, settings: AuthSettings, database: Database, hasher: PasswordHasher) -> None:
        self._database = database
        self._hasher = hasher
        self._secret = derived(settings.token_secret, b"registration key 1")

    async def once(self, key: str, body: str, register: Registering) -> bytes:
        """Register and return the answer, or return the answer there was.

        Raises:
            InvalidError: The key came with another body before.
            ConflictError: As ``register`` says.
        """
        key_hash = hmac.digest(self._secret, key.encode(), hashlib.sha256)
        if known := await self._known(key_hash):
            return await self._same(known, body)
        fingerprint = await self._hasher.hash(body)
        try:
            async with self._database.transaction() as session:
                answer = await register(session)
                await _keep(session, key_hash, fingerprint, answer)
        except ConflictError:
            if known := await self._known(key_hash):
                return await self._same(known, body)
            raise
        return answer

    async def _known(self, key_hash: bytes) -> RegistrationKey | None:
        alive = RegistrationKey.created_at > clock.now() - KEPT
        async with self._database.transaction() as session:
            return await session.scalar(select(RegistrationKey).where(RegistrationKey.key_hash == key_hash, alive))

    async def _same(self, known: RegistrationKey, body: str) -> bytes:
        if not await self._hasher.verify(body, known.fingerprint):
            detail = "This Idempotency-Key came with another request before; use a new one."
            raise InvalidError("idempotency_key_reused", detail)
        return known.answer


async def _keep(session: AsyncSession, key_hash: bytes, fingerprint: str, answer: bytes) -> None:
    """Store an answer in place of one that is too old; raise `ConflictError` when another request was faster."""
    now = clock.now()
    row = {"fingerprint": fingerprint, "answer": answer, "created_at": now}
    statement = (
        insert(RegistrationKey)
        .values(key_hash=key_hash, **row)
        .on_conflict_do_update(
            index_elements=[RegistrationKey.key_hash], set_=row, where=RegistrationKey.created_at <= now - KEPT
        )
        .returning(RegistrationKey.key_hash)
    )
    if await session.scalar(statement) is None:
        raise ConflictError("idempotency_key_in_use", "A request with this Idempotency-Key has just been answered.")


async def delete_expired(session: AsyncSession, now: datetime, limit: int = PURGE_BATCH) -> int:
    """Remove answers that nobody may ask for any more, at most ``limit``; say how many."""
    some = select(RegistrationKey.key_hash).where(RegistrationKey.created_at <= now - KEPT).limit(limit)
    gone = await session.scalars(
        delete(RegistrationKey).where(RegistrationKey.key_hash.in_(some)).returning(RegistrationKey.key_hash)
    )
    return len(gone.all())
