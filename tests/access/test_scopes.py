"""Scopes hold on every operation of every service: each has one, says so, and refuses a token that lacks it."""

import importlib
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from litestar import Litestar, get
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from sqlalchemy import text

from auth.jwts import Bearer, access_token
from auth.scopes import SCOPES
from common import clock, migrate
from common.http import BEARER
from common.security import LOGIN, SESSION_ONLY, DocumentedScopes, Principal, provide_principal, scope_of
from devstack.testing import SettingsMaker, TokenMaker
from gateway.merging import merge
from gateway.routes import GATEWAY, TABLE

CALLERS = {"principal", "visitor"}
"""The dependencies that are a user; `visitor` may be nobody."""
FOR_PROGRAMS = {
    ("GET", "/api/v1/auth/me"),
    ("GET", "/api/v1/users/me"),
    ("PUT", "/api/v1/users/me"),
    ("PATCH", "/api/v1/users/me"),
    ("GET", "/api/v1/users/me/preferences"),
    ("PUT", "/api/v1/users/me/preferences"),
    ("PUT", "/api/v1/auth/preferences"),
    ("PUT", "/api/v1/users/me/avatar"),
    ("DELETE", "/api/v1/users/me/avatar"),
    ("GET", "/api/v1/users/search"),
    ("GET", "/api/v1/users/{username}/profile"),
    ("GET", "/api/v1/users/{user_id}/avatar"),
}
"""What a program may do in accounts. Everything else takes a login: a new operation is on one side or the other."""

QUERIES = {"/api/v1/users/search": "?q=somebody"}
"""What has to be asked: without it a request is a 422 before anybody looks who asks."""


class Operation(msgspec.Struct, frozen=True):
    """One method of one path of a service."""

    service: str
    method: str
    path: str
    handler: HTTPRouteHandler
    takes: frozenset[str]
    """The dependencies it stands on, directly or not."""

    @property
    def scope(self) -> str:
        return scope_of(self.service, self.method, self.handler.opt)

    @property
    def call(self) -> tuple[str, str]:
        return self.method, self.path


def operations(service: str, app: Litestar) -> Iterator[Operation]:
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for method, (handler, kwargs) in route.route_handler_map.items():
            takes = {dependency.key for batch in kwargs.dependency_batches for dependency in batch}
            if method != "OPTIONS":
                yield Operation(service, method, _template(route.path), handler, frozenset(takes))


def _template(path: str) -> str:
    return "/".join(f"{{{part[1:].split(':')[0]}}}" if part.startswith("{") else part for part in path.split("/"))


def _filled(path: str) -> str:
    ids = {"season": "2026", "round": "1", "race_id": "2026-1", "username": "nobody", "kind": "driver"}
    parts = [ids.get(part[1:-1], str(uuid4())) if part.startswith("{") else part for part in path.split("/")]
    return "/".join(parts) + QUERIES.get(path, "")


def faults(found: list[Operation]) -> list[str]:
    """Say where a user is taken without a scope of the closed list, or without saying that a token is needed."""
    wrong = []
    for one in found:
        name = f"{one.service}: {one.method} {one.path}"
        if one.takes & CALLERS and one.scope not in {*SCOPES, SESSION_ONLY}:
            wrong.append(f"{name} asks for {one.scope}, which nobody can have")
        if ("principal" in one.takes or "admin" in one.takes) != bool(one.handler.security):
            wrong.append(f"{name} does not say whether it takes a token")
        if "principal" in one.takes and "admin" in one.takes:
            wrong.append(f"{name} is for users and for admins")
    return wrong


@pytest.fixture(scope="module")
async def apps(settings_for: SettingsMaker) -> dict[str, Litestar]:
    """Every service on real databases; nothing of theirs runs in the background."""
    made = {}
    for service in migrate.SERVICES:
        kind = getattr(importlib.import_module(f"{service}.settings"), f"{service.capitalize()}Settings")
        made[service] = importlib.import_module(f"{service}.app").create_app(await settings_for(service, kind))
    return made


@pytest.fixture(scope="module")
def every(apps: dict[str, Litestar]) -> list[Operation]:
    return [one for service, app in apps.items() for one in operations(service, app)]


def test_every_operation_that_takes_a_user_has_a_scope_and_says_so(every: list[Operation]) -> None:
    assert len([one for one in every if one.takes & CALLERS]) > 30, "the operations were not found"
    assert faults(every) == []


def test_every_scope_is_asked_for_somewhere(every: list[Operation]) -> None:
    asked = {one.scope for one in every if one.takes & CALLERS} | {route.scope for route in TABLE if route.scope}
    assert asked - {SESSION_ONLY} == set(SCOPES)


def test_in_accounts_a_program_may_do_what_is_listed_and_nothing_else(every: list[Operation]) -> None:
    mine = [one for one in every if one.service == "auth" and one.takes & CALLERS]
    assert {one.call for one in mine if one.scope != SESSION_ONLY} == FOR_PROGRAMS


@pytest.mark.parametrize(
    "word", ["password", "email", "token", "session", "logout", "export", "delete", "erase", "restore"]
)
def test_what_is_about_credentials_takes_a_login(every: list[Operation], word: str) -> None:
    about = [one for one in every if one.service == "auth" and one.takes & CALLERS and word in one.path]
    assert [one.call for one in about if one.scope != SESSION_ONLY] == []


