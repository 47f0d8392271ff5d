"""Logging in: one way for users and admins, with a JSON body or a form, by username or by e-mail address.

Whoever guesses learns nothing: a name that nobody has costs the same queries and the same bcrypt as a wrong password,
is counted and locked in the same way, and gets the same answer. No connection to the database is held while a password
is hashed.
"""

import asyncio
from datetime import datetime
from time import monotonic
from typing import cast
from uuid import UUID

import msgspec
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, familiar, guards, limits, mails, owners, sessions
from auth.audit import Actor
from auth.familiar import NOBODY, Devices
from auth.guards import Guards, Reservation
from auth.issuing import Grant, Issuer
from auth.models import Admin, LoginSession, User
from auth.origin import Origin
from auth.owners import Owner, Realm
from auth.passwords import PasswordHasher, Place
from auth.settings import AuthSettings
from common import clock, outbox
from common.contracts.auth import UserLocked
from common.db import Database
from common.errors import ForbiddenError, PaddockError, UnauthorizedError, UnavailableError

BUSY_SECONDS = 5.0
"""How long a try waits for others at the same account, of which the last may lock it."""
POLL_SECONDS = 0.1
RETRY_SECONDS = 1

LOGINS = Counter("auth_logins_total", "Logins by realm and by what came of them", ["realm", "outcome"])


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A try that was let through to the password."""

    realm: Realm
    owner: Owner | None
    """As it was when the try began."""
    subject: bytes
    source: str
    """The origin as the guard counts it."""
    origin: Origin
    actor: Actor
    device_id: UUID | None = None
    """The device's, when the account knows it."""


