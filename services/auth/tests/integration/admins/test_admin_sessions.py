"""Admins log in as users do, and are nothing to users' routes, sessions and locks."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from sqlalchemy import select, text

from auth.models import AuditEntry
from auth.settings import AuthSettings
from common.db import Database
from devstack.testing import eventually

PATH = "/api/v1/admin/auth"
PASSWORD = "Scrutineer-2026"
Boss = Any
MakeBoss = Any

LogIn = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
def enter(client: httpx.AsyncClient) -> LogIn:
    """Try to log in as an admin."""

    async def attempt(username: str, password: str = PASSWORD) -> httpx.Response:
        return await client.post(f"{PATH}/login", json={"username": username, "password": password})

    return attempt


def bearer(response: httpx.Response) -> dict[str, str]:
    assert response.status_code == 200, response.text
    return {"Authorization": f"Bearer {response.json()['access_token']}"}


async def entries(database: Database, target: UUID) -> list[AuditEntry]:
    async with database.transaction() as session:
        query = select(AuditEntry).where(AuditEntry.target_id == target).order_by(AuditEntry.id)
        return list((await session.scalars(query)).all())


async def test_a_login_gives_a_token_for_the_routes_of_admins_with_their_scopes(
    client: httpx.AsyncClient, make_boss: MakeBoss, enter: LogIn, settings: AuthSettings, database: Database
) -> None:
    boss = await make_boss("users:read", "audit:read")
    for login in (boss.username, boss.username.upper(), boss.email):
        response = await enter(login)
        assert response.headers["cache-control"] == "no-store"
        claims = jwt.decode(response.json()["access_token"], options={"verify_signature": False})
        assert (claims["aud"], claims["sub"]) == (settings.token_admin_audience, str(boss.id))
        assert claims["scope"] == "audit:read users:read"
        me = await client.get("/api/v1/admin/me", headers=bearer(response))
        assert (me.json()["username"], me.json()["scopes"]) == (boss.username, ["audit:read", "users:read"])
        assert (await client.get("/api/v1/users/me", headers=bearer(response))).status_code == 401
    form = await client.post(f"{PATH}/login", data={"username": boss.username, "password": PASSWORD})
    assert form.status_code == 200
    actions = [(entry.action, entry.actor_kind) for entry in await entries(database, boss.id)]
    assert actions == [("admin.create", "operator"), *[("login", "admin")] * 4]


async def test_users_and_admins_of_one_name_are_two(
    client: httpx.AsyncClient, account: dict[str, str], enter: LogIn, boss: Boss, make_boss: MakeBoss
) -> None:
    assert (await enter(account["username"], account["password"])).status_code == 401
    body = {"username": boss.username, "password": PASSWORD}
    assert (await client.post("/api/v1/auth/login", json=body)).status_code == 401
    twin = await make_boss("users:read")
    person = {"username": twin.username, "email": twin.email, "password": account["password"]}
    assert (await client.post("/api/v1/auth/register", json=person)).status_code == 201
    assert (await enter(twin.username, account["password"])).status_code == 401
    assert (await enter(twin.username)).status_code == 200
    credentials = {"username": twin.username, "password": account["password"]}
    assert (await client.post("/api/v1/auth/login", json=credentials)).status_code == 200
    for _ in range(5):
        await enter(twin.username, "Wrong password 1")
    assert (await enter(twin.username)).status_code in {200, 423}
    assert (await client.post("/api/v1/auth/login", json=credentials)).status_code == 200


async def test_guessing_an_admins_password_is_locked_and_recorded(
    enter: LogIn, make_boss: MakeBoss, database: Database
) -> None:
    boss = await make_boss("users:read")
    answers = [await enter(boss.username, "Wrong password 1") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [423]
    assert int(answers[-1].headers["retry-after"]) > 1700
    assert (await enter(boss.username)).status_code == 423
    nobody = f"nobody_{uuid4().hex[:8]}"
    unknown = [await enter(nobody, "Wrong password 1") for _ in range(6)]
    assert [answer.status_code for answer in unknown] == [401] * 5 + [423]
    for known, guessed in zip(answers, unknown, strict=True):
        one, other = known.json(), guessed.json()
        del one["request_id"], other["request_id"]
        assert one == other
    actions = [entry.action for entry in await entries(database, boss.id)]
    assert actions == ["admin.create", *["login.failure"] * 5, "account.lock"]


async def test_a_session_goes_on_by_refresh_in_its_own_realm_alone(
    client: httpx.AsyncClient, make_boss: MakeBoss, enter: LogIn, log_in: Any
) -> None:
    boss = await make_boss("users:read")
    tokens = (await enter(boss.username)).json()
    users = await log_in()

    async def refresh(path: str, token: str) -> httpx.Response:
        return await client.post(path, json={"refresh_token": token})

    for path, token in (("/api/v1/auth/refresh", tokens), (f"{PATH}/refresh", users)):
        response = await refresh(path, token["refresh_token"])
        assert (response.status_code, response.json()["code"]) == (401, "invalid_refresh_token")
    assert (await refresh("/api/v1/auth/refresh", users["refresh_token"])).status_code == 200
    again = await refresh(f"{PATH}/refresh", tokens["refresh_token"])
    assert (await client.get("/api/v1/admin/me", headers=bearer(again))).status_code == 200
    third = await refresh(f"{PATH}/refresh", again.json()["refresh_token"])
    assert third.status_code == 200
    reused = await refresh(f"{PATH}/refresh", tokens["refresh_token"])
    assert reused.status_code == 401
    assert (await refresh(f"{PATH}/refresh", third.json()["refresh_token"])).status_code == 401
    assert (
        await client.get("/api/v1/admin/me", headers={"Authorization": f"Bearer {third.json()['refresh_token']}"})
    ).status_code == 401


async def test_logging_out_ends_this_session_and_its_token(
    client: httpx.AsyncClient, make_boss: MakeBoss, enter: LogIn
) -> None:
    boss = await make_boss("users:read")
    one, two = await enter(boss.username), await enter(boss.username)
    assert (await client.post(f"{PATH}/logout", headers=bearer(one))).status_code == 204
    body = {"refresh_token": one.json()["refresh_token"]}
    assert (await client.post(f"{PATH}/refresh", json=body)).status_code == 401

    async def refused() -> bool:
        return (await client.get("/api/v1/admin/users", headers=bearer(one))).status_code == 401

    await eventually(refused, seconds=5, what="the refusal of the token")
    assert (await client.get("/api/v1/admin/users", headers=bearer(two))).status_code == 200


@pytest.mark.parametrize("change", ["deactivate", "scopes"])
async def test_an_admin_who_is_taken_back_is_out_at_once(
    client: httpx.AsyncClient, boss: Boss, make_boss: MakeBoss, enter: LogIn, change: str
) -> None:
    other = await make_boss("users:read", "users:write")
    login = await enter(other.username)
    assert (await client.get("/api/v1/admin/users", headers=bearer(login))).status_code == 200
    one = f"/api/v1/admin/admins/{other.id}"
    if change == "deactivate":
        response = await client.post(f"{one}/deactivate", headers=boss.headers)
    else:
        response = await client.patch(one, json={"scopes": ["users:read"]}, headers=boss.headers)
    assert response.status_code == 200

    async def refused() -> bool:
        return (await client.get("/api/v1/admin/users", headers=bearer(login))).status_code == 401

    await eventually(refused, seconds=5, what="the refusal of the token")
    body = {"refresh_token": login.json()["refresh_token"]}
    assert (await client.post(f"{PATH}/refresh", json=body)).status_code == 401
    again = await enter(other.username)
    if change == "deactivate":
        assert (again.status_code, again.json()["code"]) == (403, "user_inactive")
    else:
        claims = jwt.decode(again.json()["access_token"], options={"verify_signature": False})
        assert claims["scope"] == "users:read"


async def test_a_new_password_needs_the_old_one_and_ends_other_sessions(
    client: httpx.AsyncClient, make_boss: MakeBoss, enter: LogIn, database: Database
) -> None:
    boss = await make_boss("users:read")
    here, there = await enter(boss.username), await enter(boss.username)

    async def change(current: str, new: str) -> tuple[int, str]:
        body = {"current_password": current, "new_password": new}
        response = await client.post(f"{PATH}/password", json=body, headers=bearer(here))
        return response.status_code, response.json()["code"] if response.content else ""

    new = "Parc-ferme-2026"
    assert await change("Wrong password 1", new) == (403, "wrong_password")
    assert await change(PASSWORD, "weak") == (422, "invalid_request")
    assert await change(PASSWORD, "Password123") == (422, "invalid_request")
    assert await change(PASSWORD, new) == (204, "")
    assert (await enter(boss.username)).status_code == 401
    assert (await enter(boss.username, new)).status_code == 200
    for login, status in ((here, 200), (there, 401)):
        body = {"refresh_token": login.json()["refresh_token"]}
        assert (await client.post(f"{PATH}/refresh", json=body)).status_code == status
    actions = [entry.action for entry in await entries(database, boss.id)]
    assert actions.count("password.change") == 1
    async with database.transaction() as session:
        log = "\n".join((await session.scalars(text("SELECT audit::text FROM audit"))).all())
    assert not [secret for secret in (PASSWORD, new, "Wrong password 1") if secret in log]
