"""Links sent by mail: each proves, once and for a while, that somebody reads an address.

A token is ``pdl_`` and 64 base64url characters: the id of its row and a keyed hash of that, with a key for each
purpose. So the letter can be written again after a crash without the token being anywhere in the database, which holds
the SHA-256 alone; and a token that we did not make costs no query.

The account is locked before its tokens, here as wherever both are.
"""

import base64
import binascii
import hashlib
import hmac
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from auth.models import OneTimeToken, User
from auth.sealing import derived
from auth.settings import AuthSettings
from common import clock
from common.errors import ConflictError

PREFIX = "pdl_"
"""What a scanner for leaked secrets looks for."""
_ID_BYTES = 16
_BODY_BYTES = 48
TOKEN_LENGTH = len(PREFIX) + _BODY_BYTES * 4 // 3


class Purpose(StrEnum):
    """What a link is for; one for another purpose is no good."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a name
    CHANGE_EMAIL = "change_email"


PAGES = {
    Purpose.VERIFY_EMAIL: "verify",
    Purpose.RESET_PASSWORD: "reset-password",
    Purpose.CHANGE_EMAIL: "confirm-email",
}
"""Where a link leads, below `AUTH_LINK_URL`."""


class Links:
    """Makes links and takes them back."""

    def __init__(self, settings: AuthSettings) -> None:
        self._base = settings.link_url.rstrip("/")
        self._keys = {purpose: derived(settings.token_secret, f"{purpose} link 1".encode()) for purpose in Purpose}
        self._lives = {
            Purpose.VERIFY_EMAIL: timedelta(hours=settings.verify_link_hours),
            Purpose.RESET_PASSWORD: timedelta(minutes=settings.reset_link_minutes),
            Purpose.CHANGE_EMAIL: timedelta(hours=settings.change_email_link_hours),
        }

    def url(self, row: OneTimeToken) -> str:
        """Write the link. The token stands behind ``#``, which browsers send to nobody: no log and no trace has it."""
        return f"{self._base}/{PAGES[Purpose(row.purpose)]}#token={self.token(row)}"

    def token(self, row: OneTimeToken) -> str:
        """Return the token of a row."""
        body = row.id.bytes + self._mac(Purpose(row.purpose), row.id.bytes)
        return PREFIX + base64.urlsafe_b64encode(body).decode()

    def matches(self, row: OneTimeToken) -> bool:
        """Tell whether the token of a row is still the one whose hash it holds: not after a change of the secret."""
        return hmac.compare_digest(row.token_hash, _hash(self.token(row)))

    async def issue(self, session: AsyncSession, user: User, purpose: Purpose, email: str) -> OneTimeToken:
        """Make a link of somebody in the place of any older one for the same purpose."""
        await session.execute(select(User.id).where(User.id == user.id).with_for_update(key_share=True))
        await void(session, user.id, purpose)
        now = clock.now()
        row = OneTimeToken(
            id=uuid4(),
            user_id=user.id,
            purpose=purpose.value,
            email=email,
            created_at=now,
            expires_at=now + self._lives[purpose],
        )
        row.token_hash = _hash(self.token(row))
        session.add(row)
        await session.flush()
        return row

    async def owner(self, session: AsyncSession, token: str, purpose: Purpose, *, lock: bool = False) -> User:
        """Return whose link it is, if it is good; raise `ConflictError` when it is not, in the same words always."""
        row_id = self._read(token, purpose)
        if row_id is None:
            raise refused()
        query = (
            select(User)
            .join(OneTimeToken, OneTimeToken.user_id == User.id)
            .where(_good(row_id, token, clock.now()), User.deactivated_at.is_(None), User.deleted_at.is_(None))
        )
        if lock:
            query = query.with_for_update(of=User).execution_options(populate_existing=True)
        user = await session.scalar(query)
        if user is None:
            raise refused()
        return user

    async def use(self, session: AsyncSession, token: str, purpose: Purpose) -> tuple[User, OneTimeToken]:
        """Use up a link; of many at once one gets its locked account, and the others `ConflictError`."""
        user = await self.owner(session, token, purpose, lock=True)
        now = clock.now()
        row_id = self._read(token, purpose)
        if row_id is None:
            raise refused()
        statement = update(OneTimeToken).where(_good(row_id, token, now)).values(used_at=now)
        row = await session.scalar(statement.returning(OneTimeToken), execution_options={"synchronize_session": False})
        if row is None:
            raise refused()
        if purpose is not Purpose.CHANGE_EMAIL and row.email.lower() != user.email.lower():
            raise refused()
        return user, row

    def _read(self, token: str, purpose: Purpose) -> UUID | None:
        """Return the row of a token, or nothing when it is none of ours for this purpose."""
        if len(token) != TOKEN_LENGTH or not token.startswith(PREFIX):
            return None
        try:
            body = base64.b64decode(token.removeprefix(PREFIX), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        row_id, mac = body[:_ID_BYTES], body[_ID_BYTES:]
        return UUID(bytes=row_id) if hmac.compare_digest(mac, self._mac(purpose, row_id)) else None

    def _mac(self, purpose: Purpose, row_id: bytes) -> bytes:
        return hmac.digest(self._keys[purpose], row_id, hashlib.sha256)


async def void(session: AsyncSession, user_id: UUID, purpose: Purpose | None = None) -> None:
    """Make somebody's links useless: all, as a change of the password or the address does, or those of one purpose."""
    statement = update(OneTimeToken).where(OneTimeToken.user_id == user_id, OneTimeToken.used_at.is_(None))
    if purpose is not None:
        statement = statement.where(OneTimeToken.purpose == purpose.value)
    await session.execute(statement.values(used_at=clock.now()), execution_options={"synchronize_session": False})


def refused() -> ConflictError:
    """What is said of a link that is forged, used, replaced or too old."""
    return ConflictError("invalid_link", "This link is used, too old or not one of ours. Ask for a new one.")


def _good(row_id: UUID, token: str, now: datetime) -> ColumnElement[bool]:
    return and_(
        OneTimeToken.id == row_id,
        OneTimeToken.token_hash == _hash(token),
        OneTimeToken.used_at.is_(None),
        OneTimeToken.expires_at > now,
    )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
