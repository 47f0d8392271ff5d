"""A registration sent again with its key opens no second account and gets the same answer."""

import asyncio
import hashlib
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from auth.registration_keys import delete_expired
from common import clock
from common.db import Database

PATH = "/api/v1/auth/register"


def keyed(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or str(uuid4())}


async def run(database: Database, statement: str, **values: Any) -> list[Any]:
    async with database.transaction() as session:
        return list((await session.scalars(text(statement), values)).all())


async def users(database: Database, registration: dict[str, str]) -> int:
    query = "SELECT count(*) FROM users WHERE lower(username) = lower(:name) OR lower(email) = lower(:email)"
    return int((await run(database, query, name=registration["username"], email=registration["email"]))[0])


async def age(database: Database, hours: int) -> None:
    """Make every kept answer so much older."""
    statement = "UPDATE registration_keys SET created_at = created_at - make_interval(hours => :hours) RETURNING 1"
    await run(database, statement, hours=hours)


async def test_the_same_request_with_the_same_key_gets_the_same_answer(
    client: httpx.AsyncClient, registration: dict[str, str], database: Database
) -> None:
    headers = keyed()
    first = await client.post(PATH, json=registration, headers=headers)
    order = dict(reversed(registration.items()))
    for body in (registration, order, registration | {"full_name": None}):
        again = await client.post(PATH, json=body, headers=headers)
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["content-type"] == first.headers["content-type"] == "application/json"
        assert again.headers["cache-control"] == "no-store"
    assert await users(database, registration) == 1
    told = "SELECT count(*) FROM outbox WHERE subject = 'user.registered' AND key = :key"
    assert await run(database, told, key=first.json()["id"]) == [1]


async def test_an_answer_with_a_key_is_the_answer_without_one(
    client: httpx.AsyncClient, registration: dict[str, str]
) -> None:
    plain = await client.post(PATH, json=registration)
    other = {name: value.replace("driver_", "second_") for name, value in registration.items()}
    with_key = await client.post(PATH, json=other, headers=keyed())
    assert plain.status_code == with_key.status_code == 201
    assert set(plain.json()) == set(with_key.json())
    assert {name.lower() for name in plain.headers} == {name.lower() for name in with_key.headers}


@pytest.mark.parametrize("change", [{"password": "Slipstream45"}, {"full_name": "Somebody Else"}, {"email": "x@x.org"}])
async def test_another_request_with_the_same_key_is_refused(
    client: httpx.AsyncClient, registration: dict[str, str], database: Database, change: dict[str, str]
) -> None:
    headers = keyed()
    assert (await client.post(PATH, json=registration, headers=headers)).status_code == 201
    response = await client.post(PATH, json=registration | change, headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert registration["email"] not in response.text
    assert await users(database, registration) == 1


async def test_another_key_is_another_request(client: httpx.AsyncClient, registration: dict[str, str]) -> None:
    assert (await client.post(PATH, json=registration, headers=keyed())).status_code == 201
    response = await client.post(PATH, json=registration, headers=keyed())
    assert (response.status_code, response.json()["code"]) == (409, "username_taken")


async def test_of_the_same_request_many_times_at_once_one_account_comes(
    client: httpx.AsyncClient, registration: dict[str, str], database: Database
) -> None:
    headers = keyed()
    requests = (client.post(PATH, json=registration, headers=headers) for _ in range(12))
    responses = await asyncio.gather(*requests)
    assert {(response.status_code, response.content) for response in responses} == {(201, responses[0].content)}
    assert await users(database, registration) == 1


async def test_of_different_requests_with_one_key_at_once_one_is_answered(
    client: httpx.AsyncClient, registration: dict[str, str], database: Database
) -> None:
    headers = keyed()
    bodies = [
        registration | {"username": f"{registration['username']}_{turn}", "email": f"{turn}.{registration['email']}"}
        for turn in range(6)
    ]
    responses = await asyncio.gather(*(client.post(PATH, json=body, headers=headers) for body in bodies))
    outcomes = sorted((response.status_code, response.json().get("code", "")) for response in responses)
    assert outcomes == [(201, ""), *[(422, "idempotency_key_reused")] * 5]
    assert sum([await users(database, body) for body in bodies]) == 1


async def test_a_request_that_was_refused_may_be_made_right_with_the_same_key(
    client: httpx.AsyncClient, registration: dict[str, str]
) -> None:
    headers = keyed()
    weak = await client.post(PATH, json=registration | {"password": "nouppercase1"}, headers=headers)
    assert weak.status_code == 422
    assert (await client.post(PATH, json=registration, headers=headers)).status_code == 201


async def test_a_key_is_good_for_a_day(
    client: httpx.AsyncClient, registration: dict[str, str], database: Database
) -> None:
    headers = keyed()
    first = await client.post(PATH, json=registration, headers=headers)
    await age(database, 23)
    assert (await client.post(PATH, json=registration, headers=headers)).content == first.content
    await age(database, 1)
    over = await client.post(PATH, json=registration, headers=headers)
    assert (over.status_code, over.json()["code"]) == (409, "username_taken")
    name = registration["username"][:-1] + "_"
    other = registration | {"username": name, "email": f"{name}@example.com"}
    fresh = await client.post(PATH, json=other, headers=headers)
    assert fresh.status_code == 201, "the key may be used anew"
    assert (await client.post(PATH, json=other, headers=headers)).content == fresh.content


@pytest.mark.parametrize("key", ["short", "x" * 15, "x" * 129, "with a space in it", "ümlaut" * 4, ""])
async def test_a_key_that_others_might_have_is_refused(
    client: httpx.AsyncClient, registration: dict[str, str], database: Database, key: str
) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    response = await client.post(PATH, json=registration, headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert await users(database, registration) == 0


async def test_neither_key_nor_password_is_to_be_had_from_what_is_kept(
    client: httpx.AsyncClient, registration: dict[str, str], database: Database
) -> None:
    headers = keyed()
    await client.post(PATH, json=registration, headers=headers)
    rows = await run(database, "SELECT registration_keys::text FROM registration_keys ORDER BY created_at DESC LIMIT 1")
    for secret in (headers["Idempotency-Key"], registration["password"]):
        for hidden in (secret, secret.encode().hex(), hashlib.sha256(secret.encode()).hexdigest()):
            assert hidden not in rows[0]
    assert "$2b$04$" in rows[0]


async def test_answers_that_are_too_old_are_removed(
    client: httpx.AsyncClient, registration: dict[str, str], database: Database
) -> None:
    await client.post(PATH, json=registration, headers=keyed())
    async with database.transaction() as session:
        await delete_expired(session, clock.now())
    kept = (await run(database, "SELECT count(*) FROM registration_keys"))[0]
    assert kept >= 1
    await age(database, 24)
    async with database.transaction() as session:
        assert await delete_expired(session, clock.now(), limit=1) == 1
        assert await delete_expired(session, clock.now()) == kept - 1
