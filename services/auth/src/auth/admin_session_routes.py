"""Sessions of admins over HTTP: the same logins, locks and tokens as users', in a realm of their own."""

from typing import Annotated, Any

from litestar import Response, post
from litestar.datastructures import State
from msgspec import Meta, Struct
from sqlalchemy.ext.asyncio import AsyncSession

from auth import admins, sessions
from auth.admin_schemas import NewPassword
from auth.audit import Actor
from auth.domain import PASSWORD_LENGTH
from auth.forms import FormOrJson, FormOrJsonOperation
from auth.logins import Logins
from auth.origin import Origin
from auth.owners import Realm
from auth.passwords import PasswordHasher
from auth.refreshing import Refreshes
from auth.schemas import Credentials, LoginTokens, RefreshRequest, Tokens
from common.http import BEARER, problems
from common.security import AdminPrincipal

PATH = "/api/v1/admin/auth"
NO_STORE = {"Cache-Control": "no-store"}
OWN: dict[str, Any] = {"tags": ["admin"], "security": BEARER}


class AdminPassword(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The password there is, and the one to come."""

    current_password: Annotated[str, Meta(min_length=1, max_length=PASSWORD_LENGTH[1])]
    new_password: NewPassword


@post(
    f"{PATH}/login",
    status_code=200,
    tags=["admin"],
    responses=problems(401, 403, 415, 423, 429),
    request_class=FormOrJson,
    operation_class=FormOrJsonOperation,
    summary="Log in as an admin",
    description=(
        "By username or e-mail address of an admin, with JSON or with the form of OAuth2's password grant. The token "
        "is good on the routes of admins alone, within the admin's scopes. 401: `invalid_credentials`. "
        "403: `user_inactive`. 423: `account_locked`. 429: `rate_limited`."
    ),
)
async def log_in_admin(data: Credentials, logins: Logins, origin: Origin) -> Response[LoginTokens]:
    """Start a session of an admin."""
    grant = await logins.log_in(Realm.ADMINS, data.username, data.password, origin.on(data.device_token))
    return Response(LoginTokens.of_login(grant), headers=NO_STORE)


@post(f"{PATH}/refresh", status_code=200, tags=["admin"], responses=problems(401, 429), summary="Go on as an admin")
async def refresh_admin(data: RefreshRequest, refreshes: Refreshes, origin: Origin) -> Response[Tokens]:
    """Exchange an admin's refresh token for a new pair, with the scopes they have by now."""
    return Response(Tokens.of(await refreshes.refresh(Realm.ADMINS, data.refresh_token, origin)), headers=NO_STORE)


@post(f"{PATH}/logout", status_code=204, **OWN, summary="Log out as an admin")
async def log_out_admin(session: AsyncSession, admin: AdminPrincipal, origin: Origin) -> None:
    """End the session of the access token; within two seconds it is good nowhere."""
    own = await admins.own(session, admin)
    actor = Actor.admin(own.id)
    await sessions.end(session, own, {admin.session_id}, reason="logout", actor=actor, origin=origin)


@post(
    f"{PATH}/password",
    status_code=204,
    **OWN,
    responses=problems(409, 423, 429),
    summary="Change your password as an admin",
    description="This session goes on, every other one ends. 403: `wrong_password`. 409: `password_changed`.",
)
async def change_admin_password(
    data: AdminPassword, admin: AdminPrincipal, logins: Logins, origin: Origin, state: State
) -> None:
    """Change the password of the admin who asks."""
    hasher: PasswordHasher = state.hasher
    known = await logins.confirm_admin(admin.admin_id, admin.session_id, data.current_password, origin)
    await admins.change_password(state.database, hasher, known, data.new_password, keep=admin.session_id, origin=origin)


HANDLERS = [log_in_admin, refresh_admin, log_out_admin, change_admin_password]
