"""Admins: who makes them, who changes them, and what nobody can do to themselves."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from sqlalchemy import select

from auth import admins, audit
from auth.admin_scopes import ADMIN_SCOPES, ADMINS_WRITE
from auth.admins import NewAdmin
from auth.app import create_app
from auth.models import Admin, AuditEntry
from auth.origin import OPERATOR
from auth.passwords import PasswordHasher
from auth.settings import AuthSettings
from common.db import Database
from common.errors import ConflictError, InvalidError
from common.security import AdminPrincipal
from devstack.testing import TokenMaker, running

PATH = "/api/v1/admin/admins"
PASSWORD = "Scrutineer-2026"
Boss = Any
MakeBoss = Any


def body(*scopes: str, **changes: Any) -> dict[str, Any]:
    name = f"boss_{uuid4().hex[:12]}"
    return {"username": name, "email": f"{name}@example.com", "password": PASSWORD, "scopes": list(scopes), **changes}


async def entries(database: Database, target: str) -> list[AuditEntry]:
    async with database.transaction() as session:
        query = select(AuditEntry).where(AuditEntry.target_id == target).order_by(AuditEntry.id)
        return list((await session.scalars(query)).all())


async def test_an_admin_makes_another_with_scopes_they_hold(
    client: httpx.AsyncClient, boss: Boss, database: Database
) -> None:
    wanted = body("users:read", "users:write")
    response = await client.post(PATH, json=wanted, headers=boss.headers)
    assert response.status_code == 201
    made = response.json()
    assert made | {"id": "", "created_at": ""} == {
        "id": "",
        "username": wanted["username"],
        "email": wanted["email"],
        "scopes": ["users:read", "users:write"],
        "created_at": "",
        "password_changed_at": None,
        "deactivated_at": None,
    }
    assert made in (await client.get(PATH, headers=boss.headers)).json()["items"]
    (entry,) = await entries(database, made["id"])
    assert (entry.action, entry.actor_kind, entry.actor_id) == ("admin.create", "admin", boss.id)
    assert entry.after is not None
    assert entry.after["scopes"] == ["users:read", "users:write"]
    assert wanted["email"] not in str(entry.after)
    assert PASSWORD not in str(entry.after)


async def test_nobody_gives_or_takes_what_they_do_not_hold(
    client: httpx.AsyncClient, boss: Boss, make_boss: MakeBoss
) -> None:
    keeper = await make_boss("admins:write", "users:read")
    refused = await client.post(PATH, json=body("audit:read"), headers=keeper.headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_not_held")
    made = (await client.post(PATH, json=body("users:read"), headers=keeper.headers)).json()
    for scopes in (["users:read", "audit:read"], ["users:write"]):
        refused = await client.patch(f"{PATH}/{made['id']}", json={"scopes": scopes}, headers=keeper.headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "scope_not_held")
    more = await client.patch(f"{PATH}/{made['id']}", json={"scopes": ["audit:read"]}, headers=boss.headers)
    assert more.json()["scopes"] == ["audit:read"]
    refused = await client.patch(f"{PATH}/{made['id']}", json={"scopes": []}, headers=keeper.headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_not_held")


async def test_nobody_changes_themselves(client: httpx.AsyncClient, boss: Boss) -> None:
    for call in (
        client.patch(f"{PATH}/{boss.id}", json={"scopes": list(ADMIN_SCOPES)}, headers=boss.headers),
        client.post(f"{PATH}/{boss.id}/deactivate", headers=boss.headers),
        client.post(f"{PATH}/{boss.id}/activate", headers=boss.headers),
    ):
        response = await call
        assert (response.status_code, response.json()["code"]) == (409, "not_yourself")


async def test_an_admin_is_deactivated_and_activated_once_and_both_are_recorded(
    client: httpx.AsyncClient, boss: Boss, make_boss: MakeBoss, database: Database
) -> None:
    other = await make_boss("users:read")
    for act in ("deactivate", "deactivate", "activate", "activate"):
        response = await client.post(f"{PATH}/{other.id}/{act}", headers=boss.headers)
        assert response.status_code == 200
        assert (response.json()["deactivated_at"] is None) == (act == "activate")
    actions = [entry.action for entry in await entries(database, str(other.id))]
    assert actions == ["admin.create", "admin.deactivate", "admin.activate"]
    missing = await client.post(f"{PATH}/{uuid4()}/deactivate", headers=boss.headers)
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_admin")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"password": "nouppercase1"}, "password"),
        ({"password": "Sh0rt"}, None),
        ({"email": "not an address"}, "email"),
        ({"scopes": ["users:read", "everything"]}, "scopes"),
        ({"username": "a b"}, None),
        ({"is_active": True}, None),
        ({"deactivated_at": None}, None),
    ],
)
async def test_what_cannot_be_an_admin_is_refused(
    client: httpx.AsyncClient, boss: Boss, change: dict[str, Any], field: str | None
) -> None:
    response = await client.post(PATH, json=body("users:read", **change), headers=boss.headers)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    if field:
        assert [error["field"] for error in response.json()["errors"]] == [field]


async def test_names_and_addresses_are_one_admins_in_any_case(
    client: httpx.AsyncClient, boss: Boss, account: dict[str, str]
) -> None:
    first = body("users:read")
    assert (await client.post(PATH, json=first, headers=boss.headers)).status_code == 201
    for changes, code in (
        ({"username": first["username"].upper()}, "username_taken"),
        ({"email": first["email"].upper()}, "email_taken"),
    ):
        response = await client.post(PATH, json=body("users:read", **changes), headers=boss.headers)
        assert (response.status_code, response.json()["code"]) == (409, code)
    as_user = body("users:read", username=account["username"], email=account["email"])
    assert (await client.post(PATH, json=as_user, headers=boss.headers)).status_code == 201, "no user is an admin"


async def test_each_route_asks_for_its_scope(client: httpx.AsyncClient, make_boss: MakeBoss) -> None:
    reader = await make_boss("users:read", "users:write", "audit:read", "admins:read")
    writer = await make_boss("users:read", "users:write", "audit:read", "admins:write")
    assert (await client.get(PATH, headers=reader.headers)).status_code == 200
    assert (await client.post(PATH, json=body(), headers=writer.headers)).status_code == 201
    for call in (
        client.get(PATH, headers=writer.headers),
        client.post(PATH, json=body(), headers=reader.headers),
        client.patch(f"{PATH}/{uuid4()}", json={"scopes": []}, headers=reader.headers),
        client.post(f"{PATH}/{uuid4()}/deactivate", headers=reader.headers),
        client.post(f"{PATH}/{uuid4()}/activate", headers=reader.headers),
    ):
        response = await call
        assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")


def caller(admin: Admin) -> AdminPrincipal:
    return AdminPrincipal(
        admin_id=admin.id, username=admin.username, token_id="x", session_id=uuid4(), scopes=frozenset(admin.scopes)
    )


async def appointed(database: Database, name: str, *scopes: str) -> Admin:
    new = NewAdmin(username=name, email=f"{name}@example.com", scopes=frozenset(scopes))
    async with database.transaction() as session:
        return await admins.add(session, new, "x", actor=audit.OPERATOR, origin=OPERATOR)


async def test_two_who_take_each_other_out_at_once_leave_one(fresh_settings: AuthSettings) -> None:
    database = Database(fresh_settings, "auth")
    one = await appointed(database, "one", *ADMIN_SCOPES)
    two = await appointed(database, "two", *ADMIN_SCOPES)

    async def act(who: Admin, whom: Admin, *, scopes: bool) -> str:
        try:
            async with database.transaction() as session:
                if scopes:
                    await admins.change_scopes(session, caller(who), whom.id, frozenset(), origin=OPERATOR)
                else:
                    await admins.deactivate(session, caller(who), whom.id, origin=OPERATOR)
        except ConflictError as error:
            return error.code
        return "done"

    outcomes = await asyncio.gather(act(one, two, scopes=False), act(two, one, scopes=True))
    assert sorted(outcomes) == ["done", "last_admin"]
    async with database.transaction() as session:
        able = [admin for admin in await admins.everybody(session) if not admin.deactivated_at]
    assert len([admin for admin in able if ADMINS_WRITE in admin.scopes]) == 1
    await database.close()


async def test_the_first_admin_is_an_operators_and_later_ones_are_not(fresh_settings: AuthSettings) -> None:
    database, hasher = Database(fresh_settings, "auth"), PasswordHasher(fresh_settings)
    first = NewAdmin(username="chief", email="chief@example.com", scopes=frozenset(ADMIN_SCOPES))

    async def appoint(new: NewAdmin, password: str = PASSWORD, *, another: bool = False) -> bool:
        return await admins.appoint(database, hasher, new, password, another=another)

    with pytest.raises(InvalidError):
        await appoint(first, "weak password")
    assert sorted(await asyncio.gather(*(appoint(first) for _ in range(5)))) == [False, False, False, False, True]
    second = msgspec.structs.replace(first, username="second", email="second@example.com", scopes=frozenset())
    with pytest.raises(ConflictError, match="admins_exist"):
        await appoint(second)
    assert await appoint(second, another=True)
    assert await appoint(msgspec.structs.replace(second, scopes=frozenset({"audit:read"})))
    assert not await appoint(msgspec.structs.replace(second, scopes=frozenset()))
    async with database.transaction() as session:
        found = {admin.username: admin.scopes for admin in await admins.everybody(session)}
        actions = (await session.scalars(select(AuditEntry.action).order_by(AuditEntry.id))).all()
    assert found == {"chief": sorted(ADMIN_SCOPES), "second": ["audit:read"]}
    assert actions == ["admin.create", "admin.create", "admin.scopes"]
    await database.close()


async def test_a_users_token_is_nothing_to_admin_routes_and_an_admins_is_nothing_elsewhere(
    client: httpx.AsyncClient, boss: Boss, log_in: Any
) -> None:
    user = {"Authorization": f"Bearer {(await log_in())['access_token']}"}
    for headers in (user, {}):
        for path in (PATH, "/api/v1/admin/me", "/api/v1/admin/users", "/api/v1/admin/audit"):
            assert (await client.get(path, headers=headers)).status_code == 401, path
    for path in ("/api/v1/users/me", "/api/v1/users/me/tokens", "/api/v1/users/me/preferences"):
        assert (await client.get(path, headers=boss.headers)).status_code == 401, path


async def test_nobody_signs_an_admins_token_but_auth(settings: AuthSettings, tokens: TokenMaker) -> None:
    forged = tokens.make(aud=settings.token_admin_audience, scope=" ".join(ADMIN_SCOPES))
    async with running(create_app(settings)) as client:
        response = await client.get(PATH, headers={"Authorization": f"Bearer {forged}"})
    assert response.status_code == 401
