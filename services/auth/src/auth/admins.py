"""Admins: made by an operator, then by each other; what they may do, and their end. Each change is audited."""

from collections.abc import Iterable, Sequence
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import Select, any_, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from auth import admin_scopes, audit, sessions
from auth.admin_scopes import ADMINS_WRITE
from auth.audit import Actor
from auth.domain import is_email, masked, password_faults
from auth.models import Admin
from auth.origin import OPERATOR as BY_HAND
from auth.origin import Origin
from auth.passwords import PasswordHasher
from common import clock
from common.db import Database, violated_constraint
from common.errors import ConflictError, FieldError, ForbiddenError, InvalidError, NotFoundError, UnauthorizedError
from common.security import AdminPrincipal

ADMINS_LOCK = 7_301_005
"""First half of the advisory lock's key; the second is a hash of the schema."""
MOST_ADMINS = 1000
TAKEN = {
    "uq_admins_username": ("username_taken", "This username is taken."),
    "uq_admins_email": ("email_taken", "Email already registered."),
}
"""Unique index to the code and words of the conflict."""


class NewAdmin(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is to look after the place."""

    username: str
    email: str
    scopes: frozenset[str]


def check(new: NewAdmin, password: str) -> None:
    """Raise `InvalidError` with everything that is wrong, apart from lengths and characters of the name."""
    faults = [
        FieldError(field="password", message=fault)
        for fault in password_faults(password, username=new.username, email=new.email)
    ]
    if not is_email(new.email):
        faults.append(FieldError(field="email", message="is not an e-mail address"))
    faults += _scope_faults(new.scopes)
    if faults:
        raise InvalidError("invalid_request", "One or more fields are not acceptable.", errors=faults)


def check_scopes(scopes: Iterable[str]) -> None:
    """Raise `InvalidError` for a scope that there is not."""
    if faults := _scope_faults(scopes):
        raise InvalidError("invalid_request", "One or more fields are not acceptable.", errors=faults)


def _scope_faults(scopes: Iterable[str]) -> list[FieldError]:
    if unknown := admin_scopes.unknown(scopes):
        message = f"no such scope: {', '.join(unknown)}; there are {', '.join(admin_scopes.ADMIN_SCOPES)}"
        return [FieldError(field="scopes", message=message)]
    return []


async def add(session: AsyncSession, new: NewAdmin, password_hash: str, *, actor: Actor, origin: Origin) -> Admin:
    """Make an admin; raise `ConflictError` when the name or the address is taken."""
    admin = Admin(
        id=uuid4(),
        username=new.username,
        email=new.email,
        password_hash=password_hash,
        scopes=sorted(new.scopes),
        created_at=clock.now(),
    )
    session.add(admin)
    try:
        await session.flush()
    except IntegrityError as error:
        taken = TAKEN.get(violated_constraint(error) or "")
        if taken is None:
            raise
        raise ConflictError(*taken) from error
    await audit.record(session, "admin.create", actor=actor, origin=origin, target=admin.id, after=told(admin))
    return admin


async def appoint(database: Database, hasher: PasswordHasher, new: NewAdmin, password: str, *, another: bool) -> bool:
    """Let an operator make the first admin, and with ``another`` a further one; tell whether that was needed.

    An admin of that name who is there already keeps their password and gets the scopes that they lack.

    Raises:
        InvalidError: something about the admin or the password is not acceptable.
        ConflictError: there are admins, who make others themselves, or the name or address is taken.
    """
    check(new, password)
    password_hash = await hasher.hash(password)
    async with database.transaction() as session:
        await serialise(session)
        if there := await by_login(session, new.username):
            return await _complete(session, there, new.scopes)
        if not another and await session.scalar(select(_able().limit(1).exists())):
            raise ConflictError("admins_exist", "There are admins already, and they make others.")
        await add(session, new, password_hash, actor=audit.OPERATOR, origin=BY_HAND)
    return True


async def _complete(session: AsyncSession, admin: Admin, scopes: frozenset[str]) -> bool:
    """Give an admin the scopes they lack; raise `ConflictError` when they are out of use."""
    if admin.deactivated_at is not None:
        raise ConflictError("admin_deactivated", "There is such an admin, who is deactivated.")
    before, lacking = told(admin), scopes - set(admin.scopes)
    if lacking:
        admin.scopes = sorted({*admin.scopes, *lacking})
        after = told(admin)
        actor = audit.OPERATOR
        await audit.record(
            session, "admin.scopes", actor=actor, origin=BY_HAND, target=admin.id, before=before, after=after
        )
    return bool(lacking)


async def change_password(
    database: Database, hasher: PasswordHasher, known: Admin, password: str, *, keep: UUID, origin: Origin
) -> None:
    """Set the password of an admin who has just proved the old one; every session but ``keep`` ends.

    Raises:
        InvalidError: the new one is no good.
        ConflictError: there is another one since.
    """
    if faults := password_faults(password, username=known.username, email=known.email):
        errors = [FieldError(field="new_password", message=fault) for fault in faults]
        raise InvalidError("invalid_request", "One or more fields are not acceptable.", errors=errors)
    password_hash = await hasher.hash(password)
    actor = Actor.admin(known.id)
    async with database.transaction() as session:
        admin = await session.get(Admin, known.id, with_for_update={"key_share": True})
        if admin is None or admin.password_hash != known.password_hash:
            raise ConflictError("password_changed", "The password was changed meanwhile.")
        admin.password_hash, admin.password_changed_at = password_hash, clock.now()
        await sessions.end(
            session, admin, sessions.ALL, reason="password changed", actor=actor, origin=origin, keep=keep
        )
        await audit.record(session, "password.change", actor=actor, origin=origin, target=admin.id)


async def everybody(session: AsyncSession) -> Sequence[Admin]:
    """List the admins, the oldest first."""
    return (await session.scalars(select(Admin).order_by(Admin.created_at, Admin.id).limit(MOST_ADMINS))).all()


async def own(session: AsyncSession, caller: AdminPrincipal) -> Admin:
    """Return the admin a token speaks for; raise `UnauthorizedError` when they are out of use."""
    admin = await session.get(Admin, caller.admin_id)
    if admin is None or admin.deactivated_at is not None:
        raise UnauthorizedError("invalid_token", "The access token is missing, expired or not valid.")
    return admin


async def by_login(session: AsyncSession, login: str) -> Admin | None:
    """Find an admin by username or e-mail address, in any case; no username holds an ``@``."""
    column = Admin.email if "@" in login else Admin.username
    found: Admin | None = await session.scalar(select(Admin).where(func.lower(column) == func.lower(login)))
    return found


async def change_scopes(
    session: AsyncSession, caller: AdminPrincipal, admin_id: UUID, scopes: frozenset[str], *, origin: Origin
) -> Admin:
    """Let an admin do something else from their next token on.

    Nobody changes what they may do themselves, gives or takes what they do not hold, or takes `admins:write` from the
    last one who has it.
    """
    check_scopes(scopes)
    admin = await _other(session, caller, admin_id)
    require_held(caller, scopes ^ set(admin.scopes))
    if ADMINS_WRITE in admin.scopes and ADMINS_WRITE not in scopes:
        await _leave_one(session, admin)
    before, admin.scopes = told(admin), sorted(scopes)
    actor = Actor.admin(caller.admin_id)
    await audit.record(
        session, "admin.scopes", actor=actor, origin=origin, target=admin.id, before=before, after=told(admin)
    )
    return admin


async def deactivate(session: AsyncSession, caller: AdminPrincipal, admin_id: UUID, *, origin: Origin) -> Admin:
    """Take an admin out of use; their sessions are for the caller to end. Twice is once."""
    admin = await _other(session, caller, admin_id)
    if admin.deactivated_at is None:
        await _leave_one(session, admin)
        before, admin.deactivated_at = told(admin), clock.now()
        actor = Actor.admin(caller.admin_id)
        await audit.record(
            session, "admin.deactivate", actor=actor, origin=origin, target=admin.id, before=before, after=told(admin)
        )
    return admin


async def activate(session: AsyncSession, caller: AdminPrincipal, admin_id: UUID, *, origin: Origin) -> Admin:
    """Put an admin in use again. Twice is once."""
    admin = await _other(session, caller, admin_id)
    require_held(caller, admin.scopes)
    if admin.deactivated_at is not None:
        before, admin.deactivated_at = told(admin), None
        actor = Actor.admin(caller.admin_id)
        await audit.record(
            session, "admin.activate", actor=actor, origin=origin, target=admin.id, before=before, after=told(admin)
        )
    return admin


def require_held(caller: AdminPrincipal, scopes: Iterable[str]) -> None:
    """Raise `ForbiddenError` when the caller does not hold all of them."""
    if missing := sorted(set(scopes) - caller.scopes):
        raise ForbiddenError("scope_not_held", f"You may give and take only what you hold, not {', '.join(missing)}.")


async def _other(session: AsyncSession, caller: AdminPrincipal, admin_id: UUID) -> Admin:
    """Find another admin, with all changes of admins one after the other."""
    if admin_id == caller.admin_id:
        raise ConflictError("not_yourself", "You cannot do this to yourself; another admin can.")
    await serialise(session)
    admin = await session.get(Admin, admin_id, populate_existing=True)
    if admin is None:
        raise NotFoundError("unknown_admin", "There is no admin of this id.")
    return admin


async def serialise(session: AsyncSession) -> None:
    """Let changes of who is admin happen one after the other, until the transaction ends."""
    await session.execute(select(func.pg_advisory_xact_lock(ADMINS_LOCK, func.hashtext(func.current_schema()))))


async def _leave_one(session: AsyncSession, without: Admin) -> None:
    """Raise `ConflictError` when nobody else in use may write admins."""
    if not await session.scalar(select(_able().where(Admin.id != without.id).exists())):
        raise ConflictError("last_admin", f"Nobody else with {ADMINS_WRITE} would be left.")


def _able() -> Select[UUID]:
    """Select who may make admins."""
    return select(Admin.id).where(Admin.deactivated_at.is_(None), any_(Admin.scopes) == ADMINS_WRITE)


def told(admin: Admin) -> dict[str, object]:
    """What the audit log learns of an admin."""
    return {
        "username": admin.username,
        "email": masked(admin.email),
        "scopes": list(admin.scopes),
        "deactivated_at": admin.deactivated_at,
    }
