"""Opening an account: one transaction, one event, and nothing that the client may not say."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from sqlalchemy import text

from common.contracts.auth import UserRegistered
from common.db import Database
from devstack.testing import eventually
from lab.mail_server import MailServer

PATH = "/api/v1/auth/register"


async def users(database: Database) -> int:
    async with database.transaction() as session:
        return int(await session.scalar(text("SELECT count(*) FROM users")) or 0)


async def events_of(database: Database, user_id: str) -> list[UserRegistered]:
    async with database.transaction() as session:
        rows = await session.scalars(
            text("SELECT body FROM outbox WHERE subject = 'user.registered' AND key = :key"), {"key": user_id}
        )
        return [msgspec.json.decode(row, type=UserRegistered) for row in rows]


async def test_a_registration_answers_with_the_account_and_without_its_password(
    client: httpx.AsyncClient, registration: dict[str, str]
) -> None:
    response = await client.post(PATH, json=registration | {"full_name": "  Nico Hülkenberg "})
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert set(body) == {"id", "username", "email", "full_name", "created_at"}
    assert body["username"] == registration["username"]
    assert body["email"] == registration["email"]
    assert body["full_name"] == "Nico Hülkenberg"
    assert body["created_at"].endswith("Z")


async def test_a_registration_is_told_to_the_others_once(
    client: httpx.AsyncClient, registration: dict[str, str], database: Database
) -> None:
    user_id = (await client.post(PATH, json=registration)).json()["id"]
    events = await events_of(database, user_id)
    assert [(str(event.user_id), event.username) for event in events] == [(user_id, registration["username"])]


async def test_a_password_is_stored_as_a_bcrypt_hash_alone(
    client: httpx.AsyncClient, registration: dict[str, str], database: Database
) -> None:
    await client.post(PATH, json=registration)
    async with database.transaction() as session:
        query = text("SELECT password_hash, users::text AS whole FROM users WHERE username = :username")
        row = (await session.execute(query, {"username": registration["username"]})).one()
    assert row.password_hash.startswith("$2b$04$")
    assert registration["password"] not in row.whole


@pytest.mark.parametrize("change", [str, str.upper, str.title])
async def test_a_username_is_taken_in_any_case(
    client: httpx.AsyncClient, account: dict[str, str], database: Database, change: Any
) -> None:
    before = await users(database)
    body = account | {"username": change(account["username"]), "email": "other@example.com"}
    response = await client.post(PATH, json=body)
    assert (response.status_code, response.json()["code"]) == (409, "username_taken")
    assert await users(database) == before


@pytest.mark.parametrize("change", [str, str.upper, str.title])
async def test_an_address_is_taken_in_any_case(
    client: httpx.AsyncClient, account: dict[str, str], database: Database, change: Any
) -> None:
    before = await users(database)
    body = account | {"email": change(account["email"]), "username": account["username"][:-1] + "_"}
    response = await client.post(PATH, json=body)
    assert (response.status_code, response.json()["code"]) == (409, "email_taken")
    assert response.json()["detail"] == "Email already registered."
    assert await users(database) == before


async def test_of_parallel_registrations_of_one_name_exactly_one_wins(
    client: httpx.AsyncClient, registration: dict[str, str], database: Database
) -> None:
    name = registration["username"]
    bodies = [
        registration | {"username": name if turn % 2 else name.upper(), "email": f"{turn}.{registration['email']}"}
        for turn in range(20)
    ]
    responses = await asyncio.gather(*(client.post(PATH, json=body) for body in bodies))
    winners = [response for response in responses if response.status_code == 201]
    losers = {(response.status_code, response.json()["code"]) for response in responses if response not in winners}
    assert len(winners) == 1
    assert losers == {(409, "username_taken")}
    async with database.transaction() as session:
        stored = await session.scalar(text("SELECT count(*) FROM users WHERE lower(username) = :name"), {"name": name})
        events = await session.scalar(
            text("SELECT count(*) FROM outbox WHERE lower(convert_from(body, 'UTF8')) LIKE :name"),
            {"name": f'%"{name}"%'},
        )
    assert (stored, events) == (1, 1)


async def test_of_a_name_in_two_cases_at_once_exactly_one_gets_it(client: httpx.AsyncClient) -> None:
    for _ in range(10):
        name = f"Driver_{uuid4().hex[:12]}"
        bodies = [
            {"username": spelled, "email": f"{uuid4().hex}@example.com", "password": "Slipstream44"}
            for spelled in (name.lower(), name.upper())
        ]
        responses = await asyncio.gather(*(client.post(PATH, json=body) for body in bodies))
        outcomes = sorted((response.status_code, response.json().get("code", "")) for response in responses)
        assert outcomes == [(201, ""), (409, "username_taken")]


async def test_a_new_address_is_asked_to_be_proved(
    client: httpx.AsyncClient, registration: dict[str, str], mail_server: MailServer
) -> None:
    await client.post(PATH, json=registration)

    async def letter() -> bool:
        return any(one.links for one in mail_server.to(registration["email"]))

    await eventually(letter, what="a letter with a link")


@pytest.mark.parametrize("password", ["Password1", "Welcome1", "Max_Driver_99", "Qwerty123"])
async def test_a_password_that_is_guessed_first_is_refused(
    client: httpx.AsyncClient, database: Database, password: str
) -> None:
    before = await users(database)
    body = {"username": "max_driver", "email": f"{uuid4().hex}@example.com", "password": password}
    response = await client.post(PATH, json=body)
    assert response.status_code == 422
    assert {error["field"] for error in response.json()["errors"]} == {"password"}
    assert await users(database) == before


async def test_of_parallel_registrations_of_one_address_exactly_one_wins(
    client: httpx.AsyncClient, registration: dict[str, str]
) -> None:
    bodies = [registration | {"username": f"{registration['username']}_{turn}"} for turn in range(10)]
    responses = await asyncio.gather(*(client.post(PATH, json=body) for body in bodies))
    outcomes = sorted((response.status_code, response.json().get("code", "")) for response in responses)
    assert outcomes == [(201, ""), *[(409, "email_taken")] * 9]


@pytest.mark.parametrize(
    "extra",
    [
        "role",
        "scopes",
        "email_verified_at",
        "deactivated_at",
        "is_superuser",
        "is_admin",
        "is_active",
        "is_verified",
        "id",
        "user_id",
        "password_hash",
        "created_at",
    ],
)
async def test_what_only_we_may_say_of_an_account_is_refused(
    client: httpx.AsyncClient, registration: dict[str, str], database: Database, extra: str
) -> None:
    before = await users(database)
    response = await client.post(PATH, json=registration | {extra: True})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert await users(database) == before


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"username": "ab"}, "username"),
        ({"username": "x" * 51}, "username"),
        ({"username": "two words"}, "username"),
        ({"username": "newline\n"}, "username"),
        ({"username": "nul\x00byte"}, "username"),
        ({"username": "ünïcode"}, "username"),
        ({"username": 12345}, "username"),
        ({"username": None}, "username"),
        ({"username": ["a", "b", "c"]}, "username"),
        ({"email": "nowhere"}, "email"),
        ({"email": "nul\x00@example.com"}, "email"),
        ({"email": "a@example.com\r\nBcc: b@example.com"}, "email"),
        ({"email": f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.com"}, "email"),
        ({"email": {"$ne": ""}}, "email"),
        ({"password": "Sh0rt"}, "password"),
        ({"password": "Aa1" + "x" * 254}, "password"),
        ({"password": "nouppercase1"}, "password"),
        ({"password": "NOLOWERCASE1"}, "password"),
        ({"password": "NoDigitsHere"}, "password"),
        ({"username": "Slipstream44", "password": "sLIPSTREAM44"}, "password"),
        ({"password": True}, "password"),
        ({"full_name": "x" * 101}, "full_name"),
        ({"full_name": "nul\x00byte"}, "full_name"),
        ({"full_name": 7}, "full_name"),
    ],
)
async def test_a_field_that_is_not_acceptable_is_named_and_nothing_is_stored(
    client: httpx.AsyncClient, registration: dict[str, str], database: Database, changes: dict[str, Any], field: str
) -> None:
    before = await users(database)
    response = await client.post(PATH, json=registration | changes)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert {error["field"] for error in response.json()["errors"]} == {field}
    assert await users(database) == before


@pytest.mark.parametrize("field", ["username", "email", "password"])
async def test_a_field_that_is_missing_is_refused(
    client: httpx.AsyncClient, registration: dict[str, str], field: str
) -> None:
    del registration[field]
    response = await client.post(PATH, json=registration)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "invalid_request"),
        (b"{", 400, "malformed_request"),
        (b'{"username": "a', 400, "malformed_request"),
        (b"\xff\xfe\x00", 400, "malformed_request"),
        (b'{"username": "\\ud800", "email": "a@b.co", "password": "Slipstream44"}', 400, "malformed_request"),
        (b"[]", 422, "invalid_request"),
        (b"null", 422, "invalid_request"),
        (b'"text"', 422, "invalid_request"),
        (b"[" * 100_000, 400, "malformed_request"),
        (b'{"username": "' + b"x" * 2_000_000 + b'"}', 413, "body_too_large"),
    ],
)
async def test_a_body_that_is_no_registration_is_refused(
    client: httpx.AsyncClient, database: Database, body: bytes, status: int, code: str
) -> None:
    before = await users(database)
    response = await client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert await users(database) == before


@pytest.mark.parametrize(
    "password", ["Aa1" + "🏎" * 253, "Nul\x00Byte1", "Größe 4 Läufe", " Spaces 1 ", "Aa1" + "x" * 100]
)
async def test_a_password_of_any_characters_logs_in_as_it_was_given(
    client: httpx.AsyncClient, registration: dict[str, str], password: str
) -> None:
    registered = await client.post(PATH, json=registration | {"password": password})
    assert registered.status_code == 201
    for attempt, status in ((password, 200), (password[:-1], 401), (password[1:], 401)):
        body = json.dumps({"username": registration["username"], "password": attempt})
        headers = {"Content-Type": "application/json"}
        assert (await client.post("/api/v1/auth/login", content=body, headers=headers)).status_code == status
