"""A new password in place of the old one, whether its owner knew that or proved an address."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, guards, links, mails, sessions
from auth.audit import Actor
from auth.domain import password_faults
from auth.models import User
from auth.origin import Origin
from auth.settings import AuthSettings
from common import clock
from common.errors import FieldError, InvalidError


def check(password: str, *, username: str, email: str, settings: AuthSettings, field: str = "password") -> None:
    """Raise `InvalidError` naming everything that is wrong with a new password, apart from its length."""
    faults = password_faults(password, username=username, email=email, composition=settings.password_composition)
    if faults:
        errors = [FieldError(field=field, message=fault) for fault in faults]
        raise InvalidError("invalid_request", "One or more fields are not acceptable.", errors=errors)


async def replace(
    session: AsyncSession,
    user: User,
    password_hash: str,
    *,
    settings: AuthSettings,
    action: str,
    actor: Actor,
    origin: Origin,
    keep: UUID | None = None,
) -> None:
    """Set the password of a user whom the caller has locked, and take everything back that the old one gave.

    All sessions end but ``keep``, links in letters are void, devices are strangers again, guesses are forgotten, and
    the owner is told. Personal access tokens are the caller's business.

    Args:
        session: The caller's transaction.
        user: Whose.
        password_hash: Of the new password, which `check` let pass.
        settings: Of the service.
        action: For the audit log and as the sessions' reason, for example ``password.change``.
        actor: Who sets it.
        origin: From where.
        keep: The session that it is done in.
    """
    user.password_hash = password_hash
    user.password_changed_at = clock.now()
    user.must_reset_password = False
    await session.flush()
    await links.void(session, user.id)
    reason = action.replace(".", " ")
    await sessions.end(session, user, sessions.ALL, reason=reason, actor=actor, origin=origin, keep=keep)
    await guards.unlock(session, user)
    await audit.record(session, action, actor=actor, origin=origin, target=user.id)
    await mails.post(session, "password_changed", user, settings=settings, facts=mails.circumstances(origin))
