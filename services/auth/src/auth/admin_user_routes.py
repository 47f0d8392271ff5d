"""The HTTP surface of accounts for admins."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Response, delete, get, post, route
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from sqlalchemy.ext.asyncio import AsyncSession

from auth import access_tokens, admin_users, audit_list, etags, preferences, sessions, user_list
from auth.access_token_routes import Token
from auth.admin_schemas import (
    AuditPage,
    BulkAction,
    BulkInput,
    BulkOutcome,
    BulkOutcomes,
    LockView,
    SessionView,
    UserDetail,
    UserPage,
    UserPatch,
    UserView,
    user_fields,
)
from auth.admin_scopes import AUDIT_READ, USERS_READ, USERS_WRITE
from auth.admin_users import Act, By, Changes
from auth.audit_list import EntryView
from auth.origin import Origin
from auth.preference_schemas import PreferencesView
from auth.settings import AuthSettings
from auth.user_list import Filters, Order
from common import clock
from common.errors import FieldError, InvalidError
from common.http import BEARER, problems
from common.security import AdminPrincipal

PATH = "/api/v1/admin/users"
ONE = f"{PATH}/{{user_id:uuid}}"


async def provide_by(admin: AdminPrincipal, origin: Origin, state: State) -> By:
    """Litestar dependency ``by``: the admin who acts."""
    return By(admin=admin, origin=origin, settings=state.settings)


READ: dict[str, Any] = {"security": BEARER, "tags": ["admin"], "opt": {"scope": USERS_READ}}
WRITE: dict[str, Any] = {"security": BEARER, "tags": ["admin"], "opt": {"scope": USERS_WRITE}}
NO_STORE = {"Cache-Control": "no-store"}

Search = Annotated[str | None, Parameter(min_length=2, max_length=100, description="A part of any name or address")]
Skip = Annotated[int, Parameter(ge=0, le=1_000_000)]
Limit = Annotated[int, Parameter(ge=1, le=100)]
Instant = Annotated[datetime | None, Parameter(description="With its zone")]
IfMatch = Annotated[str | None, Parameter(header="If-Match", max_length=1000)]
Text = Annotated[str | None, Parameter(max_length=200)]


@get(PATH, **READ, responses=problems(403), summary="List and search accounts")
async def list_users(  # noqa: PLR0913 - each is one filter
    session: AsyncSession,
    admin: AdminPrincipal,  # noqa: ARG001 - must be one
    *,
    q: Search = None,
    active: bool | None = None,
    verified: bool | None = None,
    deleted: bool | None = None,
    locked: bool | None = None,
    registered_from: Instant = None,
    registered_to: Instant = None,
    sort: Order = Order.NEWEST,
    skip: Skip = 0,
    limit: Limit = 20,
) -> UserPage:
    """List the accounts that all filters let through, deleted ones that are not erased yet too."""
    filters = Filters(
        q=q,
        active=active,
        verified=verified,
        deleted=deleted,
        locked=locked,
        registered_from=_zoned("registered_from", registered_from),
        registered_to=_zoned("registered_to", registered_to),
    )
    found, total = await user_list.find(session, filters, sort, clock.now(), skip=skip, limit=limit)
    return UserPage(items=[UserView.of(one) for one in found], total=total, skip=skip, limit=limit)


@get(ONE, **READ, responses=problems(403), summary="See an account")
async def read_user(user_id: UUID, session: AsyncSession, by: By) -> Response[UserDetail]:
    """Show an account with its sessions, tokens, locks and preferences."""
    return await _shown(session, user_id, by.settings)


@route(ONE, http_method=["PATCH", "PUT"], status_code=200, **WRITE, responses=problems(403, 409, 412))
async def change_user(
    user_id: UUID,
    data: UserPatch,
    session: AsyncSession,
    by: By,
    if_match: IfMatch = None,
) -> Response[UserDetail]:
    """Correct name, username or address; what is left out stays. With `If-Match` an older copy does not win."""
    wanted = Changes(username=data.username, email=data.email, full_name=data.full_name)
    await admin_users.change(session, user_id, wanted, by, if_match=if_match)
    return await _shown(session, user_id, by.settings)


@delete(ONE, **WRITE, responses=problems(403), summary="Delete an account")
async def delete_user(user_id: UUID, session: AsyncSession, by: By) -> None:
    """Delete an account; it can be restored for a while, and is erased after that."""
    await admin_users.perform(session, "delete", admin_users.delete, user_id, by)


def _act(name: str, paths: Sequence[str], act: Act, words: str, *, patch: bool = False) -> HTTPRouteHandler:
    """Make the route of something that is done to one account; twice is once."""

    async def handler(user_id: UUID, session: AsyncSession, by: By) -> Response[UserDetail]:
        await admin_users.perform(session, name, act, user_id, by)
        return await _shown(session, user_id, by.settings)

    handler.__name__ = f"{name}_user"
    handler.__doc__ = words
    return route(
        [f"{ONE}/{path}" for path in paths],
        http_method=["POST", "PATCH"] if patch else ["POST"],
        status_code=200,
        responses=problems(403, 409),
        **WRITE,
    )(handler)


ACTS = [
    _act("activate", ["activate"], admin_users.activate, "Let somebody who was blocked in again.", patch=True),
    _act(
        "deactivate",
        ["deactivate", "block"],
        admin_users.deactivate,
        "Block somebody: no login, no refresh, and within two seconds no token either.",
        patch=True,
    ),
    _act("unlock", ["unlock"], admin_users.unlock, "Forget the wrong passwords that came for somebody."),
    _act("logout", ["logout"], admin_users.log_out, "End all sessions of somebody."),
    _act(
        "force_reset",
        ["force-reset"],
        admin_users.force_reset,
        "Let only a new password help, for which a letter goes out; all sessions end.",
    ),
    _act("restore", ["restore"], admin_users.restore, "Bring a deleted account back that is not erased yet."),
]

BULK: dict[BulkAction, tuple[str, Act]] = {
    BulkAction.ACTIVATE: ("activate", admin_users.activate),
    BulkAction.DEACTIVATE: ("deactivate", admin_users.deactivate),
    BulkAction.LOGOUT: ("logout", admin_users.log_out),
}


@post(f"{PATH}/bulk", status_code=200, **WRITE, responses=problems(403), summary="Do something to many accounts")
async def change_users(data: BulkInput, session: AsyncSession, by: By) -> BulkOutcomes:
    """Activate, deactivate or log out up to 100 accounts, in one transaction, with an entry in the log for each."""
    name, act = BULK[data.action]
    outcomes = await admin_users.perform_on_all(session, name, act, data.user_ids, by)
    return BulkOutcomes(items=[BulkOutcome(user_id=one, outcome=outcomes[one]) for one in dict.fromkeys(data.user_ids)])


@get(
    "/api/v1/admin/audit",
    security=BEARER,
    tags=["admin"],
    opt={"scope": AUDIT_READ},
    responses=problems(403),
    summary="Read the audit log",
)
async def read_audit(  # noqa: PLR0913 - each is one filter
    session: AsyncSession,
    admin: AdminPrincipal,  # noqa: ARG001 - must be one
    *,
    action: Annotated[str | None, Parameter(max_length=100, description="`login.` is all that begins so")] = None,
    actor_id: UUID | None = None,
    actor_kind: Text = None,
    target_id: UUID | None = None,
    address: Text = None,
    audited_request: Annotated[str | None, Parameter(query="request_id", max_length=128)] = None,
    since: Instant = None,
    until: Instant = None,
    before: Annotated[int | None, Parameter(ge=1, le=2**63 - 1, description="`next_before` of the last page")] = None,
    limit: Limit = 50,
) -> AuditPage:
    """Read what was done, the newest first. The log itself is checked with `paddock audit-accounts verify`."""
    filters = audit_list.Filters(
        action=action,
        actor_id=actor_id,
        actor_kind=actor_kind,
        target_id=target_id,
        address=address,
        request_id=audited_request,
        since=_zoned("since", since),
        until=_zoned("until", until),
    )
    found = await audit_list.find(session, filters, before=before, limit=limit)
    more = found[-1].id if len(found) == limit else None
    return AuditPage(items=[EntryView.of(entry) for entry in found], next_before=more)


def _zoned(field: str, instant: datetime | None) -> datetime | None:
    """Refuse an instant that could be anybody's."""
    if instant is not None and instant.tzinfo is None:
        fault = FieldError(field=field, message="needs its zone, as in 2026-03-08T04:00:00Z")
        raise InvalidError("invalid_request", "One or more fields are not acceptable.", errors=[fault])
    return instant


async def _shown(session: AsyncSession, user_id: UUID, settings: AuthSettings) -> Response[UserDetail]:
    now = clock.now()
    found = await user_list.one(session, user_id, now)
    if found is None:
        raise admin_users.unknown()
    live = await sessions.live(session, found.user, idle=settings.refresh_idle)
    detail = UserDetail(
        **user_fields(found),
        sessions=[SessionView.of(row) for row in live],
        tokens=[Token.of(row) for row in await access_tokens.of_user(session, user_id)],
        locks=[LockView.of(row) for row in await user_list.guards_of(session, found.user)],
        preferences=PreferencesView.of(await preferences.read(session, user_id)),
    )
    return Response(detail, headers={**NO_STORE, "ETag": etags.tag_of(found.user.version)})


HANDLERS = [list_users, change_users, read_user, change_user, delete_user, *ACTS, read_audit]
