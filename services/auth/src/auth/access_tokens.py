"""Personal access tokens: a program acts for somebody, within scopes and for a time; only a keyed hash is stored.

The token itself goes to the gateway alone, which exchanges it for an access token of a few minutes. That carries the
personal token's id as its session, so revoking one is ending a session: everybody refuses what was exchanged before.
"""

import hashlib
import hmac
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import msgspec
from prometheus_client import Counter
from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, scopes
from auth.jwts import Bearer, access_token
from auth.keys import SigningKeys
from auth.models import PersonalAccessToken, User
from auth.origin import Origin
from auth.sealing import derived
from auth.settings import AuthSettings
from common import clock, outbox
from common.contracts.auth import SessionRevoked
from common.db import Database, violated_constraint
from common.errors import ConflictError, FieldError, InvalidError, NotFoundError, UnauthorizedError
from common.tokens import is_token, new_token

LIVE_TOKENS = 50
"""Of one user."""
LISTED = 100
"""With those that have expired."""
NAME_LENGTH = 100
LIFE_DAYS = 365
HINT_CHARACTERS = 4
PURGE_BATCH = 1000
USED_EVERY = timedelta(minutes=1)
"""`last_used_at` is this exact."""

EXCHANGES = Counter("auth_token_exchanges_total", "Personal access tokens presented, by what came of it", ["outcome"])


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A new token; its text is nowhere else."""

    row: PersonalAccessToken
    token: str


class Exchanged(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway gets for a token."""

    access_token: str
    expires_in: int
    """Seconds."""


