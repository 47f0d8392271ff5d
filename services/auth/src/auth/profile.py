"""A person's own account, as far as they change it themselves, and as far as others see it."""

import unicodedata
from datetime import timedelta
from uuid import UUID

from msgspec import UNSET, UnsetType
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, etags, people
from auth.audit import Actor
from auth.models import LeagueMember, User
from auth.origin import Origin
from auth.people import Person
from auth.phones import normalised
from auth.profile_schemas import ProfileInput
from auth.settings import AuthSettings
from common import clock, outbox
from common.contracts.auth import UserUpdated
from common.db import violated_constraint
from common.errors import ConflictError, FieldError, InvalidError, NotFoundError, UnauthorizedError

TAKEN = {
    "uq_users_username": ("username_taken", "This username is taken."),
    "uq_users_email": ("email_taken", "Email already registered."),
    "uq_users_phone": ("phone_taken", "Another account has this telephone number."),
}
"""Unique index to the code and words of the conflict."""
TERM_LENGTH = 2


async def own(session: AsyncSession, user_id: UUID, *, lock: bool = False) -> User:
    """Return the account a token speaks for; raise `UnauthorizedError` when it is blocked or gone."""
    user = await people.in_use(session, user_id, lock=lock)
    if user is None:
        raise UnauthorizedError("invalid_token", "The access token is missing, expired or not valid.")
    return user


async def update(
    session: AsyncSession,
    user_id: UUID,
    wanted: ProfileInput,
    *,
    settings: AuthSettings,
    if_match: str | None,
    origin: Origin,
) -> User:
    """Change what the input names.

    Raises:
        StaleError: the account is not as ``if_match`` says.
        InvalidError: a name or number that cannot be one.
        ConflictError: somebody else has it, or the username was changed not long ago.
    """
    user = await own(session, user_id, lock=True)
    etags.require(if_match, user.version)
    if wanted.username not in (UNSET, user.username):
        _allow_new_username(user, settings)
    changed = await change(session, user, username=wanted.username, full_name=wanted.full_name, phone=wanted.phone)
    if changed:
        me = Actor.user(user.id)
        await audit.record(
            session, "profile.change", actor=me, origin=origin, target=user.id, after={"fields": changed}
        )
    return user


async def change(
    session: AsyncSession,
    user: User,
    *,
    username: str | UnsetType = UNSET,
    full_name: str | UnsetType | None = UNSET,
    phone: str | UnsetType | None = UNSET,
    email: str | UnsetType = UNSET,
) -> list[str]:
    """Change a locked account and tell others; return the names of the fields that are different now.

    A new address counts as unproved. Raises as `update` does.
    """
    wanted = {"username": username, "full_name": _tidy(full_name), "phone": _dialled(phone), "email": email}
    new = {name: value for name, value in wanted.items() if value is not UNSET and value != getattr(user, name)}
    for name, value in new.items():
        setattr(user, name, value)
    if "username" in new:
        user.username_changed_at = clock.now()
    if "email" in new:
        user.email_verified_at = None
    if new:
        await changed(session, user)
    return sorted(new)


async def changed(session: AsyncSession, user: User) -> None:
    """Count a change that others see, and tell them; raise `ConflictError` when somebody else has the name."""
    user.version += 1
    user.updated_at = max(clock.now(), user.updated_at + timedelta(microseconds=1))
    try:
        await session.flush()
    except IntegrityError as error:
        taken = TAKEN.get(violated_constraint(error) or "")
        if taken is None:
            raise
        raise ConflictError(*taken) from error
    event = UserUpdated(
        user_id=user.id,
        username=user.username,
        full_name=user.full_name,
        avatar_url=await people.avatar_url(session, user.id),
        profile_version=user.version,
        updated_at=user.updated_at,
    )
    await outbox.publish(session, event)


async def shown(session: AsyncSession, username: str, viewer: UUID | None) -> tuple[Person, list[LeagueMember], bool]:
    """Return somebody as the viewer may see them, the leagues they share, and whether the address shows.

    Raises:
        NotFoundError: nobody has the name, or they do not want to be seen by this viewer.
    """
    person = await people.person(session, username, viewer)
    if person is None:
        raise NotFoundError("unknown_user", "There is no such user, or they do not show themselves to you.")
    shared = await people.shared_leagues(session, viewer, person.user.id) if viewer else []
    wants = person.preferences is not None and person.preferences.show_email_to_league_members
    return person, shared, wants and bool(shared)


def search_term(written: str) -> str:
    """Return what to look for; raise `InvalidError` when blanks hide that it is too short."""
    term = written.strip()
    if len(term) < TERM_LENGTH:
        raise _invalid("q", f"must have at least {TERM_LENGTH} characters")
    return term


def _allow_new_username(user: User, settings: AuthSettings) -> None:
    if user.username_changed_at is None:
        return
    free_at = user.username_changed_at + timedelta(days=settings.username_days)
    wait = int((free_at - clock.now()).total_seconds())
    if wait > 0:
        detail = f"A username can be changed every {settings.username_days} days; yours from {free_at:%Y-%m-%d} on."
        raise ConflictError("username_changed_recently", detail, retry_after=wait)


def _tidy(full_name: str | UnsetType | None) -> str | UnsetType | None:
    if full_name is UNSET or full_name is None:
        return full_name
    if any(unicodedata.category(character) == "Cc" for character in full_name):
        raise _invalid("full_name", "must not contain control characters")
    return full_name.strip() or None


def _dialled(phone: str | UnsetType | None) -> str | UnsetType | None:
    if phone is UNSET or phone is None:
        return phone
    number = normalised(phone)
    if number is None:
        raise _invalid("phone", "is not a telephone number with + and the country in front")
    return number


def _invalid(field: str, message: str) -> InvalidError:
    fault = FieldError(field=field, message=message)
    return InvalidError("invalid_request", "One or more fields are not acceptable.", errors=[fault])
