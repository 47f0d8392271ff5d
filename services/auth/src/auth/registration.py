"""Opening an account.

Where accounts are hidden, the answer is the same whether somebody has the address or not. An account is opened either
way then, so that its name is taken, its profile there and its event published all the same. One whose address is
somebody else's gets an address where no letter arrives, so nobody proves it and nobody logs in, and whoever has the
real one is told.
"""

from uuid import uuid4

import msgspec
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, limits, mails
from auth.audit import Actor
from auth.domain import registration_faults
from auth.models import User
from auth.origin import Origin
from auth.passwords import PasswordHasher
from auth.settings import AuthSettings
from common import clock, outbox
from common.contracts.auth import UserRegistered
from common.db import Database, violated_constraint
from common.errors import ConflictError, InvalidError

EMAIL_INDEX = "uq_users_email"
TAKEN = {
    "uq_users_username": ("username_taken", "This username is taken."),
    EMAIL_INDEX: ("email_taken", "Email already registered."),
}
"""Unique index to the code and words of the conflict."""
NOWHERE = "nowhere.invalid"
"""No host has such a name (RFC 2606)."""


class Newcomer(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who wants an account; lengths, and the characters of the name, are acceptable already."""

    username: str
    email: str
    password: str
    full_name: str | None


class Registrations:
    """The use case. A password is hashed while no connection to the database is held."""

    def __init__(self, settings: AuthSettings, database: Database, hasher: PasswordHasher) -> None:
        self._settings = settings
        self._database = database
        self._hasher = hasher

    async def admit(self, origin: Origin) -> None:
        """Count a registration, whatever becomes of it; raise `TooManyRequestsError`."""
        address, limit = limits.of_address(origin.address), self._settings.limit_register_address
        await limits.take_apart(self._database, "register_address", address, limit)

    async def register(self, session: AsyncSession, newcomer: Newcomer, origin: Origin) -> User:
        """Open an account in the caller's transaction, which has asked nothing yet; return what is shown of it.

        Raises:
            InvalidError: Something about it is not acceptable; all of it is told.
            ConflictError: The name is taken, or the address is and that may be told.
            UnavailableError: Too many passwords wait to be hashed.
        """
        composition = self._settings.password_composition
        faults = registration_faults(
            newcomer.username, newcomer.email, newcomer.password, newcomer.full_name, composition=composition
        )
        if faults:
            raise InvalidError("invalid_request", "One or more fields are not acceptable.", errors=faults)
        user = User(
            id=uuid4(),
            username=newcomer.username,
            email=newcomer.email,
            full_name=(newcomer.full_name or "").strip() or None,
            password_hash=await self._hasher.hash(newcomer.password),
            created_at=clock.now(),
        )
        shown = await _open_quietly(session, user) if self._settings.hide_accounts else await _open(session, user)
        await mails.ask(session, mails.Request.WELCOME, newcomer.email)
        registered = UserRegistered(user_id=user.id, username=user.username, registered_at=user.created_at)
        await outbox.publish(session, registered)
        await audit.record(session, "register", actor=Actor.user(user.id), origin=origin, target=user.id)
        return shown


async def _open_quietly(session: AsyncSession, user: User) -> User:
    """Open an account with as many steps for an address that somebody has as for one that nobody has."""
    shown = User(**{name: getattr(user, name) for name in ("id", "username", "email", "full_name", "created_at")})
    if await mails.holder(session, user.email) is not None:
        user.email = _nowhere(user)
    try:
        async with session.begin_nested():
            await _open(session, user)
    except ConflictError as error:
        if error.code != TAKEN[EMAIL_INDEX][0]:
            raise
        user.email = _nowhere(user)  # somebody was faster
        await _open(session, user)
    return shown


def _nowhere(user: User) -> str:
    return f"{user.id.hex}@{NOWHERE}"


async def _open(session: AsyncSession, user: User) -> User:
    """Store an account; raise `ConflictError` when the name or the address is taken."""
    session.add(user)
    try:
        await session.flush()
    except IntegrityError as error:
        taken = TAKEN.get(violated_constraint(error) or "")
        if taken is None:
            raise
        raise ConflictError(*taken) from error
    return user
