"""What admins do to accounts: each act, its effect, its refusals, and its entry in the log, before and after."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import func, select, text, update

from auth import audit
from auth.models import AuditEntry, Guard, LoginSession, Mail, User
from common import clock
from common.db import Database
from devstack.testing import eventually

Boss = Any
MakeBoss = Any
PATH = "/api/v1/admin/users"
LOGIN = "/api/v1/auth/login"

Act = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
async def user_id(account: dict[str, str], database: Database) -> UUID:
    async with database.transaction() as session:
        found = await session.scalar(select(User.id).where(User.username == account["username"]))
    assert found is not None
    return found


@pytest.fixture
def act(client: httpx.AsyncClient, boss: Boss, user_id: UUID) -> Act:
    """Do something to the account."""

    async def do(name: str, method: str = "POST") -> httpx.Response:
        return await client.request(method, f"{PATH}/{user_id}/{name}".rstrip("/"), headers=boss.headers)

    return do


@pytest.fixture
async def attempt(client: httpx.AsyncClient, account: dict[str, str]) -> Callable[[], Awaitable[int]]:
    """Try to log in; tell the status."""

    async def attempt() -> int:
        body = {"username": account["username"], "password": account["password"]}
        return (await client.post(LOGIN, json=body)).status_code

    return attempt


@pytest.fixture
async def refresh(client: httpx.AsyncClient) -> Callable[[dict[str, str]], Awaitable[int]]:
    """Try to go on with a session; tell the status."""

    async def attempt(tokens: dict[str, str]) -> int:
        body = {"refresh_token": tokens["refresh_token"]}
        return (await client.post("/api/v1/auth/refresh", json=body)).status_code

    return attempt


async def entries(database: Database, target: UUID, prefix: str = "user.") -> list[AuditEntry]:
    async with database.transaction() as session:
        query = select(AuditEntry).where(AuditEntry.target_id == target, AuditEntry.action.startswith(prefix))
        return list((await session.scalars(query.order_by(AuditEntry.id))).all())


async def events(database: Database, user_id: UUID) -> list[str]:
    async with database.transaction() as session:
        query = text("SELECT subject FROM outbox WHERE key = :key ORDER BY id")
        return list((await session.scalars(query, {"key": str(user_id)})).all())


async def test_an_account_is_shown_with_all_there_is(
    client: httpx.AsyncClient, boss: Boss, user_id: UUID, account: dict[str, str], log_in: Any, database: Database
) -> None:
    tokens = await log_in()
    own = {"Authorization": f"Bearer {tokens['access_token']}"}
    wanted = {"name": "my bot", "scopes": ["leagues:read"], "expires_in_days": 30}
    assert (await client.post("/api/v1/users/me/tokens", json=wanted, headers=own)).status_code == 201
    until = clock.now() + timedelta(minutes=5)
    async with database.transaction() as session:
        session.add(
            Guard(
                subject=uuid4().bytes,
                origin="stranger",
                user_id=user_id,
                failures=5,
                pending=0,
                last_at=clock.now(),
                locked_until=until,
            )
        )
    response = await client.get(f"{PATH}/{user_id}", headers=boss.headers)
    shown = response.json()
    assert response.status_code == 200
    assert response.headers["etag"] == f'"{shown["version"]}"'
    assert response.headers["cache-control"] == "no-store"
    assert (shown["username"], shown["email"]) == (account["username"], account["email"])
    assert [token["name"] for token in shown["tokens"]] == ["my bot"]
    assert len(shown["sessions"]) == 1
    assert [(lock["origin"], lock["failures"]) for lock in shown["locks"] if lock["failures"]] == [("stranger", 5)]
    assert shown["locked_until"] is not None
    assert shown["preferences"]["theme"] == "system"
    secrets = ("password_hash", "token_hash", "generation", "subject", "hash")
    assert not [name for name in secrets if f'"{name}"' in response.text]
    listed = await client.get(PATH, params={"q": account["email"].upper(), "locked": "true"}, headers=boss.headers)
    assert [item["id"] for item in listed.json()["items"]] == [str(user_id)]
    assert (listed.json()["total"], listed.json()["skip"], listed.json()["limit"]) == (1, 0, 20)


@pytest.mark.parametrize(
    "query",
    [
        "q=x",
        "registered_from=2026-01-01T00:00:00",
        "limit=0",
        "limit=101",
        "skip=-1",
        "sort=password_hash",
        "active=perhaps",
        "registered_from=yesterday",
    ],
)
async def test_a_filter_that_means_nothing_is_refused(client: httpx.AsyncClient, boss: Boss, query: str) -> None:
    response = await client.get(f"{PATH}?{query}", headers=boss.headers)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(("off", "method"), [("deactivate", "POST"), ("block", "PATCH")])
async def test_a_blocked_account_is_out_at_once_and_comes_back(
    act: Act, attempt: Any, log_in: Any, refresh: Any, user_id: UUID, database: Database, off: str, method: str
) -> None:
    tokens = await log_in()
    for _ in range(2):
        response = await act(off, method)
        assert response.status_code == 200
        assert response.json()["deactivated_at"] is not None
        assert response.json()["sessions"] == []
    assert await attempt() in {401, 403}
    assert await refresh(tokens) == 401
    for _ in range(2):
        assert (await act("activate", method)).json()["deactivated_at"] is None
    assert await attempt() == 200
    first, second = await entries(database, user_id)
    assert (first.action, second.action) == ("user.deactivate", "user.activate")
    assert first.before is not None
    assert first.after is not None
    assert first.before["deactivated_at"] is None
    assert first.after["deactivated_at"] is not None
    assert second.before == first.after
    told = await events(database, user_id)
    assert [subject for subject in told if "activated" in subject] == ["user.deactivated", "user.activated"]
    assert "session.revoked" in told


async def test_a_forced_logout_ends_every_session_and_nothing_else(
    act: Act, attempt: Any, log_in: Any, refresh: Any, database: Database, user_id: UUID
) -> None:
    one, two = await log_in(), await log_in()
    assert (await act("logout")).json()["sessions"] == []
    for tokens in (one, two):
        assert await refresh(tokens) == 401
    assert await attempt() == 200
    assert [entry.action for entry in await entries(database, user_id)] == ["user.logout"]


async def test_a_lock_is_lifted(
    act: Act, client: httpx.AsyncClient, account: dict[str, str], database: Database
) -> None:
    wrong = {"username": account["username"], "password": "Wrong password 1"}
    codes = [(await client.post(LOGIN, json=wrong)).status_code for _ in range(6)]
    assert codes[-1] == 423
    response = await act("unlock")
    assert response.json()["locks"] == []
    assert (await client.post(LOGIN, json=wrong)).status_code == 401
    async with database.transaction() as session:
        query = select(AuditEntry).where(AuditEntry.action == "user.unlock")
        assert (await session.scalars(query.order_by(AuditEntry.id.desc()))).first() is not None


async def test_a_forced_reset_lets_only_a_new_password_help(
    act: Act, attempt: Any, log_in: Any, refresh: Any, user_id: UUID, database: Database
) -> None:
    tokens = await log_in()
    response = await act("force-reset")
    assert response.json()["must_reset_password"] is True
    assert response.json()["sessions"] == []
    assert await refresh(tokens) == 401
    assert await attempt() in {401, 403}
    async with database.transaction() as session:
        kinds = (await session.scalars(select(Mail.kind).where(Mail.user_id == user_id))).all()
    assert "reset_password" in kinds
    (entry,) = await entries(database, user_id)
    assert entry.action == "user.force_reset"
    assert entry.after is not None
    assert entry.after["must_reset_password"] is True


async def test_a_deleted_account_is_gone_and_can_be_restored(
    act: Act, attempt: Any, user_id: UUID, database: Database, client: httpx.AsyncClient, boss: Boss
) -> None:
    for _ in range(2):
        assert (await act("", "DELETE")).status_code == 204
    assert await attempt() in {401, 403}
    for name in ("activate", "deactivate", "logout", "unlock", "force-reset"):
        response = await act(name)
        assert (response.status_code, response.json()["code"]) == (409, "user_deleted")
    changed = await client.patch(f"{PATH}/{user_id}", json={"full_name": "X"}, headers=boss.headers)
    assert changed.json()["code"] == "user_deleted"
    assert (await client.get(f"{PATH}/{user_id}", headers=boss.headers)).json()["deleted_at"] is not None
    for _ in range(2):
        assert (await act("restore")).json()["deleted_at"] is None
    assert await attempt() == 200
    assert [entry.action for entry in await entries(database, user_id)] == ["user.delete", "user.restore"]


async def test_a_name_that_was_taken_meanwhile_stands_against_a_restore(
    act: Act, client: httpx.AsyncClient, account: dict[str, str]
) -> None:
    await act("", "DELETE")
    again = await client.post("/api/v1/auth/register", json=account)
    assert again.status_code == 201
    response = await act("restore")
    assert (response.status_code, response.json()["code"]) in {(409, "username_taken"), (409, "email_taken")}


async def test_a_correction_is_recorded_without_telling_the_names(
    client: httpx.AsyncClient, boss: Boss, user_id: UUID, account: dict[str, str], database: Database
) -> None:
    new = {"username": f"New_{uuid4().hex[:8]}", "email": "someone.else@example.net", "full_name": "Someone Else"}
    tag = (await client.get(f"{PATH}/{user_id}", headers=boss.headers)).headers["etag"]
    response = await client.put(f"{PATH}/{user_id}", json=new, headers={**boss.headers, "If-Match": tag})
    assert response.status_code == 200
    assert {name: response.json()[name] for name in new} == new
    assert response.json()["email_verified_at"] is None
    stale = await client.patch(f"{PATH}/{user_id}", json={"full_name": "X"}, headers={**boss.headers, "If-Match": tag})
    assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
    same = await client.patch(f"{PATH}/{user_id}", json=new, headers=boss.headers)
    assert same.status_code == 200
    (entry,) = await entries(database, user_id)
    assert entry.action == "user.change"
    assert set(entry.before or {}) == set(entry.after or {}) == set(new)
    told = str((entry.before, entry.after))
    for value in (*new.values(), account["username"], account["email"]):
        assert value not in told
    assert "user.updated" in await events(database, user_id)


@pytest.mark.parametrize(
    "body",
    [
        {"is_admin": True},
        {"password_hash": "x"},
        {"deactivated_at": None},
        {"id": str(uuid4())},
        {"email": "no address"},
        {"username": "a b"},
        {"full_name": "bell\u0007"},
    ],
)
async def test_what_cannot_be_corrected_so_is_refused(
    client: httpx.AsyncClient, boss: Boss, user_id: UUID, body: dict[str, Any]
) -> None:
    response = await client.patch(f"{PATH}/{user_id}", json=body, headers=boss.headers)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


async def test_many_are_changed_in_one_request(
    client: httpx.AsyncClient, boss: Boss, database: Database, user_id: UUID
) -> None:
    others = []
    for number in range(3):
        name = f"many_{uuid4().hex[:10]}"
        body = {"username": name, "email": f"{name}@example.com", "password": "Slipstream44"}
        others.append((await client.post("/api/v1/auth/register", json=body)).json()["id"])
        if number == 0:
            await client.delete(f"{PATH}/{others[0]}", headers=boss.headers)
    unknown = str(uuid4())
    wanted = [str(user_id), *others, unknown, others[1]]

    async def bulk(action: str) -> dict[str, str]:
        body = {"action": action, "user_ids": wanted}
        response = await client.post(f"{PATH}/bulk", json=body, headers=boss.headers)
        assert response.status_code == 200, response.text
        return {item["user_id"]: item["outcome"] for item in response.json()["items"]}

    expected = {str(user_id): "done", others[0]: "user_deleted", others[1]: "done", others[2]: "done"}
    assert await bulk("deactivate") == {**expected, unknown: "unknown_user"}
    again = await asyncio.gather(bulk("deactivate"), bulk("deactivate"), bulk("logout"))
    assert again[0][others[1]] == "unchanged"
    assert (await bulk("activate"))[others[2]] == "done"
    actions = [entry.action for entry in await entries(database, user_id)]
    assert (actions.count("user.deactivate"), actions.count("user.activate")) == (1, 1)
    many = [str(uuid4()) for _ in range(101)]
    for action, ids in (("deactivate", []), ("deactivate", many), ("erase", wanted)):
        asked = {"action": action, "user_ids": ids}
        assert (await client.post(f"{PATH}/bulk", json=asked, headers=boss.headers)).status_code == 422


async def test_an_act_and_its_entry_happen_both_or_neither(
    act: Act, user_id: UUID, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: AuditEntry) -> bytes:
        raise OSError("the log cannot be written")

    monkeypatch.setattr(audit, "hash_of", broken)
    assert (await act("deactivate")).status_code >= 500
    monkeypatch.undo()
    async with database.transaction() as session:
        user = await session.get(User, user_id)
    assert user is not None
    assert user.deactivated_at is None
    assert await entries(database, user_id) == []


async def test_each_route_asks_for_its_scope(client: httpx.AsyncClient, make_boss: MakeBoss, user_id: UUID) -> None:
    reader = await make_boss("users:read", "audit:read", "admins:read", "admins:write")
    writer = await make_boss("users:write", "admins:read", "admins:write")
    one = f"{PATH}/{user_id}"
    acts = ("activate", "deactivate", "block", "unlock", "logout", "force-reset", "restore")
    writes = [("POST", f"{one}/{name}") for name in acts]
    writes += [("PATCH", one), ("PUT", one), ("DELETE", one), ("POST", f"{PATH}/bulk")]
    reads = [("GET", PATH), ("GET", one), ("GET", "/api/v1/admin/audit")]
    for boss, calls in ((reader, writes), (writer, reads)):
        for method, path in calls:
            body = {"action": "logout", "user_ids": [str(user_id)]} if path.endswith("bulk") else {}
            response = await client.request(method, path, headers=boss.headers, json=body)
            assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope"), (method, path)
    for method, path in [*writes, *reads]:
        unknown = path.replace(str(user_id), str(uuid4()))
        if unknown != path and method not in {"PATCH", "PUT"}:
            headers = writer.headers if (method, path) in writes else reader.headers
            assert (await client.request(method, unknown, headers=headers)).status_code == 404, (method, path)


async def test_the_log_is_read_in_pages_and_by_filters(client: httpx.AsyncClient, boss: Boss, user_id: UUID) -> None:
    for name in ("deactivate", "activate", "logout"):
        headers = {**boss.headers, "X-Request-Id": f"request-of-{name}-{user_id.hex[:8]}"}
        await client.post(f"{PATH}/{user_id}/{name}", headers=headers)

    async def read(**params: Any) -> dict[str, Any]:
        response = await client.get("/api/v1/admin/audit", params=params, headers=boss.headers)
        assert response.status_code == 200, response.text
        page: dict[str, Any] = response.json()
        return page

    found = (await read(target_id=str(user_id), action="user."))["items"]
    assert [entry["action"] for entry in found] == ["user.logout", "user.activate", "user.deactivate"]
    assert {entry["actor_id"] for entry in found} == {str(boss.id)}
    pages, before = [], None
    while True:
        page = await read(target_id=str(user_id), action="user.", limit=1, **({"before": before} if before else {}))
        pages += page["items"]
        if (before := page["next_before"]) is None:
            break
    assert pages == found
    by_request = await read(request_id=f"request-of-activate-{user_id.hex[:8]}")
    assert {entry["action"] for entry in by_request["items"]} == {"user.activate"}
    instant = found[1]["at"]
    assert found[2] in (await read(target_id=str(user_id), until=instant))["items"]
    assert found[2] not in (await read(target_id=str(user_id), since=instant))["items"]
    assert (await read(target_id=str(user_id), actor_kind="operator"))["items"] == []
    assert (await read(target_id=str(user_id), action="user"))["items"] == []


async def test_erasing_somebody_leaves_the_chain_whole_and_nothing_of_their_name_in_it(
    act: Act, app: Litestar, user_id: UUID, account: dict[str, str], log_in: Any, database: Database
) -> None:
    await log_in()
    await act("logout")
    await act("", "DELETE")
    async with database.transaction() as session:
        await session.execute(
            update(User).where(User.id == user_id).values(deleted_at=clock.now() - timedelta(days=31))
        )
    await eventually(app.state.purge.run, what="the purge, unless another process is at it")
    async with database.transaction() as session:
        assert await session.get(User, user_id) is None
        count = select(func.count()).select_from(LoginSession).where(LoginSession.user_id == user_id)
        assert await session.scalar(count) == 0
        rows = await session.scalars(text("SELECT audit::text FROM audit"))
        log = "\n".join(rows.all())
    assert str(user_id) in log
    assert account["email"] not in log
    assert account["username"] not in log
    assert (await audit.verify(database)).fault is None
