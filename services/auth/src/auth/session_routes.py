"""Sessions over HTTP: begin one, keep it going, see them all, end them."""

from typing import Any
from uuid import UUID

from litestar import Response, delete, get, post
from litestar.datastructures import State
from sqlalchemy.ext.asyncio import AsyncSession

from auth import queries, sessions
from auth.audit import Actor
from auth.forms import FormOrJson, FormOrJsonOperation
from auth.issuing import Issuer
from auth.logins import Logins
from auth.models import User
from auth.origin import Origin
from auth.owners import Realm
from auth.refreshing import Refreshes
from auth.schemas import Credentials, LoginTokens, Logout, RefreshRequest, SessionItem, SessionList, Tokens
from auth.settings import AuthSettings
from common.errors import NotFoundError
from common.http import BEARER, problems
from common.security import SESSION_ONLY, Principal

NO_STORE = {"Cache-Control": "no-store"}
OWN: dict[str, Any] = {"tags": ["sessions"], "security": BEARER, "opt": {"scope": SESSION_ONLY}}


async def provide_logins(state: State) -> Logins:
    """Litestar dependency ``logins``."""
    logins: Logins = state.logins
    return logins


async def provide_refreshes(state: State) -> Refreshes:
    """Litestar dependency ``refreshes``."""
    refreshes: Refreshes = state.refreshes
    return refreshes


@post(
    "/api/v1/auth/login",
    status_code=200,
    tags=["sessions"],
    responses=problems(401, 403, 415, 423, 429),
    request_class=FormOrJson,
    operation_class=FormOrJsonOperation,
    summary="Log in",
    description=(
        "By username or e-mail address, with JSON or with the form of OAuth2's password grant. What `device_token` an "
        "earlier login on the device gave goes into the field or into the header `X-Device-Token`: a lock against "
        "strangers does not hold there. 401: `invalid_credentials`. 403: `user_inactive`, `password_reset_required`, "
        "both only to whoever knows the password. 423: `account_locked`. 429: `rate_limited`."
    ),
)
async def login(data: Credentials, logins: Logins, origin: Origin) -> Response[LoginTokens]:
    """Start a session."""
    grant = await logins.log_in(Realm.USERS, data.username, data.password, origin.on(data.device_token))
    return Response(LoginTokens.of_login(grant), headers=NO_STORE)


@post(
    "/api/v1/auth/refresh",
    status_code=200,
    tags=["sessions"],
    responses=problems(401, 429),
    summary="Go on with a session",
    description=(
        "The refresh token is used up by it. For a few seconds its holder may ask again and gets the same answer; "
        "after that, using it again ends the session. 401: `invalid_refresh_token`. 429: `rate_limited`."
    ),
)
async def refresh(data: RefreshRequest, refreshes: Refreshes, origin: Origin) -> Response[Tokens]:
    """Exchange a refresh token for a new pair."""
    return Response(Tokens.of(await refreshes.refresh(Realm.USERS, data.refresh_token, origin)), headers=NO_STORE)


@post(
    "/api/v1/auth/logout",
    status_code=204,
    **OWN,
    summary="Log out",
    description=(
        "Ends the session of the access token, and that of a `refresh_token` of yours in the body. Within seconds no "
        "access token of theirs is good anywhere."
    ),
)
async def log_out(
    principal: Principal, session: AsyncSession, state: State, origin: Origin, data: Logout | None = None
) -> None:
    """End the caller's session."""
    ids = {principal.session_id}
    issuer: Issuer = state.issuer
    if data and data.refresh_token and (token := issuer.read(data.refresh_token)):
        ids.add(token.session_id)
    await _end(session, principal, ids, "logout", origin)


@post("/api/v1/auth/logout-all", status_code=204, **OWN, summary="Log out everywhere")
async def log_out_everywhere(principal: Principal, session: AsyncSession, origin: Origin) -> None:
    """End every session of the caller, this one too."""
    await _end(session, principal, sessions.ALL, "logout everywhere", origin)


@get("/api/v1/auth/sessions", **OWN, summary="See where you are logged in")
async def list_sessions(principal: Principal, session: AsyncSession, state: State) -> Response[SessionList]:
    """List the caller's sessions, the one used last first; at most 100 live at a time."""
    settings: AuthSettings = state.settings
    user = await queries.user_by_id(session, principal.user_id)
    rows = await sessions.live(session, user, idle=settings.refresh_idle) if user else []
    return Response(SessionList(items=[SessionItem.of(row, principal.session_id) for row in rows]), headers=NO_STORE)


@delete(
    "/api/v1/auth/sessions/{session_id:uuid}",
    **OWN,
    responses=problems(404),
    summary="Log out somewhere else",
    description="404: `unknown_session`, also for a session of somebody else's.",
)
async def end_session(session_id: UUID, principal: Principal, session: AsyncSession, origin: Origin) -> None:
    """End one of the caller's sessions."""
    if not await _end(session, principal, {session_id}, "ended by its owner", origin):
        raise NotFoundError("unknown_session", "You have no session of this id.")


async def _end(
    session: AsyncSession, principal: Principal, ids: set[UUID] | sessions.All, reason: str, origin: Origin
) -> int:
    user: User | None = await queries.user_by_id(session, principal.user_id)
    if user is None:
        return 0
    return await sessions.end(session, user, ids, reason=reason, actor=Actor.user(user.id), origin=origin)


HANDLERS = [login, refresh, log_out, log_out_everywhere, list_sessions, end_session]
