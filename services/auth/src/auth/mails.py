"""Letters: a row and an event in the transaction of what they tell; the consumer of the event sends them.

Nobody waits for a mail server, and a letter exists exactly when what it tells was committed. What strangers may cause
is limited here, for each account and for each address, so that nobody can be flooded through us.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from uuid import uuid4

from prometheus_client import Counter
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import limits
from auth.links import Links, Purpose
from auth.models import Mail, User
from auth.origin import Origin
from auth.settings import AuthSettings
from common import clock, outbox
from common.contracts.auth import MailRequested
from common.errors import TooManyRequestsError

OMITTED = Counter("auth_mails_omitted_total", "Letters that a limit left out, by kind", ["kind"])


class Kind(StrEnum):
    """Which letter; each has its templates."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a name
    CHANGE_EMAIL = "change_email"
    EMAIL_CHANGED = "email_changed"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a name
    ACCOUNT_LOCKED = "account_locked"
    ALREADY_REGISTERED = "already_registered"
    REFRESH_REUSED = "refresh_reused"
    ACCOUNT_DELETED = "account_deleted"


class Request(StrEnum):
    """What somebody asked for by an address, which may be nobody's; found out off the request."""

    VERIFY = "ask_verify_email"
    RESET = "ask_reset_password"
    WELCOME = "ask_welcome"
    """Somebody registered with it: whoever has it proves it, or hears that they have an account already."""


LINKS = {Kind(purpose.value): purpose for purpose in Purpose}
"""The letters that hold a link, and its purpose."""


LIMITED = {
    Kind.VERIFY_EMAIL: "limit_resend_account",
    Kind.RESET_PASSWORD: "limit_forgot_account",
    Kind.CHANGE_EMAIL: None,
    Kind.ALREADY_REGISTERED: None,
    Kind.ACCOUNT_LOCKED: None,
    Kind.REFRESH_REUSED: None,
}
"""The letters that strangers can cause, and the setting with their own limit for each account."""


async def post(
    session: AsyncSession,
    kind: str,
    user: User,
    *,
    settings: AuthSettings,
    facts: Mapping[str, Any] | None = None,
    address: str | None = None,
) -> Mail | None:
    """Have a letter sent once the caller's transaction is committed; leave it out when too many were.

    It goes to the user's address unless there is another ``address``. A kind with a link gets one, which replaces any
    older one of its purpose. ``facts`` are what its template tells besides: see `circumstances`; no secret, and of
    addresses only `domain.masked` ones.
    """
    kind, address = Kind(kind), address or user.email
    if not await _allowed(session, kind, user, address, settings):
        OMITTED.labels(kind).inc()
        return None
    token = None
    if purpose := LINKS.get(kind):
        token = await Links(settings).issue(session, user, purpose, address)
    mail = Mail(
        id=uuid4(),
        user_id=user.id,
        token_id=token.id if token else None,
        kind=kind.value,
        address=address,
        facts=dict(facts or {}),
        created_at=clock.now(),
    )
    await _request(session, mail)
    return mail


async def _allowed(session: AsyncSession, kind: Kind, user: User, address: str, settings: AuthSettings) -> bool:
    if kind not in LIMITED:
        return True
    try:
        if own := LIMITED[kind]:
            await limits.take(session, f"mail_{kind}", user.id.hex, getattr(settings, own))
        await limits.take(session, "letters_recipient", address.lower(), settings.limit_letters_recipient)
    except TooManyRequestsError:
        return False
    return True


async def ask(session: AsyncSession, request: Request, address: str) -> None:
    """Keep a request for a letter to an address; the work is the same whether somebody has it or not."""
    mail = Mail(id=uuid4(), kind=request.value, address=address, facts={}, created_at=clock.now())
    await _request(session, mail)


async def answer(session: AsyncSession, request: Mail, *, settings: AuthSettings) -> None:
    """Post what was asked for, when the address is that of an account in use that needs it; forget the request."""
    await session.execute(delete(Mail).where(Mail.id == request.id))
    user = await holder(session, request.address)
    if user is None or user.deactivated_at is not None:
        return
    if request.kind == Request.RESET:
        await post(session, Kind.RESET_PASSWORD, user, settings=settings)
    elif user.email_verified_at is None:
        await post(session, Kind.VERIFY_EMAIL, user, settings=settings)
    elif request.kind == Request.WELCOME:
        await post(session, Kind.ALREADY_REGISTERED, user, settings=settings)


async def holder(session: AsyncSession, address: str) -> User | None:
    """Find the account of an address, in any case; a deleted one has none."""
    query = select(User).where(func.lower(User.email) == func.lower(address), User.deleted_at.is_(None))
    return await session.scalar(query)


async def _request(session: AsyncSession, mail: Mail) -> None:
    session.add(mail)
    await session.flush()
    await outbox.publish(session, MailRequested(mail_id=mail.id, kind=mail.kind))


def circumstances(origin: Origin) -> dict[str, Any]:
    """Return where something was done from, as letters tell it. What the client calls itself is not among it.

    A stranger writes that, and a letter of ours is no place for the words of strangers.
    """
    return {"from_address": origin.address} if origin.address else {}
