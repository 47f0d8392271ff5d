"""A program's way through the product: gateway, `auth` and a service, from its token's first use to the last."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
import uvicorn
from litestar import Litestar
from sqlalchemy import select

from auth import audit, deletion
from auth.app import create_app as create_auth
from auth.links import Links, Purpose
from auth.models import User
from auth.origin import OPERATOR
from auth.settings import AuthSettings
from common import denials
from common.settings import Environment
from common.tokens import PATTERN, is_token, new_token
from devstack.testing import Servers, SettingsMaker, eventually
from gateway import exchange
from gateway.app import create_app as create_gateway
from gateway.settings import GatewaySettings
from leagues.app import create_app as create_leagues
from leagues.settings import LeaguesSettings

ROOT = Path(__file__).parents[2]
TOKENS = "/api/v1/users/me/tokens"
SECONDS = 2.0
"""How long after a revocation something may still be answered (S3, S7)."""


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an app as in production and give its URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, proxy_headers=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())

    async def started() -> bool:
        if task.done():
            await task
        return server.started

    await eventually(started, what="the server's start")
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        if hasattr(app, "drain"):
            app.drain()
        server.should_exit = True
        await task


@dataclass
class Product:
    """What a client and an insider can reach."""

    auth: Litestar
    urls: dict[str, str]
    http: httpx.AsyncClient

    async def call(self, method: str, path: str, token: str, at: str = "gateway", **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return await self.http.request(method, self.urls[at] + path, headers=headers, **options)

    async def enter(self) -> tuple[UUID, str]:
        """Open an account and log in; return user and access token."""
        name = f"player_{uuid4().hex[:12]}"
        account = {"username": name, "email": f"{name}@example.org", "password": "Tyres-Hot-99"}
        url = f"{self.urls['gateway']}/api/v1/auth"
        registered = await self.http.post(f"{url}/register", json=account)
        assert registered.status_code == 201, registered.text
        login = await self.http.post(f"{url}/login", json={"username": name, "password": account["password"]})
        return UUID(registered.json()["id"]), str(login.json()["access_token"])

    async def token(self, session: str, *scopes: str) -> dict[str, Any]:
        body = {"name": f"program {uuid4().hex[:8]}", "scopes": scopes, "expires_in_days": 30}
        response = await self.call("POST", TOKENS, session, json=body)
        assert response.status_code == 201, response.text
        made: dict[str, Any] = response.json()
        return made

    async def exchanged(self, token: str) -> str:
        """Ask as the gateway does."""
        answer = await self.http.post(f"{self.urls['auth']}/internal/tokens/exchange", json={"token": token})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


@pytest.fixture(scope="module")
async def product(prepared: Servers, settings_for: SettingsMaker) -> AsyncIterator[Product]:
    async with contextlib.AsyncExitStack() as stack:
        settings = msgspec.structs.replace(await settings_for("auth", AuthSettings), bcrypt_cost=4)
        auth = create_auth(settings)
        urls = {"auth": await stack.enter_async_context(serving(auth))}
        own = msgspec.structs.replace(await settings_for("leagues", LeaguesSettings), auth_url=urls["auth"])
        urls["leagues"] = await stack.enter_async_context(serving(create_leagues(own)))
        gateway = GatewaySettings(
            paddock_env=Environment.TEST,
            nats_url=prepared.nats_url,
            redis_url=prepared.redis_url,
            auth_url=urls["auth"],
            leagues_url=urls["leagues"],
            gateway_limit_default_per_minute=0,
            gateway_limit_credentials_per_minute=0,
            gateway_limit_user_per_minute=0,
            gateway_limit_exchange_per_minute=0,
        )
        urls["gateway"] = await stack.enter_async_context(serving(create_gateway(gateway)))
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
        yield Product(auth, urls, http)


async def test_a_program_does_what_its_scopes_say_and_nothing_else(product: Product) -> None:
    _, session = await product.enter()
    token = (await product.token(session, "account:read", "leagues:read"))["token"]
    for path in ("/api/v1/users/me", "/api/v1/leagues", "/api/v1/teams"):
        assert (await product.call("GET", path, token)).status_code == 200
    refused: dict[str, list[tuple[str, Any]]] = {
        "POST": [("/api/v1/leagues", {"name": "A league"}), ("/api/v1/teams", {"name": "A team"}), (TOKENS, {})],
        "GET": [(TOKENS, None)],
        "PATCH": [("/api/v1/users/me", {})],
    }
    for method, calls in refused.items():
        for path, body in calls:
            response = await product.call(method, path, token, json=body)
            assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope"), path
    wider = (await product.token(session, "leagues:write"))["token"]
    made = await product.call("POST", "/api/v1/leagues", wider, json={"name": "Ours"})
    assert made.status_code in {201, 409}, "the game's rules are asked, whatever season there is"
    assert (await product.call("GET", "/api/v1/leagues", wider)).status_code == 403


async def test_a_personal_token_opens_no_service_that_is_reached_directly(product: Product) -> None:
    _, session = await product.enter()
    token = (await product.token(session, "account:read", "leagues:read"))["token"]
    for at, path in (("auth", "/api/v1/users/me"), ("leagues", "/api/v1/leagues")):
        response = await product.call("GET", path, token, at=at)
        assert (response.status_code, response.json()["code"]) == (401, "invalid_token")


async def dies(product: Product, token: str, exchanged: str, ended: float) -> None:
    """Hold the end of a token against the time it may take, at the gateway and at services reached directly."""

    async def refused() -> bool:
        asked = [
            product.call("GET", "/api/v1/leagues", token),
            product.call("GET", "/api/v1/leagues", exchanged),
            product.call("GET", "/api/v1/leagues", exchanged, at="leagues"),
            product.call("GET", "/api/v1/users/me", exchanged, at="auth"),
        ]
        return {response.status_code for response in await asyncio.gather(*asked)} == {401}

    await eventually(refused, seconds=10, what="a refusal by everybody")
    assert time.monotonic() - ended < SECONDS
    again = await product.http.post(f"{product.urls['auth']}/internal/tokens/exchange", json={"token": token})
    assert again.status_code == 401


async def used(product: Product, session: str) -> tuple[dict[str, Any], str]:
    """Make a token and use it everywhere, so that everybody remembers it."""
    made = await product.token(session, "account:read", "leagues:read")
    exchanged = await product.exchanged(made["token"])
    for token, at in ((made["token"], "gateway"), (exchanged, "gateway"), (exchanged, "leagues"), (exchanged, "auth")):
        path = "/api/v1/users/me" if at == "auth" else "/api/v1/leagues"
        assert (await product.call("GET", path, token, at=at)).status_code == 200
    return made, exchanged


async def test_a_revoked_token_is_dead_everywhere_within_two_seconds(product: Product) -> None:
    _, session = await product.enter()
    made, exchanged = await used(product, session)
    other, _ = await used(product, session)
    assert (await product.call("DELETE", f"{TOKENS}/{made['id']}", session)).status_code == 204
    await dies(product, made["token"], exchanged, time.monotonic())
    assert (await product.call("GET", "/api/v1/leagues", other["token"])).status_code == 200
    assert (await product.call("GET", "/api/v1/leagues", session)).status_code == 200


async def test_a_reset_of_the_password_ends_tokens_and_a_change_does_not(product: Product) -> None:
    user_id, session = await product.enter()
    made, exchanged = await used(product, session)
    passwords = {"current_password": "Tyres-Hot-99", "new_password": "Tyres-Cold-11"}
    changed = await product.call("PUT", "/api/v1/users/me/password", session, json=passwords)
    assert changed.status_code == 204, changed.text
    assert (await product.call("GET", "/api/v1/leagues", made["token"])).status_code == 200
    links = Links(product.auth.state.settings)
    async with product.auth.state.database.transaction() as transaction:
        user = (await transaction.scalars(select(User).where(User.id == user_id).with_for_update())).one()
        row = await links.issue(transaction, user, Purpose.RESET_PASSWORD, user.email)
    body = {"token": links.token(row), "password": "Tyres-Warm-22"}
    reset = await product.http.post(f"{product.urls['gateway']}/api/v1/auth/reset-password", json=body)
    assert reset.status_code == 204, reset.text
    await dies(product, made["token"], exchanged, time.monotonic())


async def change(product: Product, user_id: UUID, what: Callable[..., Awaitable[None]]) -> None:
    """Change the state of an account as an admin does."""
    async with product.auth.state.database.transaction() as session:
        user = (await session.scalars(select(User).where(User.id == user_id).with_for_update())).one()
        await what(session, user, actor=audit.OPERATOR, origin=OPERATOR)


async def test_tokens_stop_with_the_account_come_back_with_it_and_die_when_it_is_deleted(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denials, "SKEW_SECONDS", 0)
    monkeypatch.setattr(exchange, "REFUSED_SECONDS", 0.1)
    user_id, session = await product.enter()
    made, exchanged = await used(product, session)
    await change(product, user_id, deletion.deactivate)
    await dies(product, made["token"], exchanged, time.monotonic())

    async def works() -> bool:
        return (await product.call("GET", "/api/v1/leagues", made["token"])).status_code == 200

    await change(product, user_id, deletion.activate)
    await eventually(works, seconds=20, what="the token's return")
    exchanged = await product.exchanged(made["token"])
    await change(product, user_id, deletion.soft_delete)
    await dies(product, made["token"], exchanged, time.monotonic())
    await change(product, user_id, deletion.restore)
    answer = await product.http.post(f"{product.urls['auth']}/internal/tokens/exchange", json={"token": made["token"]})
    assert answer.status_code == 401, "for good"


def tokens_in(text: str) -> Iterator[str]:
    return (match[0] for match in PATTERN.finditer(text) if is_token(match[0]))


def test_no_token_is_written_anywhere_in_the_repository(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)  # noqa: S607 - git of the machine
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    planted = tmp_path / "planted.py"
    planted.write_text(f'TOKEN = "{new_token()}"  # and pdk_{"0" * 36}, which has no checksum of its own')
    assert len(files) > 500, "the files were not found"
    existing = [file for file in files if file.is_file()]
    found = [file for file in [*existing, planted] if any(tokens_in(file.read_bytes().decode("latin-1")))]
    assert found == [planted]