class AccessTokens:
    """What people do with tokens for programs, and what the gateway does with them."""

    def __init__(self, settings: AuthSettings, database: Database, keys: SigningKeys) -> None:
        self._settings = settings
        self._database = database
        self._keys = keys
        self._key = derived(settings.token_secret, b"personal access token 1")

    async def create(
        self, session: AsyncSession, user_id: UUID, *, name: str, wanted: Sequence[str], days: int, origin: Origin
    ) -> Issued:
        """Issue a token; raise `InvalidError`, or `ConflictError` for a name in use or one token too many."""
        name = name.strip()
        faults = _faults(name, wanted)
        if faults:
            raise InvalidError("invalid_request", "One or more fields are not acceptable.", errors=faults)
        now = clock.now()
        await _make_room(session, user_id, name, now)
        token = new_token()
        row = PersonalAccessToken(
            id=uuid4(),
            user_id=user_id,
            name=name,
            token_hash=self._hash(token),
            hint=token[-HINT_CHARACTERS:],
            scopes=sorted(set(wanted)),
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
        session.add(row)
        try:
            await session.flush()
        except IntegrityError as error:
            if violated_constraint(error) != "uq_personal_access_tokens_name":
                raise
            raise ConflictError("token_name_taken", "You have a token of this name.") from error
        await audit.record(
            session, "token.create", actor=audit.Actor.user(user_id), origin=origin, target=user_id, after=_told(row)
        )
        return Issued(row=row, token=token)

    async def revoke(self, session: AsyncSession, user_id: UUID, token_id: UUID, *, origin: Origin) -> None:
        """End a token and all that was exchanged for it; raise `NotFoundError` when the user has none of that id."""
        query = select(PersonalAccessToken).where(PersonalAccessToken.id == token_id, _of(user_id))
        row = await session.scalar(query.with_for_update())
        if row is None:
            raise NotFoundError("no_token", "You have no token of this id.")
        await _end(session, [row], "access token revoked")
        await audit.record(
            session, "token.revoke", actor=audit.Actor.user(user_id), origin=origin, target=user_id, before=_told(row)
        )

    async def exchange(self, token: str) -> Exchanged:
        """Give an access token for a personal one; raise `UnauthorizedError`, always in the same words.

        Neither its owner nor the row changes while it is looked at, and the access token is dated before that: one
        that is revoked afterwards is newer than everything that was given for it, and so all of it is refused.
        """
        if not is_token(token):
            EXCHANGES.labels("malformed").inc()
            raise _refused()
        signer = await self._keys.signer()
        now = clock.now()
        query = (  # the user comes first, as wherever both are locked
            select(User, PersonalAccessToken)
            .select_from(User)
            .join(PersonalAccessToken, PersonalAccessToken.user_id == User.id)
            .where(PersonalAccessToken.token_hash == self._hash(token))
            .with_for_update(read=True)
        )
        async with self._database.transaction() as session:
            found = (await session.execute(query)).one_or_none()
        if found is None or not _good(*found, now):
            EXCHANGES.labels("refused").inc()
            raise _refused()
        owner, row = found
        await self._note_use(row, now)
        life = min(timedelta(seconds=self._settings.exchanged_token_seconds), row.expires_at - now)
        bearer = Bearer(
            id=owner.id,
            username=owner.username,
            session_id=row.id,
            verified=owner.email_verified_at is not None,
            scopes=frozenset(row.scopes),
        )
        issuer, audience = self._settings.token_issuer, self._settings.token_audience
        signed = access_token(signer, bearer, issuer=issuer, audience=audience, issued_at=now, life=life)
        EXCHANGES.labels("exchanged").inc()
        return Exchanged(access_token=signed, expires_in=int(life.total_seconds()))

    async def _note_use(self, row: PersonalAccessToken, now: datetime) -> None:
        """Write when it was used, unless that is known well enough; of many at once one writes."""
        before = now - USED_EVERY
        if row.last_used_at is not None and row.last_used_at > before:
            return
        used = PersonalAccessToken.last_used_at
        statement = (
            update(PersonalAccessToken)
            .where(PersonalAccessToken.id == row.id, or_(used.is_(None), used <= before))
            .values(last_used_at=now)
        )
        async with self._database.transaction() as session:
            await session.execute(statement)

    def _hash(self, token: str) -> bytes:
        return hmac.digest(self._key, token.encode(), hashlib.sha256)


async def of_user(session: AsyncSession, user_id: UUID) -> Sequence[PersonalAccessToken]:
    """List the tokens of a user, the newest first, then those that have expired, as far as there is room."""
    live = (PersonalAccessToken.expires_at > clock.now()).desc()
    order = (live, PersonalAccessToken.created_at.desc(), PersonalAccessToken.id)
    return (await session.scalars(select(PersonalAccessToken).where(_of(user_id)).order_by(*order).limit(LISTED))).all()


async def live_ids(session: AsyncSession, user_id: UUID) -> list[UUID]:
    """Name the tokens whose exchanged access tokens may still be about, for whoever ends a user's sessions."""
    return list((await session.scalars(select(PersonalAccessToken.id).where(_of(user_id)))).all())


async def revoke_all(session: AsyncSession, user_id: UUID, *, reason: str, actor: audit.Actor, origin: Origin) -> int:
    """End all tokens of a user, as a reset of the password and the end of an account do; say how many there were."""
    rows = (await session.scalars(select(PersonalAccessToken).where(_of(user_id)).with_for_update())).all()
    if rows:
        await _end(session, rows, reason)
        before = {"tokens": [str(row.id) for row in rows], "reason": reason}
        await audit.record(session, "token.revoke_all", actor=actor, origin=origin, target=user_id, before=before)
    return len(rows)


async def delete_expired_tokens(session: AsyncSession, now: datetime, limit: int = PURGE_BATCH) -> int:
    """Remove tokens that have expired or were revoked, at most ``limit``; say how many."""
    dead = or_(PersonalAccessToken.expires_at <= now, PersonalAccessToken.revoked_at.is_not(None))
    some = select(PersonalAccessToken.id).where(dead).limit(limit)
    gone = await session.scalars(
        delete(PersonalAccessToken).where(PersonalAccessToken.id.in_(some)).returning(PersonalAccessToken.id)
    )
    return len(gone.all())


async def _make_room(session: AsyncSession, user_id: UUID, name: str, now: datetime) -> None:
    """Keep other requests of the user waiting, count what they have, and let a new token follow an expired one."""
    owner = await session.scalar(select(User).where(User.id == user_id, *_ACTIVE).with_for_update(key_share=True))
    if owner is None:
        raise _refused()
    expired = PersonalAccessToken.expires_at <= now
    same_name = func.lower(PersonalAccessToken.name) == func.lower(name)
    await session.execute(delete(PersonalAccessToken).where(_of(user_id), expired, same_name))
    live = select(func.count()).select_from(PersonalAccessToken).where(_of(user_id), ~expired)
    if (await session.scalar(live) or 0) >= LIVE_TOKENS:
        raise ConflictError("too_many_tokens", f"At most {LIVE_TOKENS} tokens; revoke one first.")


async def _end(session: AsyncSession, rows: Sequence[PersonalAccessToken], reason: str) -> None:
    """Revoke locked rows of one user; the time is taken once nobody exchanges them any more."""
    now = clock.now()
    for row in rows:
        row.revoked_at = now
    event = SessionRevoked(user_id=rows[0].user_id, session_ids=[row.id for row in rows], reason=reason, revoked_at=now)
    await outbox.publish(session, event)


def _of(user_id: UUID) -> ColumnElement[bool]:
    return and_(PersonalAccessToken.user_id == user_id, PersonalAccessToken.revoked_at.is_(None))


_ACTIVE = (User.deactivated_at.is_(None), User.deleted_at.is_(None))


def _good(owner: User, row: PersonalAccessToken, now: datetime) -> bool:
    blocked = owner.deactivated_at or owner.deleted_at or owner.must_reset_password
    return row.revoked_at is None and now < row.expires_at and not blocked


def _faults(name: str, wanted: Sequence[str]) -> list[FieldError]:
    faults = []
    if not name or any(unicodedata.category(character).startswith("C") for character in name):
        faults.append(FieldError(field="name", message="must say something, without control characters"))
    if unknown := scopes.unknown(wanted):
        message = f"no such scope: {', '.join(unknown)}; there are {', '.join(scopes.SCOPES)}"
        faults.append(FieldError(field="scopes", message=message))
    return faults


def _told(row: PersonalAccessToken) -> dict[str, object]:
    """What the audit log learns of a token."""
    return {"token": str(row.id), "name": row.name, "scopes": row.scopes, "expires_at": row.expires_at.isoformat()}


def _refused() -> UnauthorizedError:
    return UnauthorizedError("invalid_token", "The access token is missing, expired or not valid.")
