"""Seeing where one is logged in, and leaving: here, there, and everywhere."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from sqlalchemy import text

from auth import sessions
from auth.app import create_app
from auth.audit import SYSTEM
from auth.domain import RefreshToken
from auth.models import User
from auth.origin import OPERATOR
from auth.settings import AuthSettings
from common import clock
from common.db import Database
from devstack.testing import eventually, running

LOGIN, REFRESH, SESSIONS = "/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/auth/sessions"
LOGOUT, LOGOUT_ALL = "/api/v1/auth/logout", "/api/v1/auth/logout-all"


def bearer(tokens: Mapping[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def sid(tokens: Mapping[str, str]) -> UUID:
    return UUID(jwt.decode(tokens["access_token"], options={"verify_signature": False})["sid"])


async def log_in(client: httpx.AsyncClient, account: Mapping[str, str], **headers: str) -> dict[str, str]:
    body = {"username": account["username"], "password": account["password"]}
    response = await client.post(LOGIN, json=body, headers=headers)
    assert response.status_code == 200, response.text
    tokens: dict[str, str] = response.json()
    return tokens


async def goes_on(client: httpx.AsyncClient, tokens: Mapping[str, str]) -> bool:
    response = await client.post(REFRESH, json={"refresh_token": tokens["refresh_token"]})
    assert response.status_code in {200, 401}
    return response.status_code == 200


async def refused_everywhere(client: httpx.AsyncClient, tokens: Mapping[str, str]) -> None:
    """Wait until the access token of an ended session is refused, as the event told."""

    async def refused() -> bool:
        return (await client.get("/api/v1/users/me", headers=bearer(tokens))).status_code == 401

    await eventually(refused, seconds=5, what="the end of an access token")


async def test_the_list_tells_where_from_and_with_what_and_which_one_this_is(
    client: httpx.AsyncClient, account: dict[str, str]
) -> None:
    before = clock.now()
    phone = await log_in(client, account, **{"User-Agent": "Phone/1.0", "X-Forwarded-For": "203.0.113.7"})
    laptop = await log_in(client, account, **{"User-Agent": "Laptop\x01/2.0", "X-Forwarded-For": "2001:db8::1"})
    response = await client.get(SESSIONS, headers=bearer(phone))
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    shown = response.json()["items"]
    assert [(one["id"], one["device"], one["address"], one["current"]) for one in shown] == [
        (str(sid(laptop)), "Laptop/2.0", "2001:db8::1", False),
        (str(sid(phone)), "Phone/1.0", "203.0.113.7", True),
    ]
    assert set(shown[0]) == {"id", "device", "address", "created_at", "last_seen_at", "expires_at", "current"}
    for one in shown:
        created, seen = (datetime.fromisoformat(one[name]) for name in ("created_at", "last_seen_at"))
        assert before <= created == seen <= clock.now()


async def test_a_refresh_tells_when_and_where_a_session_was_seen_last(
    client: httpx.AsyncClient, account: dict[str, str]
) -> None:
    tokens = await log_in(client, account, **{"User-Agent": "App/1", "X-Forwarded-For": "203.0.113.7"})
    body = {"refresh_token": tokens["refresh_token"]}
    await client.post(REFRESH, json=body, headers={"User-Agent": "App/2", "X-Forwarded-For": "198.51.100.2"})
    (shown,) = (await client.get(SESSIONS, headers=bearer(tokens))).json()["items"]
    assert (shown["device"], shown["address"]) == ("App/2", "198.51.100.2")
    assert shown["last_seen_at"] > shown["created_at"]


async def test_a_client_writes_no_address_of_its_own_choice(client: httpx.AsyncClient, account: dict[str, str]) -> None:
    tokens = await log_in(client, account, **{"X-Forwarded-For": "10.0.0.1, 203.0.113.9", "User-Agent": "x" * 1000})
    (shown,) = (await client.get(SESSIONS, headers=bearer(tokens))).json()["items"]
    assert (shown["address"], len(shown["device"])) == ("203.0.113.9", 300)


async def test_logout_ends_the_session_of_its_token_and_no_other(
    client: httpx.AsyncClient, account: dict[str, str], published: Any
) -> None:
    leaving, staying = await log_in(client, account), await log_in(client, account)
    response = await client.post(LOGOUT, headers=bearer(leaving))
    assert (response.status_code, response.content) == (204, b"")
    assert not await goes_on(client, leaving)
    assert await goes_on(client, staying)
    await refused_everywhere(client, leaving)
    assert (await client.get("/api/v1/users/me", headers=bearer(staying))).status_code == 200
    user_id = jwt.decode(leaving["access_token"], options={"verify_signature": False})["sub"]
    (event,) = await published("session.revoked", UUID(user_id))
    assert (event.session_ids, event.reason) == ([sid(leaving)], "logout")


async def test_logout_ends_the_session_of_a_refresh_token_in_the_body_too(
    client: httpx.AsyncClient, account: dict[str, str]
) -> None:
    here, there, third = [await log_in(client, account) for _ in range(3)]
    body = {"refresh_token": there["refresh_token"]}
    assert (await client.post(LOGOUT, json=body, headers=bearer(here))).status_code == 204
    assert [await goes_on(client, one) for one in (here, there, third)] == [False, False, True]


async def test_a_refresh_token_of_somebody_else_in_the_body_ends_nothing_of_theirs(
    client: httpx.AsyncClient, newcomer: Any
) -> None:
    mine, other = await newcomer(), await newcomer()
    for token in (other.tokens["refresh_token"], "pdr_garbage", ""):
        tokens = (await mine.log_in()).json()
        response = await client.post(LOGOUT, json={"refresh_token": token}, headers=bearer(tokens))
        assert response.status_code == 204
        assert not await goes_on(client, tokens)
    assert await goes_on(client, other.tokens)


@pytest.mark.parametrize("body", [b'{"refresh_token": 1}', b'{"everything": true}', b"[]"])
async def test_a_body_that_is_no_logout_is_refused_and_ends_nothing(newcomer: Any, body: bytes) -> None:
    someone = await newcomer()
    headers = someone.headers | {"Content-Type": "application/json"}
    assert (await someone.http.post(LOGOUT, content=body, headers=headers)).status_code == 422
    assert await goes_on(someone.http, someone.tokens)


async def test_logout_everywhere_ends_all_sessions_of_the_caller_alone(newcomer: Any, published: Any) -> None:
    someone, other = await newcomer(), await newcomer()
    tokens = [someone.tokens, *[(await someone.log_in()).json() for _ in range(3)]]
    assert (await someone.http.post(LOGOUT_ALL, headers=someone.headers)).status_code == 204
    for one in tokens:
        assert not await goes_on(someone.http, one)
        await refused_everywhere(someone.http, one)
    assert await goes_on(other.http, other.tokens)
    (event,) = await published("session.revoked", someone.id)
    assert set(event.session_ids) == {sid(one) for one in tokens}


async def test_a_session_elsewhere_is_ended_by_its_id(newcomer: Any) -> None:
    someone = await newcomer()
    elsewhere = (await someone.log_in()).json()
    assert (await someone.call("DELETE", f"/auth/sessions/{sid(elsewhere)}")).status_code == 204
    assert not await goes_on(someone.http, elsewhere)
    await refused_everywhere(someone.http, elsewhere)
    assert [one["id"] for one in (await someone.get("/auth/sessions")).json()["items"]] == [str(sid(someone.tokens))]


async def test_a_session_of_somebody_else_is_as_absent_as_one_that_never_was(newcomer: Any) -> None:
    someone, other = await newcomer(), await newcomer()
    for session_id in (sid(other.tokens), uuid4()):
        response = await someone.call("DELETE", f"/auth/sessions/{session_id}")
        assert (response.status_code, response.json()["code"]) == (404, "unknown_session")
    assert await goes_on(other.http, other.tokens)
    assert (await someone.call("DELETE", "/auth/sessions/not-an-id")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", LOGOUT),
        ("POST", LOGOUT_ALL),
        ("GET", SESSIONS),
        ("DELETE", f"{SESSIONS}/0195c0de-0000-7000-8000-00000000000f"),
    ],
)
async def test_sessions_take_a_token(client: httpx.AsyncClient, method: str, path: str) -> None:
    assert (await client.request(method, path)).status_code == 401


async def test_the_one_used_longest_ago_makes_room_for_the_hundred_and_first(
    newcomer: Any, database: Database, published: Any
) -> None:
    someone = await newcomer()
    async with database.transaction() as session:
        fill = text(
            "INSERT INTO sessions (id, user_id, generation, created_at, rotated_at, expires_at)"
            " SELECT gen_random_uuid(), :user, 0, now(), now(), now() + interval '1 day' FROM generate_series(1, 99)"
        )
        await session.execute(fill, {"user": someone.id})
        stale = text("UPDATE sessions SET rotated_at = now() - interval '1 hour' WHERE id = :id RETURNING id")
        oldest = text("SELECT id FROM sessions WHERE user_id = :user AND id <> :mine LIMIT 1")
        idle = await session.scalar(oldest, {"user": someone.id, "mine": sid(someone.tokens)})
        await session.execute(stale, {"id": idle})
    assert len((await someone.get("/auth/sessions")).json()["items"]) == 100
    logins = await asyncio.gather(*(someone.log_in() for _ in range(5)))
    listed = await someone.http.get(SESSIONS, headers=bearer(logins[-1].json()))
    shown = {one["id"] for one in listed.json()["items"]}
    assert len(shown) == 100
    assert str(idle) not in shown
    events = await published("session.revoked", someone.id)
    assert {event.reason for event in events} == {"too many sessions"}
    assert sum(len(event.session_ids) for event in events) == 5


async def test_what_has_run_out_is_not_in_the_list(newcomer: Any, database: Database, settings: AuthSettings) -> None:
    someone = await newcomer()
    idle, expired = [sid((await someone.log_in()).json()) for _ in range(2)]
    async with database.transaction() as session:
        sleep = text("UPDATE sessions SET rotated_at = now() - CAST(:idle AS interval) WHERE id = :id")
        await session.execute(sleep, {"id": idle, "idle": settings.refresh_idle})
        await session.execute(text("UPDATE sessions SET expires_at = now() WHERE id = :id"), {"id": expired})
    assert [one["id"] for one in (await someone.get("/auth/sessions")).json()["items"]] == [str(sid(someone.tokens))]


async def test_an_end_keeps_one_and_names_what_else_is_refused(
    newcomer: Any, database: Database, published: Any
) -> None:
    someone = await newcomer()
    other, program = sid((await someone.log_in()).json()), uuid4()
    async with database.transaction() as session:
        user = await session.get_one(User, someone.id)
        ended = await sessions.end(
            session,
            user,
            sessions.ALL,
            reason="tests",
            actor=SYSTEM,
            origin=OPERATOR,
            keep=sid(someone.tokens),
            also=[program],
        )
    assert ended == 1
    (event,) = await published("session.revoked", someone.id)
    assert event.session_ids == [other, program]
    assert await goes_on(someone.http, someone.tokens)


async def test_an_end_that_is_undone_ended_nothing(newcomer: Any, database: Database, published: Any) -> None:
    someone = await newcomer()
    async with database.transaction() as session:
        user = await session.get_one(User, someone.id)
        await sessions.end(session, user, sessions.ALL, reason="tests", actor=SYSTEM, origin=OPERATOR)
        await session.rollback()
    assert await published("session.revoked", someone.id) == []
    assert await goes_on(someone.http, someone.tokens)


async def test_no_login_that_is_under_way_escapes_the_end_of_all(newcomer: Any, database: Database) -> None:
    someone = await newcomer()
    async with database.transaction() as session:
        user = await session.get_one(User, someone.id)
        user.password_hash = "$2b$04$" + "." * 53  # as a change of the password does it
        await session.flush()
        late = asyncio.create_task(someone.log_in())
        waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%users%'")

        async def waiting() -> bool:
            async with database.transaction() as other:
                return bool(await other.scalar(waits))

        await eventually(waiting, what="a login that waits for its account")
        await sessions.end(session, user, sessions.ALL, reason="tests", actor=SYSTEM, origin=OPERATOR)
    response = await late
    assert (response.status_code, response.json()["code"]) == (401, "invalid_credentials")
    async with database.transaction() as session:
        query = text("SELECT count(*) FROM sessions WHERE user_id = :user AND revoked_at IS NULL")
        assert await session.scalar(query, {"user": someone.id}) == 0


async def test_what_is_issued_before_an_end_is_not_younger_than_it(newcomer: Any, published: Any) -> None:
    someone = await newcomer()
    race = [someone.http.post(LOGOUT_ALL, headers=someone.headers)]
    race += [someone.http.post(REFRESH, json={"refresh_token": someone.tokens["refresh_token"]}) for _ in range(10)]
    _, *refreshes = await asyncio.gather(*race)
    (event,) = await published("session.revoked", someone.id)
    for response in refreshes:
        if response.status_code == 200:
            issued = jwt.decode(response.json()["access_token"], options={"verify_signature": False})["iat"]
            assert issued <= event.revoked_at.timestamp()
            await refused_everywhere(someone.http, response.json())


async def test_every_end_is_in_the_audit_log(newcomer: Any, database: Database) -> None:
    someone = await newcomer()
    other = sid((await someone.log_in()).json())
    await someone.call("DELETE", f"/auth/sessions/{other}", **{"X-Forwarded-For": "203.0.113.4"})
    await someone.call("POST", "/auth/logout")
    async with database.transaction() as session:
        query = text(
            "SELECT action, actor_kind, actor_id, address, before, after FROM audit WHERE target_id = :user"
            " AND action IN ('login', 'session.end', 'register') ORDER BY id"
        )
        rows = (await session.execute(query, {"user": someone.id})).all()
    assert [row.action for row in rows] == ["register", "login", "login", "session.end", "session.end"]
    assert {(row.actor_kind, row.actor_id) for row in rows} == {("user", someone.id)}
    ends = [(row.before, row.after, row.address) for row in rows[3:]]
    assert ends[0] == ({"sessions": [str(other)]}, {"reason": "ended by its owner"}, "203.0.113.4")
    assert ends[1][1] == {"reason": "logout"}


async def test_a_token_of_another_kind_of_session_does_not_refresh(
    client: httpx.AsyncClient, database: Database, settings: AuthSettings
) -> None:
    """An admin's session is none of a user's, and stays when its token is tried in the wrong place."""
    admin_id, session_id = uuid4(), uuid4()
    name = f"admin_{admin_id.hex[:12]}"
    async with database.transaction() as session:
        admin = text(
            "INSERT INTO admins (id, username, email, password_hash, scopes, created_at)"
            " VALUES (:id, :name, :email, '', '{}', now())"
        )
        await session.execute(admin, {"id": admin_id, "name": name, "email": f"{name}@example.com"})
        started = text(
            "INSERT INTO sessions (id, admin_id, generation, created_at, rotated_at, expires_at)"
            " VALUES (:id, :admin, 0, now(), now(), now() + interval '1 day')"
        )
        await session.execute(started, {"id": session_id, "admin": admin_id})
    token = RefreshToken(session_id=session_id, generation=0).seal(settings.refresh_secret.encode())
    response = await client.post(REFRESH, json={"refresh_token": token})
    assert (response.status_code, response.json()["code"]) == (401, "invalid_refresh_token")
    async with database.transaction() as session:
        query = text("SELECT generation, revoked_at FROM sessions WHERE id = :id")
        assert (await session.execute(query, {"id": session_id})).one() == (0, None)


async def test_an_end_here_is_an_end_at_every_replica(newcomer: Any, settings: AuthSettings) -> None:
    someone = await newcomer()
    async with running(create_app(settings)) as other:
        assert (await other.get("/api/v1/users/me", headers=someone.headers)).status_code == 200
        await someone.call("POST", "/auth/logout")
        await refused_everywhere(other, someone.tokens)
