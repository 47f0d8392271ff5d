"""Use cases: register, log in, refresh."""

from datetime import timedelta
from uuid import uuid4

import jwt
import msgspec
from prometheus_client import Counter
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from auth import queries
from auth.domain import RefreshToken, Verdict, judge, registration_faults
from auth.keys import Signer, SigningKeys
from auth.models import LoginSession, User
from auth.passwords import PasswordHasher
from auth.settings import AuthSettings
from common import clock, outbox
from common.contracts.auth import UserRegistered
from common.db import Database, violated_constraint
from common.errors import ConflictError, InvalidError, UnauthorizedError
from common.log import get_logger
from common.security import ALGORITHM, TYPE

log = get_logger(__name__)

REUSED = Counter("auth_refresh_reuse_total", "Refresh tokens that came again, so that their session was ended")
TAKEN = {
    "uq_users_username": ("username_taken", "This username is taken."),
    "uq_users_email": ("email_taken", "Email already registered."),
}
"""Unique index to the code and words of the conflict."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a login or a refresh gives."""

    access_token: str
    refresh_token: str
    expires_in: int
    """Seconds until the access token expires."""


class Accounts:
    """What people do with their accounts. A password is hashed while no connection to the database is held."""

    def __init__(self, settings: AuthSettings, database: Database, keys: SigningKeys, hasher: PasswordHasher) -> None:
        self._settings = settings
        self._database = database
        self._keys = keys
        self._hasher = hasher
        self._refresh_secret = settings.refresh_secret.encode()

    async def register(
        self, session: AsyncSession, *, username: str, email: str, password: str, full_name: str | None
    ) -> User:
        """Open an account in the caller's transaction; raise `ConflictError` when the name or address is taken."""
        faults = registration_faults(username, email, password, full_name)
        if faults:
            raise InvalidError("invalid_request", "One or more fields are not acceptable.", errors=faults)
        user = User(
            id=uuid4(),
            username=username,
            email=email,
            full_name=(full_name or "").strip() or None,
            password_hash=await self._hasher.hash(password),
            created_at=clock.now(),
        )
        session.add(user)
        try:
            await session.flush()
        except IntegrityError as error:
            taken = TAKEN.get(violated_constraint(error) or "")
            if taken is None:
                raise
            raise ConflictError(*taken) from error
        await outbox.publish(session, UserRegistered(user_id=user.id, username=username, registered_at=user.created_at))
        return user

    async def log_in(self, login: str, password: str) -> Grant:
        """Start a session; raise `UnauthorizedError` without saying whether the name or the password is wrong."""
        async with self._database.transaction() as session:
            user = await queries.user_by_login(session, login)
        right = await self._hasher.verify(password, user.password_hash if user else None)
        if user is None or not right:
            raise UnauthorizedError("invalid_credentials", "Username or password is wrong.")
        signer = await self._keys.signer()
        now = clock.now()
        async with self._database.transaction() as session:
            started = LoginSession(
                id=uuid4(),
                user_id=user.id,
                generation=0,
                created_at=now,
                rotated_at=now,
                expires_at=now + self._settings.refresh_absolute,
            )
            session.add(started)
        return self._grant(signer, user, started)

    async def refresh(self, token: str) -> Grant:
        """Exchange a refresh token for the next one.

        The transaction commits also when the answer is `UnauthorizedError`: a session whose token was used twice
        stays ended.
        """
        presented = RefreshToken.read(token, self._refresh_secret)
        if presented is None:
            raise _refused()
        signer = await self._keys.signer()
        async with self._database.transaction() as session:
            found = await queries.locked_session(session, presented.session_id)
            if found is None:
                raise _refused()
            current, user = found
            verdict = self._turn(current, presented.generation)
        if verdict is Verdict.REUSED:
            log.warning("refresh token used again, session revoked", session_id=str(current.id), user_id=str(user.id))
        if verdict in {Verdict.REUSED, Verdict.OVER}:
            raise _refused()
        return self._grant(signer, user, current)

    def _turn(self, current: LoginSession, presented: int) -> Verdict:
        """Judge a token and change its locked session accordingly."""
        now = clock.now()
        verdict = judge(
            presented, current.family(), now, grace=self._settings.refresh_grace, idle=self._settings.refresh_idle
        )
        if verdict is Verdict.ROTATE:
            current.generation += 1
            current.rotated_at = now
        elif verdict is Verdict.REUSED:
            current.revoked_at = now
            current.revoked_because = "refresh token reused"
            REUSED.inc()
        return verdict

    def _grant(self, signer: Signer, user: User, current: LoginSession) -> Grant:
        token = RefreshToken(session_id=current.id, generation=current.generation)
        return Grant(
            access_token=self._access_token(signer, user, current),
            refresh_token=token.seal(self._refresh_secret),
            expires_in=self._settings.access_token_seconds,
        )

    def _access_token(self, signer: Signer, user: User, current: LoginSession) -> str:
        """Sign an access token (RFC 9068)."""
        now = clock.now()
        claims = {
            "sub": str(user.id),
            "username": user.username,
            "iss": self._settings.token_issuer,
            "aud": self._settings.token_audience,
            "iat": now,
            "exp": now + timedelta(seconds=self._settings.access_token_seconds),
            "jti": uuid4().hex,
            "sid": str(current.id),
            "email_verified": user.email_verified_at is not None,
        }
        return jwt.encode(claims, signer.private_key, ALGORITHM, headers={"kid": signer.key_id, "typ": TYPE})


def _refused() -> UnauthorizedError:
    return UnauthorizedError("invalid_refresh_token", "The refresh token is expired, used or not valid.")