class Logins:
    """The use case, for both realms."""

    def __init__(self, settings: AuthSettings, database: Database, hasher: PasswordHasher, issuer: Issuer) -> None:
        self._settings = settings
        self._database = database
        self._hasher = hasher
        self._issuer = issuer
        self._guards = Guards(settings)
        self._devices = Devices(settings)

    async def log_in(self, realm: Realm, login: str, password: str, origin: Origin) -> Grant:
        """Start a session.

        Raises:
            UnauthorizedError: Name or password is wrong; which, is not told.
            ForbiddenError: The password is right, and the account out of use or in need of a new one.
            LockedError: Too many wrong passwords came from where this one comes from.
            TooManyRequestsError: Too many tries from this address or at this account.
            UnavailableError: Too many passwords wait to be hashed.
        """
        with self._hasher.place() as place:
            attempt = await self._begin(realm, login, origin)
            owner = attempt.owner
            right = await place.verify(password, owner.password_hash if owner else None)
            if owner is None or not right or self._is_hidden(owner):
                await self._fail(attempt)
                LOGINS.labels(realm.value, "refused").inc()
                raise _wrong()
            renewed = await self._renewed(place, owner, password)
        signer = await self._issuer.signer()
        async with self._database.transaction() as session:
            current = await owners.lock(session, realm, owner.id)
            await guards.passed(session, attempt.subject, attempt.source)
            refusal = _refusal(current, owner)
            if current is None or refusal is not None:
                await _record_failure(session, attempt, "the account is not to be used")
            else:
                current.password_hash = renewed or current.password_hash
                started, device_token = await self._welcome(session, current, attempt)
        if current is None or refusal is not None:
            LOGINS.labels(realm.value, "refused").inc()
            raise refusal or _wrong()
        LOGINS.labels(realm.value, "accepted").inc()
        return self._issuer.issue(signer, current, started, device_token)

    async def confirm(self, user_id: UUID, session_id: UUID, password: str, origin: Origin) -> User:
        """Return the user when this is the password of somebody who is logged in; guesses are counted as at a login.

        They are counted for the session alone, so whoever stole one can guess no more often than a stranger, and a
        stranger cannot keep the owner out. What is done with the answer must look again, under a lock, whether
        ``password_hash`` is still the same.

        Raises:
            ForbiddenError: The password is wrong.
            LockedError, TooManyRequestsError, UnavailableError: As for `log_in`.
        """
        return cast("User", await self._confirm(Realm.USERS, user_id, session_id, password, origin))

    async def confirm_admin(self, admin_id: UUID, session_id: UUID, password: str, origin: Origin) -> Admin:
        """Return the admin, as `confirm` does the user."""
        return cast("Admin", await self._confirm(Realm.ADMINS, admin_id, session_id, password, origin))

    async def _confirm(self, realm: Realm, owner_id: UUID, session_id: UUID, password: str, origin: Origin) -> Owner:
        limit = self._settings.limit_confirm_account
        await limits.take_apart(self._database, "confirm_account", str(owner_id), limit)
        with self._hasher.place() as place:
            async with self._database.transaction() as session:
                owner = cast("Owner | None", await session.get(realm.model, owner_id))
                if owner is None or owners.refusal(owner) is not None:
                    raise UnauthorizedError("invalid_token", "The access token is missing, expired or not valid.")
            attempt = Attempt(
                realm=realm,
                owner=owner,
                subject=self._guards.subject(realm.value, owner.username, owner.id),
                source=f"session:{session_id.hex}",
                origin=origin,
                actor=owners.actor_of(owner),
            )
            await self._reserve(attempt)
            if not await place.verify(password, owner.password_hash):
                await self._fail(attempt)
                raise ForbiddenError("wrong_password", "The current password is not this one.")
        async with self._database.transaction() as session:
            await guards.passed(session, attempt.subject, attempt.source)
        return owner

    async def _begin(self, realm: Realm, login: str, origin: Origin) -> Attempt:
        """Let a try through to the password, or raise."""
        settings = self._settings
        async with self._database.transaction() as session:
            address = limits.of_address(origin.address)
            await limits.take(session, f"{realm.value}_login_address", address, settings.limit_login_address)
            owner = await owners.find(session, realm, login)
            subject = self._guards.subject(realm.value, login, owner.id if owner else None)
            await limits.take(session, f"{realm.value}_login_account", subject.hex(), settings.limit_login_account)
            now = clock.now()
            device_id = self._devices.recognise(owner, origin.device_token, now) if owner else None
            attempt = Attempt(
                realm=realm,
                owner=owner,
                subject=subject,
                source=await familiar.origin_of(session, owner, device_id, origin, now),
                origin=origin,
                actor=audit.ANONYMOUS,
                device_id=device_id,
            )
            reserved = await self._guards.reserve(session, subject, attempt.source, _user_id(owner), now)
        if reserved is Reservation.BUSY:
            await self._reserve(attempt)
        return attempt

    async def _reserve(self, attempt: Attempt) -> None:
        """Wait until fewer are at it than may fail, which is when one of them passes, or raise when the last failed."""
        deadline = monotonic() + BUSY_SECONDS
        while True:
            async with self._database.transaction() as session:
                now, user_id = clock.now(), _user_id(attempt.owner)
                reserved = await self._guards.reserve(session, attempt.subject, attempt.source, user_id, now)
            if reserved is Reservation.GRANTED:
                return
            if monotonic() > deadline:
                detail = "Too many are logging in to this account right now. Try again shortly."
                raise UnavailableError("busy", detail, retry_after=RETRY_SECONDS)
            await asyncio.sleep(POLL_SECONDS)

    async def _fail(self, attempt: Attempt) -> None:
        """Count a wrong password, and lock when it was one too many."""
        now = clock.now()
        async with self._database.transaction() as session:
            await _hold(session, attempt)
            until = await self._guards.failed(session, attempt.subject, attempt.source, now)
            await _record_failure(session, attempt, "wrong password" if attempt.owner else "unknown name")
            if until is not None:
                await self._lock(session, attempt, until)

    async def _lock(self, session: AsyncSession, attempt: Attempt, until: datetime) -> None:
        """Tell of a lock whoever should know, its owner among them."""
        target = attempt.owner.id if attempt.owner else None
        after = {"realm": attempt.realm.value, "until": until, "source": attempt.source.partition(":")[0]}
        await audit.record(
            session, "account.lock", actor=attempt.actor, origin=attempt.origin, target=target, after=after
        )
        if isinstance(attempt.owner, User):
            failures = self._settings.lock_failures
            event = UserLocked(user_id=attempt.owner.id, failures=failures, locked_until=until)
            await outbox.publish(session, event)
            facts = mails.circumstances(attempt.origin) | {"until": until.isoformat()}
            await mails.post(session, "account_locked", attempt.owner, settings=self._settings, facts=facts)

    def _is_hidden(self, owner: Owner) -> bool:
        """Tell whether a right password is answered as a wrong one, as the account's address is not proved."""
        return self._settings.hide_accounts and isinstance(owner, User) and owner.email_verified_at is None

    async def _renewed(self, place: Place, owner: Owner, password: str) -> str | None:
        """Hash anew a password whose hash has another cost than the setting says today."""
        return await place.hash(password) if self._hasher.is_stale(owner.password_hash) else None

    async def _welcome(self, session: AsyncSession, owner: Owner, attempt: Attempt) -> tuple[LoginSession, str]:
        """Begin the session of a locked owner; return it with the device's token."""
        started = await sessions.start(session, owner, attempt.origin, self._settings)
        now = started.created_at
        await familiar.remember(session, owner, attempt.origin, now)
        after = {"session": started.id, "source": attempt.source.partition(":")[0]}
        actor = owners.actor_of(owner)
        await audit.record(session, "login", actor=actor, origin=attempt.origin, target=owner.id, after=after)
        return started, self._devices.token(owner, attempt.device_id or familiar.new_device(), now)


def _refusal(current: Owner | None, before: Owner) -> PaddockError | None:
    """Say why the account, as it is now, is closed to who knows the password that it had a moment ago."""
    if current is None or current.password_hash != before.password_hash:
        return _wrong()
    return owners.refusal(current)


async def _hold(session: AsyncSession, attempt: Attempt) -> None:
    """Lock the account before its guard, as an admin who unlocks it does; for nobody as well, which takes as long."""
    await session.execute(owners.holding(attempt.realm), {"id": attempt.owner.id if attempt.owner else NOBODY})


async def _record_failure(session: AsyncSession, attempt: Attempt, reason: str) -> None:
    """Tell the audit log; never the name that was typed, which may be a password in the wrong field."""
    target = attempt.owner.id if attempt.owner else None
    after = {"realm": attempt.realm.value, "reason": reason, "source": attempt.source.partition(":")[0]}
    await audit.record(session, "login.failure", actor=attempt.actor, origin=attempt.origin, target=target, after=after)


def _user_id(owner: Owner | None) -> UUID | None:
    return owner.id if isinstance(owner, User) else None


def _wrong() -> UnauthorizedError:
    return UnauthorizedError("invalid_credentials", "Username or password is wrong.")
