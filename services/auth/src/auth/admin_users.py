"""What admins do to accounts. Each act is one transaction with its entry in the audit log, before and after.

The log outlives the account, so it holds no name and no address in full: what was changed is masked.
"""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import access_tokens, audit, deletion, etags, guards, links, mails, profile, sessions
from auth.audit import Actor
from auth.domain import is_email, masked
from auth.models import User
from auth.origin import Origin
from auth.settings import AuthSettings
from common.errors import ConflictError, FieldError, InvalidError, NotFoundError
from common.security import AdminPrincipal


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What is to change of an account."""

    username: str | UnsetType = UNSET
    email: str | UnsetType = UNSET
    full_name: str | UnsetType | None = UNSET


class By(msgspec.Struct, frozen=True, kw_only=True):
    """The admin who acts, from where, and by which settings."""

    admin: AdminPrincipal
    origin: Origin
    settings: AuthSettings

    @property
    def actor(self) -> Actor:
        """The admin, for the audit log."""
        return Actor.admin(self.admin.admin_id)


Act = Callable[[AsyncSession, User, By], Awaitable[bool]]
"""Does something to a locked account; tells whether anything was to be done."""


async def activate(session: AsyncSession, user: User, by: By) -> bool:
    """Let somebody who was blocked in again."""
    _require_kept(user)
    if user.deactivated_at is None:
        return False
    await deletion.activate(session, user, actor=by.actor, origin=by.origin)
    return True


async def deactivate(session: AsyncSession, user: User, by: By) -> bool:
    """Block somebody: no login, no refresh, and within two seconds no token either."""
    _require_kept(user)
    if user.deactivated_at is not None:
        return False
    await deletion.deactivate(session, user, actor=by.actor, origin=by.origin)
    return True


async def log_out(session: AsyncSession, user: User, by: By) -> bool:
    """End all sessions of somebody."""
    _require_kept(user)
    await _end_sessions(session, user, "logged out by an admin", by)
    return True


async def unlock(session: AsyncSession, user: User, by: By) -> bool:  # noqa: ARG001 - as every act is
    """Forget the wrong passwords that came for somebody."""
    _require_kept(user)
    return await guards.unlock(session, user) > 0


async def force_reset(session: AsyncSession, user: User, by: By) -> bool:
    """Let only a new password, set by mail, help somebody whose old one may be known."""
    _require_kept(user)
    user.must_reset_password = True
    await _end_sessions(session, user, "an admin wants a new password", by)
    await mails.post(session, mails.Kind.RESET_PASSWORD, user, settings=by.settings)  # from where is nobody's business
    return True


async def delete(session: AsyncSession, user: User, by: By) -> bool:
    """Delete an account as its owner could; it is erased when nobody restores it in time."""
    if user.deleted_at is not None:
        return False
    await deletion.soft_delete(session, user, actor=by.actor, origin=by.origin)
    return True


async def restore(session: AsyncSession, user: User, by: By) -> bool:
    """Bring a deleted account back while it is not erased."""
    if user.deleted_at is None:
        return False
    await deletion.restore(session, user, actor=by.actor, origin=by.origin)
    return True


async def perform(session: AsyncSession, name: str, act: Act, user_id: UUID, by: By) -> User:
    """Do something to an account and record it as ``user.<name>``; nothing to be done leaves no entry."""
    user = await locked(session, user_id)
    await _perform(session, name, act, user, by)
    return user


async def perform_on_all(
    session: AsyncSession, name: str, act: Act, user_ids: Sequence[UUID], by: By
) -> dict[UUID, str]:
    """Do something to many accounts, all or, where the database is away, none; tell what became of each."""
    outcomes = {}
    for user_id in sorted(set(user_ids)):  # in one order, so that two who do this at once never wait for each other
        try:
            user = await locked(session, user_id)
            outcomes[user_id] = "done" if await _perform(session, name, act, user, by) else "unchanged"
        except (NotFoundError, ConflictError) as error:
            outcomes[user_id] = error.code
    return outcomes


async def _perform(session: AsyncSession, name: str, act: Act, user: User, by: By) -> bool:
    before = told(user)
    done = await act(session, user, by)
    if done:
        await session.flush()
        await audit.record(
            session,
            f"user.{name}",
            actor=by.actor,
            origin=by.origin,
            target=user.id,
            before=before,
            after=told(user),
        )
    return done


async def change(session: AsyncSession, user_id: UUID, wanted: Changes, by: By, *, if_match: str | None) -> User:
    """Correct an account.

    Raises:
        StaleError: the account is not as ``if_match`` says.
        InvalidError: a name or address that cannot be one.
        ConflictError: somebody else has it, or the account is deleted.
    """
    user = await locked(session, user_id)
    _require_kept(user)
    etags.require(if_match, user.version)
    if wanted.email is not UNSET and not is_email(wanted.email):
        fault = FieldError(field="email", message="is not an e-mail address")
        raise InvalidError("invalid_request", "One or more fields are not acceptable.", errors=[fault])
    old = {name: getattr(user, name) for name in Changes.__struct_fields__}
    changed = await profile.change(
        session, user, username=wanted.username, email=wanted.email, full_name=wanted.full_name
    )
    if "email" in changed:
        await links.void(session, user.id)
    if changed:
        before = {name: _masked(name, old[name]) for name in changed}
        after = {name: _masked(name, getattr(user, name)) for name in changed}
        await audit.record(
            session, "user.change", actor=by.actor, origin=by.origin, target=user.id, before=before, after=after
        )
    return user


async def locked(session: AsyncSession, user_id: UUID) -> User:
    """Return an account, deleted ones too, that nobody else changes meanwhile; raise `NotFoundError`."""
    query = select(User).where(User.id == user_id).with_for_update().execution_options(populate_existing=True)
    user: User | None = await session.scalar(query)
    if user is None:
        raise unknown()
    return user


def unknown() -> NotFoundError:
    """Return the answer for an id that no account has."""
    return NotFoundError("unknown_user", "There is no user of this id.")


def told(user: User) -> dict[str, object]:
    """What the audit log learns of the state of an account."""
    return {
        "deactivated_at": user.deactivated_at,
        "deleted_at": user.deleted_at,
        "must_reset_password": user.must_reset_password,
        "version": user.version,
    }


async def _end_sessions(session: AsyncSession, user: User, reason: str, by: By) -> None:
    """End what somebody is logged in with, and refuse what their programs have now; these may ask anew."""
    also = await access_tokens.live_ids(session, user.id)
    await sessions.end(session, user, sessions.ALL, reason=reason, actor=by.actor, origin=by.origin, also=also)


def _require_kept(user: User) -> None:
    if user.deleted_at is not None:
        raise ConflictError("user_deleted", "The account is deleted; restore it first.")


def _masked(field: str, value: str | None) -> str | None:
    """Show enough to tell a correction of a letter from another name, and not whose it is."""
    if value is None:
        return None
    if field == "email":
        return masked(value)
    return f"{value[:1]}… ({len(value)})"
