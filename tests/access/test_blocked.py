"""Somebody whom an admin blocks is out everywhere within two seconds, by event, and comes back when let in again."""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import httpx
import jwt
import pytest

from auth import admins
from auth.admin_scopes import ADMIN_SCOPES
from auth.admins import NewAdmin
from auth.passwords import PasswordHasher
from auth.settings import AuthSettings
from common.db import Database
from devstack.stack import Stack
from devstack.testing import eventually

SECONDS = 2.0
PASSWORD = "Tyres-Hot-99"
PATHS = {
    "gateway": "/api/v1/races",
    "auth": "/api/v1/users/me",
    "leagues": "/api/v1/teams",
    "scoring": f"/api/v1/leagues/{uuid4()}/leaderboard",
    "webhooks": "/api/v1/webhooks",
}
"""What takes a token, of everybody who verifies any."""


@pytest.fixture(scope="module")
def stack(stacks: Callable[..., Stack]) -> Stack:
    return stacks()


async def appointed(stack: Stack) -> str:
    """Make an admin as an operator does, and log in; return the access token."""
    settings = AuthSettings(database_url=stack.database_url, bcrypt_cost=4)
    database = Database(settings, "auth")
    chief = NewAdmin(username="chief", email="chief@example.org", scopes=frozenset(ADMIN_SCOPES))
    assert await admins.appoint(database, PasswordHasher(settings), chief, PASSWORD, another=False)
    await database.close()
    return await logged_in(stack, "/api/v1/admin/auth/login", "chief")


async def logged_in(stack: Stack, path: str, name: str) -> str:
    async with httpx.AsyncClient(base_url=stack.gateway_url, timeout=30) as http:
        answer = await http.post(path, json={"username": name, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def answers(stack: Stack, token: str) -> dict[str, int]:
    """Ask everybody, directly."""
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30) as http:
        responses = await asyncio.gather(*(http.get(stack.urls[name] + path) for name, path in PATHS.items()))
    return {name: response.status_code for name, response in zip(PATHS, responses, strict=True)}


@pytest.mark.timeout(300)
async def test_a_blocked_user_is_refused_by_everybody_within_two_seconds(stack: Stack) -> None:
    chief = await appointed(stack)
    name = f"player_{uuid4().hex[:10]}"
    account = {"username": name, "email": f"{name}@example.org", "password": PASSWORD}
    async with httpx.AsyncClient(
        base_url=f"{stack.gateway_url}/api/v1", headers={"Authorization": f"Bearer {chief}"}, timeout=30
    ) as http:
        assert (await http.post("/auth/register", json=account, headers={"Authorization": ""})).status_code == 201
        token = await logged_in(stack, "/api/v1/auth/login", name)
        user_id = UUID(jwt.decode(token, options={"verify_signature": False})["sub"])
        assert 401 not in (await answers(stack, token)).values(), "everybody has seen the token"
        assert set((await answers(stack, chief)).values()) == {401}, "an admin is nobody there"
        assert (await http.get("/admin/users", headers={"Authorization": f"Bearer {token}"})).status_code == 401
        found = await http.get("/admin/users", params={"q": name.upper()})
        assert [item["id"] for item in found.json()["items"]] == [str(user_id)]

        assert (await http.post(f"/admin/users/{user_id}/deactivate")).status_code == 200
        blocked = time.monotonic()

        async def refused() -> bool:
            return set((await answers(stack, token)).values()) == {401}

        await eventually(refused, seconds=10, what="a refusal by everybody")
        assert time.monotonic() - blocked < SECONDS
        credentials = {"username": name, "password": PASSWORD}
        login = await http.post("/auth/login", json=credentials, headers={"Authorization": ""})
        assert (login.status_code, login.json()["code"]) == (403, "user_inactive")

        assert (await http.post(f"/admin/users/{user_id}/activate")).status_code == 200
        again = await logged_in(stack, "/api/v1/auth/login", name)
        assert 401 not in (await answers(stack, again)).values()
        assert await refused(), "the old token stays dead"
        log = (await http.get("/admin/audit", params={"target_id": str(user_id), "action": "user."})).json()["items"]
    assert [entry["action"] for entry in log] == ["user.activate", "user.deactivate"]
    assert all(entry["address"] == "127.0.0.1" and entry["request_id"] and entry["trace_id"] for entry in log)
