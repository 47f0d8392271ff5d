"""Use cases: prove an address, change it, ask whether one is free."""

from sqlalchemy import exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from auth import audit, limits, links, mails, profile, sessions
from auth.audit import Actor
from auth.domain import is_email, masked
from auth.links import Links, Purpose
from auth.mails import Kind, Request
from auth.models import User
from auth.origin import Origin
from auth.settings import AuthSettings
from common import clock
from common.db import Database
from common.errors import ConflictError, FieldError, ForbiddenError, InvalidError, NotFoundError
from common.security import Principal


def require_email(address: str) -> None:
    """Raise `InvalidError` for what is no address."""
    if not is_email(address):
        fault = FieldError(field="email", message="is not an e-mail address")
        raise InvalidError("invalid_request", "One or more fields are not acceptable.", errors=[fault])


class Emails:
    """What people do with the addresses of their accounts."""

    def __init__(self, settings: AuthSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._links = Links(settings)

    async def ask(self, session: AsyncSession, request: Request, address: str, origin: Origin) -> None:
        """Take a request for a letter to an address. It does the same work whether somebody has the address or not."""
        require_email(address)
        name, rate = {
            Request.VERIFY: ("resend_address", self._settings.limit_resend_address),
            Request.RESET: ("forgot_address", self._settings.limit_forgot_address),
        }[request]
        await limits.take(session, name, limits.of_address(origin.address), rate)
        await mails.ask(session, request, address)

    async def spend(self, origin: Origin) -> None:
        """Count a try with a link, whatever becomes of it."""
        subject = limits.of_address(origin.address)
        await limits.take_apart(self._database, "verify_address", subject, self._settings.limit_verify_address)

    async def verify(self, session: AsyncSession, token: str, origin: Origin) -> None:
        """Use a link that proves an address; raise `ConflictError` when it is no good."""
        user, _ = await self._links.use(session, token, Purpose.VERIFY_EMAIL)
        if user.email_verified_at is None:
            prove(user)
            await audit.record(
                session,
                "email.verify",
                actor=Actor.user(user.id),
                origin=origin,
                target=user.id,
                after=_told(user.email),
            )

    async def ask_change(self, session: AsyncSession, proved: User, address: str, origin: Origin) -> None:
        """Write to a new address of a user who proved the password; nothing changes before the link there is used.

        Where accounts are hidden, an address that somebody has is answered as any other, and its owner is told.

        Raises:
            ForbiddenError: the password is another one by now.
            ConflictError: it is the address already, or somebody else's and that may be told.
            TooManyRequestsError: too many addresses were asked for.
        """
        require_email(address)
        user = await profile.own(session, proved.id, lock=True)
        if user.password_hash != proved.password_hash:
            raise ForbiddenError("wrong_password", "The password was changed meanwhile.")
        if address == user.email:
            raise ConflictError("same_email", "This is your address already.")
        holder = await mails.holder(session, address)
        if holder is not None and holder.id != user.id and not self._settings.hide_accounts:
            raise email_taken()
        await limits.take(session, "new_email_account", user.id.hex, self._settings.limit_new_email_account)
        await mails.post(session, Kind.CHANGE_EMAIL, user, settings=self._settings, address=address)
        before, after = _told(user.email), _told(address)
        await audit.record(
            session,
            "email.ask_change",
            actor=Actor.user(user.id),
            origin=origin,
            target=user.id,
            before=before,
            after=after,
        )

    async def confirm_change(
        self, session: AsyncSession, token: str, principal: Principal | None, origin: Origin
    ) -> None:
        """Use a link that proves a new address, which is the address from then on.

        Every other session ends, and every other link; the old address gets a letter.

        Raises:
            ConflictError: the link is no good, or somebody else has the address by now.
        """
        user, row = await self._links.use(session, token, Purpose.CHANGE_EMAIL)
        old = user.email
        await profile.change(session, user, email=row.email)
        prove(user)
        await links.void(session, user.id)
        actor = Actor.user(user.id)
        keep = principal.session_id if principal and principal.user_id == user.id else None
        await sessions.end(
            session, user, sessions.ALL, reason="e-mail address changed", actor=actor, origin=origin, keep=keep
        )
        facts = mails.circumstances(origin) | {"new_email": masked(user.email)}
        await mails.post(session, Kind.EMAIL_CHANGED, user, settings=self._settings, facts=facts, address=old)
        await audit.record(
            session,
            "email.change",
            actor=actor,
            origin=origin,
            target=user.id,
            before=_told(old),
            after=_told(user.email),
        )

    async def is_free(self, address: str, origin: Origin) -> bool:
        """Tell whether nobody has an address; raise `NotFoundError` where that is not told."""
        if self._settings.hide_accounts:
            raise _not_told()
        require_email(address)
        return await self._unused(User.email, address, origin)

    async def is_username_free(self, username: str, origin: Origin) -> bool:
        """Tell whether nobody has a username; raise `NotFoundError` where that is not told."""
        return await self._unused(User.username, username, origin)

    async def _unused(self, column: InstrumentedAttribute[str], value: str, origin: Origin) -> bool:
        if not self._settings.check_names:
            raise _not_told()
        async with self._database.transaction() as session:
            subject = limits.of_address(origin.address)
            await limits.take(session, "check_address", subject, self._settings.limit_check_address)
            query = exists().where(func.lower(column) == func.lower(value), User.deleted_at.is_(None))
            return not await session.scalar(select(query))


def prove(user: User) -> None:
    """Note that somebody reads the address of a locked account."""
    now = clock.now()
    user.email_verified_at = now
    user.updated_at = now
    user.version += 1


def email_taken() -> ConflictError:
    """What is said of an address that another account has, where that is told."""
    return ConflictError("email_taken", "Email already registered.")


def _not_told() -> NotFoundError:
    return NotFoundError("not_offered", "This is not told here.")


def _told(address: str) -> dict[str, str]:
    return {"email": masked(address)}
