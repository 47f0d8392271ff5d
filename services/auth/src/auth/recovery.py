"""Use case: a new password for whoever reads the address of an account."""

from auth import access_tokens, credentials
from auth.audit import Actor
from auth.emails import prove
from auth.links import Links, Purpose
from auth.origin import Origin
from auth.passwords import PasswordHasher
from auth.settings import AuthSettings
from common.db import Database


class Recovery:
    """Sets a new password for a link. It is hashed while no connection to the database is held."""

    def __init__(self, settings: AuthSettings, database: Database, hasher: PasswordHasher) -> None:
        self._settings = settings
        self._database = database
        self._hasher = hasher
        self._links = Links(settings)

    async def reset(self, token: str, password: str, origin: Origin) -> None:
        """Use a link to set a password; everything that the old one gave ends, and so do personal access tokens.

        Whoever used the link reads the address, so it is proved too.

        Raises:
            ConflictError: the link is no good.
            InvalidError: the password is; the link can be used again.
        """
        async with self._database.transaction() as session:
            user = await self._links.owner(session, token, Purpose.RESET_PASSWORD)
        credentials.check(password, username=user.username, email=user.email, settings=self._settings)
        password_hash = await self._hasher.hash(password)
        async with self._database.transaction() as session:
            user, _ = await self._links.use(session, token, Purpose.RESET_PASSWORD)
            actor = Actor.user(user.id)
            if user.email_verified_at is None:
                prove(user)
            await credentials.replace(
                session,
                user,
                password_hash,
                settings=self._settings,
                action="password.reset",
                actor=actor,
                origin=origin,
            )
            await access_tokens.revoke_all(session, user.id, reason="password reset", actor=actor, origin=origin)
