"""Keeping a session going: each refresh token is used once, and one that comes again tells of a thief."""

from typing import Any
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import limits, mails, owners, sessions
from auth.domain import Verdict, judge
from auth.issuing import Grant, Issuer
from auth.models import LoginSession, User
from auth.origin import Origin
from auth.owners import Owner, Realm
from auth.settings import AuthSettings
from common import clock
from common.db import Database
from common.errors import UnauthorizedError
from common.log import get_logger

log = get_logger(__name__)

REUSE = "refresh token reused"

REUSED = Counter("auth_refresh_reuse_total", "Refresh tokens that came again, so that their session was ended")


class Refreshes:
    """The use case, for both realms."""

    def __init__(self, settings: AuthSettings, database: Database, issuer: Issuer) -> None:
        self._settings = settings
        self._database = database
        self._issuer = issuer

    async def refresh(self, realm: Realm, token: str, origin: Origin) -> Grant:
        """Exchange a refresh token for the next one; a realm knows nothing of another's.

        The transaction commits also when the answer is `UnauthorizedError`: a session whose token was used twice
        stays ended.

        Raises:
            UnauthorizedError: It is none, was used before, or its session or account is over.
            TooManyRequestsError: Too many from this address or of this session.
        """
        presented = self._issuer.read(token)
        if presented is None:
            raise _refused()
        await self._limit(presented.session_id, origin)
        signer = await self._issuer.signer()
        async with self._database.transaction() as session:
            found = await _locked(session, realm, presented.session_id)
            if found is None:
                raise _refused()
            owner, current = found
            verdict = self._judge(owner, current, presented.generation)
            if verdict is Verdict.ROTATE:
                _rotate(current, origin)
            elif verdict is Verdict.REUSED:
                await self._end(session, owner, current, origin)
        if verdict in {Verdict.REUSED, Verdict.OVER}:
            raise _refused()
        return self._issuer.issue(signer, owner, current)

    async def _limit(self, session_id: UUID, origin: Origin) -> None:
        settings, address = self._settings, limits.of_address(origin.address)
        async with self._database.transaction() as session:
            await limits.take(session, "refresh_address", address, settings.limit_refresh_address)
            await limits.take(session, "refresh_account", str(session_id), settings.limit_refresh_account)

    def _judge(self, owner: Owner, current: LoginSession, presented: int) -> Verdict:
        if owners.refusal(owner) is not None:
            return Verdict.OVER
        settings = self._settings
        return judge(presented, current.family(), clock.now(), grace=settings.refresh_grace, idle=settings.refresh_idle)

    async def _end(self, session: AsyncSession, owner: Owner, current: LoginSession, origin: Origin) -> None:
        """End a session that two hold, one of them a thief, and tell its owner."""
        REUSED.inc()
        log.warning("refresh token used again, session ended", session_id=str(current.id), owner_id=str(owner.id))
        actor = owners.actor_of(owner)
        await sessions.end(session, owner, [current.id], reason=REUSE, actor=actor, origin=origin)
        if isinstance(owner, User):
            facts = mails.circumstances(origin)
            await mails.post(session, "refresh_reused", owner, settings=self._settings, facts=facts)


def _rotate(current: LoginSession, origin: Origin) -> None:
    now = clock.now()
    current.generation += 1
    current.rotated_at = current.last_seen_at = now
    current.address = origin.address or current.address
    current.device = origin.user_agent or current.device


async def _locked(session: AsyncSession, realm: Realm, session_id: UUID) -> tuple[Owner, LoginSession] | None:
    """Find a session of a realm with its owner, who is locked first, and keep every other refresh of it waiting."""
    kind = realm.model
    column = LoginSession.user_id if realm is Realm.USERS else LoginSession.admin_id
    query = select(kind, LoginSession).select_from(kind).join(LoginSession, column == kind.id)
    query = query.where(LoginSession.id == session_id).with_for_update(key_share=True)
    row: Any = (await session.execute(query)).one_or_none()  # the types of a table that is chosen here are too wide
    return None if row is None else (row[0], row[1])


def _refused() -> UnauthorizedError:
    return UnauthorizedError("invalid_refresh_token", "The refresh token is expired, used or not valid.")
