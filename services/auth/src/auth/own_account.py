"""What somebody does to their own account with their password once more: change it, and leave."""

from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, credentials, deletion, mails, profile
from auth.audit import Actor
from auth.deletion import KEPT
from auth.logins import Logins
from auth.models import User
from auth.origin import Origin
from auth.passwords import PasswordHasher
from auth.settings import AuthSettings
from common.db import Database
from common.errors import ConflictError, FieldError, InvalidError
from common.security import Principal


class OwnAccount:
    """The use cases. No connection to the database is held while a password is hashed."""

    def __init__(self, settings: AuthSettings, database: Database, logins: Logins, hasher: PasswordHasher) -> None:
        self._settings = settings
        self._database = database
        self._logins = logins
        self._hasher = hasher

    async def change_password(self, caller: Principal, current: str, new: str, origin: Origin) -> None:
        """Set a new password; every session but the caller's ends.

        Raises:
            ForbiddenError: the current password is wrong.
            LockedError: it was wrong too often.
            InvalidError: the new one is no good.
            ConflictError: somebody else set another one meanwhile.
        """
        known = await self._logins.confirm(caller.user_id, caller.session_id, current, origin)
        if new == current:
            fault = FieldError(field="new_password", message="must be another one")
            raise InvalidError("invalid_request", "One or more fields are not acceptable.", errors=[fault])
        credentials.check(
            new, username=known.username, email=known.email, settings=self._settings, field="new_password"
        )
        password_hash = await self._hasher.hash(new)
        async with self._database.transaction() as session:
            user = await _unchanged(session, known)
            await credentials.replace(
                session,
                user,
                password_hash,
                settings=self._settings,
                action="password.change",
                actor=Actor.user(user.id),
                origin=origin,
                keep=caller.session_id,
            )

    async def leave(self, caller: Principal, password: str, origin: Origin) -> None:
        """Delete the account, which for a while can still be brought back; raise as `change_password` does."""
        known = await self._logins.confirm(caller.user_id, caller.session_id, password, origin)
        async with self._database.transaction() as session:
            user = await _unchanged(session, known)
            me = Actor.user(user.id)
            await deletion.soft_delete(session, user, actor=me, origin=origin)
            await audit.record(session, "account.delete", actor=me, origin=origin, target=user.id)
            until = (user.updated_at + KEPT).isoformat()
            facts = mails.circumstances(origin) | {"restore_until": until}
            await mails.post(session, mails.Kind.ACCOUNT_DELETED, user, settings=self._settings, facts=facts)


async def _unchanged(session: AsyncSession, known: User) -> User:
    """Return the account, locked, if its password is still the one that was confirmed."""
    user = await profile.own(session, known.id, lock=True)
    if user.password_hash != known.password_hash:
        raise ConflictError("password_changed", "The password was changed at the same time; try again with it.")
    return user
