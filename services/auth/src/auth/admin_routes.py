"""The HTTP surface of admins: who there is and what they may do."""

from typing import Any
from uuid import UUID

from litestar import Response, get, patch, post
from litestar.datastructures import State
from sqlalchemy.ext.asyncio import AsyncSession

from auth import admins, sessions
from auth.admin_schemas import AdminInput, AdminList, AdminView, ScopesInput
from auth.admin_scopes import ADMINS_READ, ADMINS_WRITE
from auth.audit import Actor
from auth.models import Admin
from auth.origin import Origin
from auth.passwords import PasswordHasher
from common.http import BEARER, problems
from common.security import AdminPrincipal

PATH = "/api/v1/admin/admins"
ONE = f"{PATH}/{{admin_id:uuid}}"
NO_STORE = {"Cache-Control": "no-store"}
READ: dict[str, Any] = {"security": BEARER, "tags": ["admin"], "opt": {"scope": ADMINS_READ}}
WRITE: dict[str, Any] = {"security": BEARER, "tags": ["admin"], "opt": {"scope": ADMINS_WRITE}}


@get("/api/v1/admin/me", security=BEARER, tags=["admin"], summary="See your own account")
async def read_myself(session: AsyncSession, admin: AdminPrincipal) -> Response[AdminView]:
    """Show the admin who asks."""
    return Response(AdminView.of(await admins.own(session, admin)), headers=NO_STORE)


@get(PATH, **READ, summary="List admins")
async def list_admins(
    session: AsyncSession,
    admin: AdminPrincipal,  # noqa: ARG001 - must be one
) -> AdminList:
    """List all admins, the oldest first."""
    return AdminList(items=[AdminView.of(one) for one in await admins.everybody(session)])


@post(PATH, **WRITE, responses=problems(409), summary="Make an admin")
async def create_admin(
    data: AdminInput, session: AsyncSession, admin: AdminPrincipal, origin: Origin, state: State
) -> AdminView:
    """Make an admin with scopes that you hold yourself. 409: `username_taken`, `email_taken`. 403: `scope_not_held`."""
    new = data.new()
    admins.check(new, data.password)
    admins.require_held(admin, new.scopes)
    hasher: PasswordHasher = state.hasher
    password_hash = await hasher.hash(data.password)
    actor = Actor.admin(admin.admin_id)
    return AdminView.of(await admins.add(session, new, password_hash, actor=actor, origin=origin))


@patch(ONE, **WRITE, responses=problems(409), summary="Change what an admin may do")
async def change_admin(
    admin_id: UUID, data: ScopesInput, session: AsyncSession, admin: AdminPrincipal, origin: Origin
) -> AdminView:
    """Give an admin other scopes; they log in anew. 409: `not_yourself`, `last_admin`. 403: `scope_not_held`."""
    changed = await admins.change_scopes(session, admin, admin_id, frozenset(data.scopes), origin=origin)
    await _log_out(session, changed, "scopes changed", admin, origin)
    return AdminView.of(changed)


@post(f"{ONE}/deactivate", status_code=200, **WRITE, responses=problems(409), summary="Deactivate an admin")
async def deactivate_admin(admin_id: UUID, session: AsyncSession, admin: AdminPrincipal, origin: Origin) -> AdminView:
    """Let an admin in no more; within two seconds no token of theirs helps. 409: `not_yourself`, `last_admin`."""
    changed = await admins.deactivate(session, admin, admin_id, origin=origin)
    await _log_out(session, changed, "admin deactivated", admin, origin)
    return AdminView.of(changed)


@post(f"{ONE}/activate", status_code=200, **WRITE, responses=problems(409), summary="Activate an admin")
async def activate_admin(admin_id: UUID, session: AsyncSession, admin: AdminPrincipal, origin: Origin) -> AdminView:
    """Let an admin in again. 409: `not_yourself`. 403: `scope_not_held`."""
    return AdminView.of(await admins.activate(session, admin, admin_id, origin=origin))


async def _log_out(session: AsyncSession, who: Admin, reason: str, admin: AdminPrincipal, origin: Origin) -> None:
    actor = Actor.admin(admin.admin_id)
    await sessions.end(session, who, sessions.ALL, reason=reason, actor=actor, origin=origin)


HANDLERS = [read_myself, list_admins, create_admin, change_admin, deactivate_admin, activate_admin]
