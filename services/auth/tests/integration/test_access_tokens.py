"""Tokens for programs: shown once, stored as a hash, limited in number, name, time and scope, and ended at once."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import msgspec
import pytest
from litestar import Litestar
from sqlalchemy import CursorResult, event, text

from auth import access_tokens
from auth.access_tokens import LIVE_TOKENS, delete_expired_tokens, revoke_all
from auth.audit import OPERATOR as OPERATING
from auth.origin import OPERATOR
from auth.scopes import SCOPES
from common import clock
from common.contracts.auth import SessionRevoked
from common.db import Database
from common.tokens import is_token

PATH = "/api/v1/users/me/tokens"
EXCHANGE = "/internal/tokens/exchange"


@dataclass
class Person:
    """Somebody who is logged in."""

    id: str
    headers: dict[str, str]
    http: httpx.AsyncClient

    async def token(self, name: str = "laptop", scopes: tuple[str, ...] = ("account:read",), days: int = 30) -> Any:
        body = {"name": name, "scopes": scopes, "expires_in_days": days}
        response = await self.http.post(PATH, json=body, headers=self.headers)
        assert response.status_code == 201, response.text
        return response.json()

    async def names(self) -> list[str]:
        response = await self.http.get(PATH, headers=self.headers)
        assert response.status_code == 200, response.text
        return [token["name"] for token in response.json()["items"]]


NewPerson = Callable[[], Awaitable[Person]]


@pytest.fixture
def new_person(client: httpx.AsyncClient) -> NewPerson:
    async def make() -> Person:
        name = f"driver_{uuid4().hex[:12]}"
        body = {"username": name, "email": f"{name}@example.com", "password": "Slipstream44"}
        registered = await client.post("/api/v1/auth/register", json=body)
        assert registered.status_code == 201, registered.text
        login = await client.post("/api/v1/auth/login", json={"username": name, "password": body["password"]})
        assert login.status_code == 200, login.text
        headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
        return Person(id=registered.json()["id"], headers=headers, http=client)

    return make


@pytest.fixture
async def person(new_person: NewPerson) -> Person:
    return await new_person()


async def exchanged(client: httpx.AsyncClient, token: str) -> dict[str, str]:
    """Headers of a request that goes on with what a token was exchanged for."""
    response = await client.post(EXCHANGE, json={"token": token})
    assert response.status_code == 200, response.text
    return {"Authorization": f"Bearer {response.json()['access_token']}"}


async def run(database: Database, statement: str, **values: Any) -> Any:
    async with database.transaction() as session:
        result = await session.execute(text(statement), values)
        return result.scalars().all() if isinstance(result, CursorResult) and result.returns_rows else None


async def ended(database: Database, user_id: str) -> list[SessionRevoked]:
    query = "SELECT body FROM outbox WHERE subject = 'session.revoked' AND key = :key ORDER BY id"
    return [msgspec.json.decode(body, type=SessionRevoked) for body in await run(database, query, key=user_id)]


async def audited(database: Database, user_id: str) -> list[str]:
    query = "SELECT action FROM audit WHERE target_id = :id AND action LIKE 'token.%' ORDER BY id"
    return [str(action) for action in await run(database, query, id=user_id)]


async def test_a_token_is_shown_once_and_known_by_its_hint_ever_after(person: Person) -> None:
    body = {"name": "  my laptop ", "scopes": ["leagues:write", "leagues:read", "leagues:read"], "expires_in_days": 365}
    response = await person.http.post(PATH, json=body, headers=person.headers)
    made = response.json()
    assert (response.status_code, response.headers["cache-control"]) == (201, "no-store")
    assert set(made) == {"id", "name", "token", "hint", "scopes", "created_at", "expires_at"}
    assert is_token(made["token"])
    assert made["hint"] == made["token"][-4:]
    assert (made["name"], made["scopes"]) == ("my laptop", ["leagues:read", "leagues:write"])
    listed = await person.http.get(PATH, headers=person.headers)
    assert made["token"][:-4] not in listed.text
    assert listed.headers["cache-control"] == "no-store"
    del made["token"]
    assert listed.json()["items"] == [made | {"last_used_at": None}]


async def test_nothing_in_the_database_gives_a_token_away(person: Person, database: Database) -> None:
    token = (await person.token())["token"]
    query = "SELECT personal_access_tokens::text FROM personal_access_tokens WHERE user_id = :id"
    stored = (await run(database, query, id=person.id))[0]
    entries = await run(database, "SELECT audit::text FROM audit WHERE target_id = :id", id=person.id)
    for whole in (stored, *entries):
        for hidden in (token, token[4:34], hashlib.sha256(token.encode()).hexdigest()):
            assert hidden not in whole


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "line\nfeed"}, "name"),
        ({"name": "nul\x00"}, "name"),
        ({"name": "right\u202eleft"}, "name"),
        ({"name": 7}, "name"),
        ({"name": None}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"scopes": ["account:read", "admin"]}, "scopes"),
        ({"scopes": [""]}, "scopes"),
        ({"scopes": ["account:read leagues:write"]}, "scopes"),
        ({"scopes": ["account:read"] * (len(SCOPES) + 1)}, "scopes"),
        ({"scopes": "account:read"}, "scopes"),
        ({"scopes": None}, "scopes"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": -1}, "expires_in_days"),
        ({"expires_in_days": 366}, "expires_in_days"),
        ({"expires_in_days": 1.5}, "expires_in_days"),
        ({"expires_in_days": None}, "expires_in_days"),
        ({"user_id": str(uuid4())}, None),
        ({"token": "pdk_"}, None),
        ({"is_admin": True}, None),
    ],
)
async def test_a_token_that_is_asked_for_wrongly_is_not_made(
    person: Person, change: dict[str, Any], field: str | None
) -> None:
    body = {"name": "laptop", "scopes": ["account:read"], "expires_in_days": 30} | change
    response = await person.http.post(PATH, json=body, headers=person.headers)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    if field:
        assert response.json()["errors"][0]["field"].split(".")[0].split("[")[0] == field
    assert await person.names() == []


@pytest.mark.parametrize("missing", ["name", "scopes", "expires_in_days"])
async def test_name_scopes_and_end_are_required(person: Person, missing: str) -> None:
    body: dict[str, Any] = {"name": "laptop", "scopes": ["account:read"], "expires_in_days": 30}
    del body[missing]
    response = await person.http.post(PATH, json=body, headers=person.headers)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


async def test_the_closed_list_of_scopes_is_told(person: Person) -> None:
    response = await person.http.get(f"{PATH}/scopes", headers=person.headers)
    assert {item["scope"]: item["description"] for item in response.json()["items"]} == SCOPES


async def test_a_name_is_one_live_token_of_its_owner(person: Person, new_person: NewPerson, database: Database) -> None:
    first = await person.token("CI")
    body = {"name": "ci", "scopes": ["account:read"], "expires_in_days": 1}
    again = await person.http.post(PATH, json=body, headers=person.headers)
    assert (again.status_code, again.json()["code"]) == (409, "token_name_taken")
    await (await new_person()).token("CI")
    assert (await person.http.delete(f"{PATH}/{first['id']}", headers=person.headers)).status_code == 204
    second = await person.token("ci")
    await run(database, "UPDATE personal_access_tokens SET expires_at = now() WHERE id = :id", id=second["id"])
    await person.token("CI")
    assert await person.names() == ["CI"], "the new one took the place of the expired one"


async def test_the_list_shows_live_tokens_first_and_has_an_end(
    person: Person, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_tokens, "LISTED", 3)
    made = [await person.token(name) for name in ("old", "over", "new", "over too")]
    for token in (made[1], made[3]):
        await run(database, "UPDATE personal_access_tokens SET expires_at = now() WHERE id = :id", id=token["id"])
    assert await person.names() == ["new", "old", "over too"]


async def test_who_is_deactivated_makes_no_token(person: Person, database: Database) -> None:
    await run(database, "UPDATE users SET deactivated_at = now() WHERE id = :id", id=person.id)
    body = {"name": "laptop", "scopes": ["account:read"], "expires_in_days": 30}
    response = await person.http.post(PATH, json=body, headers=person.headers)
    assert (response.status_code, response.json()["code"]) == (401, "invalid_token")


async def test_of_parallel_requests_for_one_name_one_gets_it(person: Person) -> None:
    body = {"name": "ci", "scopes": ["account:read"], "expires_in_days": 1}
    responses = await asyncio.gather(*(person.http.post(PATH, json=body, headers=person.headers) for _ in range(8)))
    assert sorted(response.status_code for response in responses) == [201, *[409] * 7]


async def test_nobody_has_more_live_tokens_than_the_limit_however_fast_they_ask(
    person: Person, database: Database
) -> None:
    free = 3
    fill = (
        "INSERT INTO personal_access_tokens (id, user_id, name, token_hash, hint, scopes, created_at, expires_at) "
        "SELECT gen_random_uuid(), CAST(:id AS uuid), 'old ' || n, sha256(gen_random_uuid()::text::bytea), 'hint', "
        "'{account:read}', now(), now() + CASE WHEN n <= CAST(:live AS int) THEN interval '1 day' ELSE '0' END "
        "FROM generate_series(1, CAST(:all AS int)) AS n"
    )
    await run(database, fill, id=person.id, live=LIVE_TOKENS - free, all=LIVE_TOKENS + 5)
    bodies = [{"name": f"new {n}", "scopes": ["account:read"], "expires_in_days": 1} for n in range(9)]
    responses = await asyncio.gather(*(person.http.post(PATH, json=body, headers=person.headers) for body in bodies))
    outcomes = sorted((response.status_code, response.json().get("code", "")) for response in responses)
    assert outcomes == [(201, "")] * free + [(409, "too_many_tokens")] * 6


async def test_an_exchanged_token_speaks_for_its_owner_within_its_scopes(
    person: Person, client: httpx.AsyncClient
) -> None:
    made = await person.token(scopes=("account:read", "leagues:read"))
    response = await client.post(EXCHANGE, json={"token": made["token"]})
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    claims = jwt.decode(response.json()["access_token"], options={"verify_signature": False})
    assert (claims["sub"], claims["sid"]) == (person.id, made["id"])
    assert claims["scope"] == "account:read leagues:read"
    assert claims["exp"] - claims["iat"] == response.json()["expires_in"] == 300
    headers = {"Authorization": f"Bearer {response.json()['access_token']}"}
    assert (await client.get("/api/v1/users/me", headers=headers)).json()["id"] == person.id


async def test_a_scope_that_is_missing_is_a_403(person: Person, client: httpx.AsyncClient) -> None:
    headers = await exchanged(client, (await person.token(scopes=("leagues:read", "leagues:write")))["token"])
    response = await client.get("/api/v1/users/me", headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")
    assert "account:read" in response.json()["detail"]


async def test_no_token_makes_shows_or_ends_tokens(person: Person, client: httpx.AsyncClient) -> None:
    made = await person.token(scopes=tuple(SCOPES))
    headers = await exchanged(client, made["token"])
    body = {"name": "child", "scopes": ["account:read"], "expires_in_days": 365}
    for method, path, data in (
        ("POST", PATH, body),
        ("GET", PATH, None),
        ("GET", f"{PATH}/scopes", None),
        ("DELETE", f"{PATH}/{made['id']}", None),
    ):
        response = await client.request(method, path, headers=headers, json=data)
        assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope"), (method, path)
    assert await person.names() == ["laptop"]


async def test_an_exchanged_token_does_not_outlive_the_one_it_is_for(
    person: Person, client: httpx.AsyncClient, database: Database
) -> None:
    made = await person.token()
    ends = "UPDATE personal_access_tokens SET expires_at = now() + interval '60 seconds' WHERE id = :id"
    await run(database, ends, id=made["id"])
    response = await client.post(EXCHANGE, json={"token": made["token"]})
    assert 50 <= response.json()["expires_in"] <= 60


async def test_a_token_that_is_not_good_is_refused_in_the_same_words_whatever_is_wrong_with_it(
    new_person: NewPerson, client: httpx.AsyncClient, database: Database
) -> None:
    async def spoilt(statement: str) -> str:
        somebody = await new_person()
        made = await somebody.token()
        await exchanged(client, made["token"])
        await run(database, statement, id=somebody.id if "users" in statement else made["id"])
        return str(made["token"])

    good = (await (await new_person()).token())["token"]
    tokens = [
        await spoilt("UPDATE personal_access_tokens SET expires_at = now() WHERE id = :id"),
        await spoilt("UPDATE personal_access_tokens SET revoked_at = now() WHERE id = :id"),
        await spoilt("DELETE FROM personal_access_tokens WHERE id = :id"),
        await spoilt("UPDATE users SET deactivated_at = now() WHERE id = :id"),
        await spoilt("UPDATE users SET deleted_at = now() WHERE id = :id"),
        await spoilt("UPDATE users SET must_reset_password = true WHERE id = :id"),
        await spoilt("DELETE FROM users WHERE id = :id"),
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        good[:-1],
        good + "A",
        "pdk_",
        "",
        "nul\x00",
        "' OR 1=1 --",
    ]
    answers = set()
    for bad in tokens:
        response = await client.post(EXCHANGE, json={"token": bad})
        problem = response.json()
        del problem["request_id"]
        answers.add((response.status_code, response.headers["www-authenticate"], str(problem)))
    assert len(answers) == 1
    assert answers.pop()[0] == 401
    assert (await client.post(EXCHANGE, json={"token": good})).status_code == 200


@pytest.mark.parametrize("body", [{}, {"token": None}, {"token": 1}, {"token": "x" * 201}, {"tokens": []}, []])
async def test_an_exchange_of_no_token_is_a_422(client: httpx.AsyncClient, body: Any) -> None:
    response = await client.post(EXCHANGE, json=body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


@dataclass
class Statements:
    """What was sent to the database meanwhile."""

    texts: list[str]
    changed: int = 0


@pytest.fixture
def statements(app: Litestar) -> Any:
    seen = Statements([])

    def note(_c: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.texts.append(statement)
        seen.changed += cursor.rowcount if statement.startswith("UPDATE personal_access_tokens") else 0

    engine = app.state.database.engine.sync_engine
    event.listen(engine, "after_cursor_execute", note)
    yield seen
    event.remove(engine, "after_cursor_execute", note)


async def test_a_wrong_checksum_costs_no_query(client: httpx.AsyncClient, person: Person, statements: Any) -> None:
    token = (await person.token())["token"]
    await exchanged(client, token)
    assert statements.texts, "queries are seen"
    statements.texts.clear()
    for wrong in (token[:-1] + ("A" if token[-1] != "A" else "B"), "pdk_" + "0" * 36, "ghp_" + token[4:], ""):
        assert (await client.post(EXCHANGE, json={"token": wrong})).status_code == 401
    assert [text for text in statements.texts if "personal_access_tokens" in text] == []
    assert statements.texts == []


async def test_the_last_use_is_written_once_a_minute_however_often_it_is_used(
    client: httpx.AsyncClient, person: Person, statements: Any, database: Database
) -> None:
    made = await person.token()
    before = clock.now()

    async def use(times: int) -> int:
        statements.changed = 0
        bodies = [client.post(EXCHANGE, json={"token": made["token"]}) for _ in range(times)]
        assert {response.status_code for response in await asyncio.gather(*bodies)} == {200}
        return int(statements.changed)

    assert await use(16) == 1
    listed = (await person.http.get(PATH, headers=person.headers)).json()["items"][0]
    assert listed["last_used_at"] >= before.isoformat()[:19]
    assert await use(16) == 0
    an_hour_ago = "UPDATE personal_access_tokens SET last_used_at = now() - interval '61 seconds' WHERE id = :id"
    await run(database, an_hour_ago, id=made["id"])
    assert await use(16) == 1


async def test_a_revoked_token_is_told_to_everybody_and_gone_from_the_list(
    client: httpx.AsyncClient, person: Person, database: Database
) -> None:
    made = await person.token()
    headers = await exchanged(client, made["token"])
    assert (await person.http.delete(f"{PATH}/{made['id']}", headers=person.headers)).status_code == 204
    assert (await client.post(EXCHANGE, json={"token": made["token"]})).status_code == 401
    assert await person.names() == []
    told = (await ended(database, person.id))[-1]
    assert told.session_ids == [UUID(made["id"])]
    issued = jwt.decode(headers["Authorization"].split()[1], options={"verify_signature": False})["iat"]
    assert issued <= told.revoked_at.timestamp()
    assert await audited(database, person.id) == ["token.create", "token.revoke"]
    again = await person.http.delete(f"{PATH}/{made['id']}", headers=person.headers)
    assert (again.status_code, again.json()["code"]) == (404, "no_token")


async def test_what_was_exchanged_for_a_revoked_token_dies_here_within_two_seconds(
    client: httpx.AsyncClient, person: Person
) -> None:
    made = await person.token()
    headers = await exchanged(client, made["token"])
    assert (await client.get("/api/v1/users/me", headers=headers)).status_code == 200
    await person.http.delete(f"{PATH}/{made['id']}", headers=person.headers)
    deadline = asyncio.get_running_loop().time() + 2
    while (await client.get("/api/v1/users/me", headers=headers)).status_code != 401:
        assert asyncio.get_running_loop().time() < deadline
    assert (await client.get("/api/v1/users/me", headers=person.headers)).status_code == 200, "the login goes on"


async def test_a_token_of_somebody_else_is_not_there(person: Person, new_person: NewPerson) -> None:
    other = await new_person()
    theirs = await other.token()
    for token_id in (theirs["id"], str(uuid4()), "nothing"):
        response = await person.http.delete(f"{PATH}/{token_id}", headers=person.headers)
        assert response.status_code == 404
    assert await other.names() == ["laptop"]
    assert await person.names() == []


async def test_an_exchange_that_meets_a_revocation_waits_for_it(
    client: httpx.AsyncClient, app: Litestar, person: Person, database: Database
) -> None:
    made = await person.token()
    async with database.transaction() as session:
        await app.state.access_tokens.revoke(session, UUID(person.id), UUID(made["id"]), origin=OPERATOR)
        await session.flush()
        exchange = asyncio.create_task(client.post(EXCHANGE, json={"token": made["token"]}))
        done, _ = await asyncio.wait({exchange}, timeout=0.3)
        assert not done, "what is given now would be dated after the end of the token"
    assert (await exchange).status_code == 401


async def test_all_tokens_of_somebody_can_be_ended_at_once(
    client: httpx.AsyncClient, person: Person, database: Database
) -> None:
    made = [await person.token(f"number {n}") for n in range(3)]
    async with database.transaction() as session:
        count = await revoke_all(session, UUID(person.id), reason="password reset", actor=OPERATING, origin=OPERATOR)
    assert count == 3
    for token in made:
        assert (await client.post(EXCHANGE, json={"token": token["token"]})).status_code == 401
    told = (await ended(database, person.id))[-1]
    assert ({str(one) for one in told.session_ids}, told.reason) == ({one["id"] for one in made}, "password reset")
    assert (await audited(database, person.id))[-1] == "token.revoke_all"
    before = len(await ended(database, person.id))
    async with database.transaction() as session:
        assert await revoke_all(session, UUID(person.id), reason="x", actor=OPERATING, origin=OPERATOR) == 0
    assert len(await ended(database, person.id)) == before


async def test_tokens_that_are_over_are_removed(person: Person, database: Database) -> None:
    live, expired, revoked = [await person.token(name) for name in ("live", "expired", "revoked")]
    await run(database, "UPDATE personal_access_tokens SET expires_at = now() WHERE id = :id", id=expired["id"])
    await person.http.delete(f"{PATH}/{revoked['id']}", headers=person.headers)
    async with database.transaction() as session:
        while await delete_expired_tokens(session, clock.now(), limit=1):
            pass
    left = await run(database, "SELECT id FROM personal_access_tokens WHERE user_id = :id", id=person.id)
    assert [str(one) for one in left] == [live["id"]]


async def test_a_personal_token_is_no_access_token_and_no_refresh_token(
    client: httpx.AsyncClient, person: Person
) -> None:
    token = (await person.token(scopes=tuple(SCOPES)))["token"]
    response = await client.get("/api/v1/users/me", headers={"Authorization": f"Bearer {token}"})
    assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
    assert (await client.post("/api/v1/auth/refresh", json={"refresh_token": token})).status_code == 401


async def test_without_a_login_there_are_no_tokens(client: httpx.AsyncClient) -> None:
    body = {"name": "laptop", "scopes": ["account:read"], "expires_in_days": 30}
    assert (await client.post(PATH, json=body)).status_code == 401
    for path in (PATH, f"{PATH}/scopes"):
        assert (await client.get(path)).status_code == 401
    assert (await client.delete(f"{PATH}/{uuid4()}")).status_code == 401