def test_the_documents_show_the_scope_of_every_operation(apps: dict[str, Litestar], every: list[Operation]) -> None:
    shown = {
        (service, method.upper(), path): operation.get("security")
        for service, app in apps.items()
        for path, item in app.openapi_schema.to_schema()["paths"].items()
        for method, operation in item.items()
    }
    documented = [one for one in every if (one.service, *one.call) in shown]
    assert len(documented) == len(shown)
    for one in documented:
        security = shown[one.service, *one.call]
        if "admin" in one.takes:
            assert security == [{"bearer": [role for role in ("admin", one.handler.opt.get("scope")) if role]}]
        elif "principal" in one.takes:
            assert security == [{"bearer": [one.scope or LOGIN]}]
        else:
            assert security is None


def test_the_merged_document_shows_them_too(apps: dict[str, Litestar]) -> None:
    documents = {service: app.openapi_schema.to_schema() for service, app in apps.items()}
    stream: dict[str, Any] = {"paths": {"/api/v1/stream": {"get": {"responses": {}}}}}
    merged = merge({**documents, GATEWAY: stream}, [], TABLE, "/")["paths"]
    assert merged["/api/v1/leagues"]["post"]["security"] == [{"bearer": ["leagues:write"]}]
    assert merged["/api/v1/users/me/tokens"]["post"]["security"] == [{"bearer": [LOGIN]}]
    assert merged["/api/v1/stream"]["get"]["security"] == [{}, {"bearer": ["stream:read"]}]


def test_the_documentation_lists_the_scopes_there_are() -> None:
    page = (Path(__file__).parents[2] / "docs/accounts.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z]+:[a-z]+)` \|", page, re.MULTILINE)) == set(SCOPES)


class Caller(msgspec.Struct):
    """Calls one service as somebody."""

    app: Litestar
    tokens: TokenMaker
    user_id: Any

    async def call(self, one: Operation, scopes: set[str] | None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {await self._token(one.service, scopes)}"}
        body: dict[str, Any] = {"json": {}} if one.method in {"POST", "PUT", "PATCH"} else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)  # type: ignore[arg-type] # as in testing
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:
            return await client.request(one.method, _filled(one.path), headers=headers, **body)

    async def _token(self, service: str, scopes: set[str] | None) -> str:
        if service != "auth":
            return self.tokens.make(self.user_id, scope=None if scopes is None else " ".join(sorted(scopes)))
        settings = self.app.state.settings
        bearer = Bearer(
            id=self.user_id,
            username="somebody",
            session_id=uuid4(),
            verified=True,
            scopes=None if scopes is None else frozenset(scopes),
        )
        return access_token(
            await self.app.state.signing_keys.signer(),
            bearer,
            issuer=settings.token_issuer,
            audience=settings.token_audience,
            issued_at=clock.now(),
            life=settings.refresh_grace * 10,
        )


@pytest.fixture(scope="module")
async def callers(apps: dict[str, Litestar], tokens: TokenMaker) -> AsyncIterator[dict[str, Caller]]:
    """One user, known to `auth`, at every service."""
    user_id = uuid4()
    insert = (
        "INSERT INTO users (id, username, email, password_hash, created_at) "
        "VALUES (:id, :name, :name || '@example.com', 'none', now())"
    )
    async with apps["auth"].state.database.transaction() as session:
        await session.execute(text(insert), {"id": user_id, "name": f"scoped_{user_id.hex[:12]}"})
    yield {service: Caller(app, tokens, user_id) for service, app in apps.items()}
    for app in apps.values():
        await app.state.database.close()


@pytest.mark.timeout(180)
async def test_every_operation_refuses_a_token_without_its_scope_and_takes_one_with_it(
    every: list[Operation], callers: dict[str, Caller]
) -> None:
    wrong = []
    for one in every:
        if not one.takes & CALLERS:
            continue
        caller = callers[one.service]
        without = await caller.call(one, set(SCOPES) - {one.scope})
        if (without.status_code, _code(without)) != (403, "insufficient_scope"):
            wrong.append(f"{one.call} without its scope: {without.status_code}")
        nothing = await caller.call(one, set())
        if (nothing.status_code, _code(nothing)) != (403, "insufficient_scope"):
            wrong.append(f"{one.call} without any scope: {nothing.status_code}")
        allowed = None if one.scope == SESSION_ONLY else {one.scope}
        with_it = await caller.call(one, allowed)
        if with_it.status_code in {401, 500} or _code(with_it) == "insufficient_scope":
            wrong.append(f"{one.call} with its scope: {with_it.status_code} {with_it.text}")
    assert wrong == []


def _code(response: httpx.Response) -> str:
    problem = response.headers.get("content-type") == "application/problem+json"
    return str(response.json()["code"]) if problem else ""


@get("/pit-wall", security=BEARER)
async def listen_in(principal: Principal) -> None:
    """Stand at the pit wall."""


@get("/quietly")
async def listen_quietly(principal: Principal) -> None:
    """Stand there without a word."""


def test_the_rules_can_fail() -> None:
    app = Litestar(
        [listen_in, listen_quietly],
        dependencies={"principal": Provide(provide_principal)},
        plugins=[DocumentedScopes("pitwall")],
        openapi_config=None,
    )
    found = faults(list(operations("pitwall", app)))
    assert len([fault for fault in found if "which nobody can have" in fault]) == 2
    assert [fault for fault in found if "does not say" in fault] == [
        "pitwall: GET /quietly does not say whether it takes a token"
    ]
