"""The lock against guessing: wrong passwords in a row, counted for each account and for each origin they come from.

An origin is a device or an address that the account was logged in from before, or else a stranger; all strangers
together are one. So whoever guesses locks the strangers out, and the owner on a known device still gets in.

A try is reserved before its password is looked at, so that of any number at once only as many are looked at as may
still fail. Names that nobody has are counted in the same way, so that a lock tells nothing.
"""

import hashlib
import hmac
import math
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import (
    ColumnElement,
    CursorResult,
    DateTime,
    Executable,
    Integer,
    LargeBinary,
    Text,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth.models import Guard, User
from auth.sealing import derived
from auth.settings import AuthSettings
from common.errors import LockedError

FORGOTTEN_AFTER = timedelta(days=1)
"""Failures further apart are not in a row."""
STALE_AFTER = timedelta(minutes=1)
"""A try whose process died is given up after this."""

LOCKS = Counter("auth_locks_total", "Accounts and unknown names that were locked", ["origin"])


class Reservation(Enum):
    """What became of a try that wants to be looked at."""

    GRANTED = auto()
    BUSY = auto()
    """As many as may still fail are being looked at; what becomes of them decides."""


class Guards:
    """The rule, with its settings."""

    def __init__(self, settings: AuthSettings) -> None:
        self._key = derived(settings.token_secret, b"guarded name 1")
        self._most = settings.lock_failures
        self._lock = settings.lock
        self._hidden = settings.hide_accounts

    def subject(self, kind: str, login: str, owner_id: UUID | None) -> bytes:
        """Return what failures are counted under: the account, however it is spelled, or a name that nobody has.

        Where accounts are hidden, the username and the address of one are apart: a lock that both share would tell
        whose address it is.
        """
        name = login.lower() if owner_id is None else owner_id.hex
        if self._hidden and owner_id is not None:
            name += " address" if "@" in login else " name"
        return hmac.digest(self._key, f"{kind} {name}".encode(errors="replace"), hashlib.sha256)

    async def reserve(
        self, session: AsyncSession, subject: bytes, origin: str, user_id: UUID | None, now: datetime
    ) -> Reservation:
        """Count a try as pending, to be committed before the password is looked at; raise `LockedError`."""
        values = {"subject": subject, "origin": origin, "user_id": user_id, "now": now, "most": self._most}
        values |= {"forgotten": now - FORGOTTEN_AFTER, "stale": now - STALE_AFTER}
        if await session.scalar(_RESERVE, values) is not None:
            return Reservation.GRANTED
        until = await session.scalar(select(Guard.locked_until).where(_at(subject, origin)))
        if until is not None and until > now:
            raise locked(until, max(now, until - self._lock))  # it may have begun while this one waited
        return Reservation.BUSY

    async def failed(self, session: AsyncSession, subject: bytes, origin: str, now: datetime) -> datetime | None:
        """Count a wrong password; return until when the origin is locked, if this was the one that did it."""
        failures = Guard.failures + 1
        until = case((failures >= self._most, now + self._lock), else_=None)
        counted = (
            update(Guard)
            .where(_at(subject, origin))
            .values(failures=failures, pending=func.greatest(Guard.pending - 1, 0), last_at=now, locked_until=until)
            .returning(Guard.locked_until)
        )
        locked_until: datetime | None = await session.scalar(counted)
        if locked_until is not None:
            LOCKS.labels(origin.partition(":")[0]).inc()
        return locked_until


async def passed(session: AsyncSession, subject: bytes, origin: str) -> None:
    """Forget the failures of an origin that knows the password."""
    await session.execute(_PASS, {"whose": subject, "where": origin})


async def unlock(session: AsyncSession, user: User | UUID) -> int:
    """Forget all failures for a user, as a reset and an admin do; say from how many origins there were any."""
    user_id = user.id if isinstance(user, User) else user
    result = await session.execute(delete(Guard).where(Guard.user_id == user_id))
    return result.rowcount if isinstance(result, CursorResult) else 0


async def state(session: AsyncSession, user: User | UUID, now: datetime) -> datetime | None:
    """Return until when somebody is kept out of an account, if so; its owner may get in all the same."""
    user_id = user.id if isinstance(user, User) else user
    query = select(func.max(Guard.locked_until)).where(Guard.user_id == user_id, Guard.locked_until > now)
    until: datetime | None = await session.scalar(query)
    return until


def locked(until: datetime, now: datetime) -> LockedError:
    """Return the answer to whoever is kept out, in the same words for every name."""
    seconds = max(1, math.ceil((until - now).total_seconds()))
    detail = "Too many wrong passwords came for this account. Try again later, or from a device that it knows."
    return LockedError("account_locked", detail, retry_after=seconds)


def _at(subject: Any, origin: Any) -> ColumnElement[bool]:  # noqa: ANN401 - values, or what stands for them
    return and_(Guard.subject == subject, Guard.origin == origin)


def _reserving() -> Executable:
    """Build, once, what lets a try through: the row is made, or counts one more that is pending, or stays as it is."""
    when = DateTime(timezone=True)
    now, forgotten, stale = (bindparam(name, type_=when) for name in ("now", "forgotten", "stale"))
    row = insert(Guard).values(
        subject=bindparam("subject"),
        origin=bindparam("origin"),
        user_id=bindparam("user_id"),
        failures=0,
        pending=1,
        last_at=now,
        locked_until=None,
    )
    begun_anew = or_(Guard.locked_until <= now, Guard.last_at <= forgotten)
    failures = case((begun_anew, 0), else_=Guard.failures)
    pending = case((or_(begun_anew, Guard.last_at <= stale), 0), else_=Guard.pending)
    unlocked = or_(Guard.locked_until.is_(None), Guard.locked_until <= now)
    return row.on_conflict_do_update(
        index_elements=[Guard.subject, Guard.origin],
        set_={"failures": failures, "pending": pending + 1, "last_at": now, "locked_until": None},
        where=and_(unlocked, failures + pending < bindparam("most", type_=Integer)),
    ).returning(Guard.pending)


_RESERVE = _reserving()
_PASS = (
    update(Guard)
    .where(_at(bindparam("whose", type_=LargeBinary), bindparam("where", type_=Text)))
    .values(failures=0, pending=func.greatest(Guard.pending - 1, 0), locked_until=None)
    .execution_options(synchronize_session=False)
)
