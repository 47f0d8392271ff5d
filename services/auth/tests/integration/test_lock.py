"""The lock against guessing: as many tries as may fail are looked at and no more, and the owner still gets in."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import msgspec
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from auth import guards
from auth.app import create_app
from auth.models import User
from auth.origin import OPERATOR
from auth.settings import AuthSettings
from common import clock
from common.db import Database
from common.errors import ForbiddenError, LockedError
from devstack.testing import eventually, running
from lab.mail_server import MailServer

PATH = "/api/v1/auth/login"
WRONG = "Wrong password 1"
ROUNDS = 2**4
"""Of one check at the tests' cost."""


def looked_at() -> float:
    """How many passwords were checked until now."""
    return (REGISTRY.get_sample_value("auth_password_rounds_total") or 0) / ROUNDS


async def attempt(client: httpx.AsyncClient, name: str, password: str = WRONG, **headers: str) -> httpx.Response:
    return await client.post(PATH, json={"username": name, "password": password}, headers=headers)


def at(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


async def fail(client: httpx.AsyncClient, name: str, headers: dict[str, str], count: int = 5) -> None:
    for _ in range(count):
        assert (await attempt(client, name, **headers)).status_code == 401


def is_locked(response: httpx.Response) -> bool:
    return (response.status_code, response.json().get("code")) == (423, "account_locked")


@pytest.fixture
async def stranger(newcomer: Any) -> Any:
    """Somebody whom nobody has logged in as from the address that guesses come from."""
    return await newcomer()


@pytest.fixture(scope="module")
async def replica(settings: AuthSettings) -> AsyncIterator[httpx.AsyncClient]:
    """Another instance on the same database, with room for many at once."""
    async with running(create_app(msgspec.structs.replace(settings, hash_queue=200))) as client:
        yield client


@pytest.fixture(scope="module")
async def roomy(settings: AuthSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(msgspec.structs.replace(settings, hash_queue=200))) as client:
        yield client


THIEF = at("203.0.113.66")


async def test_of_a_hundred_wrong_passwords_at_once_at_two_replicas_five_are_looked_at(
    roomy: httpx.AsyncClient, replica: httpx.AsyncClient, stranger: Any
) -> None:
    before = looked_at()
    clients = [roomy, replica] * 50
    responses = await asyncio.gather(*(attempt(client, stranger.username, **THIEF) for client in clients))
    assert sorted(response.status_code for response in responses) == [401] * 5 + [423] * 95
    assert looked_at() - before == 5
    for response in responses:
        if response.status_code == 423:
            assert response.json()["code"] == "account_locked"
            assert 1790 <= int(response.headers["retry-after"]) <= 1800


async def test_of_many_right_passwords_at_once_every_one_gets_in(roomy: httpx.AsyncClient, stranger: Any) -> None:
    responses = await asyncio.gather(
        *(attempt(roomy, stranger.username, stranger.password, **THIEF) for _ in range(25))
    )
    assert {response.status_code for response in responses} == {200}


async def test_a_lock_holds_for_the_right_password_too(client: httpx.AsyncClient, stranger: Any) -> None:
    await fail(client, stranger.username, THIEF)
    before = looked_at()
    assert is_locked(await attempt(client, stranger.username, stranger.password, **THIEF))
    assert looked_at() == before, "or it would tell by time"


async def test_guesses_by_name_by_address_and_in_any_case_are_counted_together(
    client: httpx.AsyncClient, stranger: Any
) -> None:
    await fail(client, stranger.username, THIEF, 2)
    await fail(client, stranger.email.upper(), THIEF, 2)
    await fail(client, stranger.username.upper(), THIEF, 1)
    for name in (stranger.username, stranger.email):
        assert is_locked(await attempt(client, name, stranger.password, **THIEF))


async def test_guesses_from_a_hundred_addresses_are_counted_together(client: httpx.AsyncClient, stranger: Any) -> None:
    before = looked_at()
    addresses = [f"203.0.113.{number}" for number in range(100)]
    responses = await asyncio.gather(*(attempt(client, stranger.username, **at(address)) for address in addresses[:50]))
    responses += [await attempt(client, stranger.username, **at(address)) for address in addresses[50:]]
    assert [response.status_code for response in responses].count(401) == 5
    assert looked_at() - before == 5


async def test_a_guesser_does_not_lock_the_owner_out_of_a_known_address(
    client: httpx.AsyncClient, stranger: Any
) -> None:
    home = at("198.51.100.20")
    assert (await attempt(client, stranger.username, stranger.password, **home)).status_code == 200
    await fail(client, stranger.username, THIEF)
    assert is_locked(await attempt(client, stranger.username, stranger.password, **THIEF))
    assert (await attempt(client, stranger.username, stranger.password, **home)).status_code == 200
    assert is_locked(await attempt(client, stranger.username, stranger.password, **THIEF)), "the lock holds on"


async def test_a_network_of_ipv6_is_one_address(client: httpx.AsyncClient, stranger: Any) -> None:
    assert (await attempt(client, stranger.email, stranger.password, **at("2001:db8:5:6::1"))).status_code == 200
    await fail(client, stranger.username, THIEF)
    known = at("2001:db8:5:6:aaaa::2")
    assert (await attempt(client, stranger.username, stranger.password, **known)).status_code == 200
    assert is_locked(await attempt(client, stranger.username, stranger.password, **at("2001:db8:5:7::1")))


@pytest.mark.parametrize("way", ["header", "field", "form"])
async def test_a_guesser_does_not_lock_the_owner_out_of_a_known_device(
    client: httpx.AsyncClient, stranger: Any, way: str
) -> None:
    device = stranger.tokens["device_token"]
    await fail(client, stranger.username, THIEF)
    body = {"username": stranger.username, "password": stranger.password}
    elsewhere = at("192.0.2.77")
    if way == "header":
        response = await client.post(PATH, json=body, headers=elsewhere | {"X-Device-Token": device})
    elif way == "field":
        response = await client.post(PATH, json=body | {"device_token": device}, headers=elsewhere)
    else:
        response = await client.post(PATH, data=body | {"device_token": device}, headers=elsewhere)
    assert response.status_code == 200
    assert is_locked(await attempt(client, stranger.username, stranger.password, **at("192.0.2.78")))


async def test_a_guesser_does_not_end_or_stop_a_live_session(client: httpx.AsyncClient, stranger: Any) -> None:
    await fail(client, stranger.username, THIEF)
    assert (await stranger.get("/users/me")).status_code == 200
    body = {"refresh_token": stranger.tokens["refresh_token"]}
    assert (await client.post("/api/v1/auth/refresh", json=body)).status_code == 200


async def test_a_known_device_or_address_is_locked_by_its_own_failures_alone(
    client: httpx.AsyncClient, stranger: Any
) -> None:
    home, device = at("198.51.100.21"), {"X-Device-Token": stranger.tokens["device_token"]}
    assert (await attempt(client, stranger.username, stranger.password, **home)).status_code == 200
    await fail(client, stranger.username, home)
    assert is_locked(await attempt(client, stranger.username, stranger.password, **home))
    await fail(client, stranger.username, home | device)
    assert is_locked(await attempt(client, stranger.username, stranger.password, **home, **device))
    assert (await attempt(client, stranger.username, stranger.password, **THIEF)).status_code == 200


async def test_a_device_stays_one_device_however_often_it_logs_in(
    client: httpx.AsyncClient, stranger: Any, database: Database
) -> None:
    device = stranger.tokens["device_token"]
    for _ in range(3):
        response = await attempt(client, stranger.username, stranger.password, **{"X-Device-Token": device})
        device = response.json()["device_token"]
    async with database.transaction() as session:
        query = text("SELECT count(*) FROM guards WHERE user_id = :user AND origin LIKE 'device:%'")
        assert await session.scalar(query, {"user": stranger.id}) == 1


async def test_a_device_token_that_is_not_the_account_s_own_makes_nobody_known(
    client: httpx.AsyncClient, newcomer: Any, database: Database
) -> None:
    victim, thief = await newcomer(), await newcomer()
    own = victim.tokens["device_token"]
    await fail(client, victim.username, THIEF)
    bad = {
        "another account's": thief.tokens["device_token"],
        "garbage": "pdd_" + "A" * 64,
        "cut": own[:-1],
        "tampered": own[:-2] + ("AA" if not own.endswith("AA") else "BB"),
        "not ascii": "pdd_" + "é" * 64,
        "a refresh token": victim.tokens["refresh_token"],
    }
    for kind, token in bad.items():
        body = {"username": victim.username, "password": victim.password, "device_token": token}
        assert is_locked(await client.post(PATH, json=body, headers=THIEF)), kind
    body = {"username": victim.username, "password": victim.password, "device_token": own}
    assert (await client.post(PATH, json=body, headers=THIEF)).status_code == 200
    async with database.transaction() as session:
        changed = text("UPDATE users SET password_changed_at = now() WHERE id = :id")
        await session.execute(changed, {"id": victim.id})
    assert is_locked(await client.post(PATH, json=body, headers=at("203.0.113.67"))), "a new password voids it"
    too_long = await client.post(PATH, json=body | {"device_token": "pdd_" + "A" * 5000})
    assert too_long.status_code == 422


async def age(database: Database, user: Any, column: str, by: timedelta) -> None:
    """Let so much time pass for one guard."""
    async with database.transaction() as session:
        query = text(f"UPDATE guards SET {column} = {column} - CAST(:by AS interval) WHERE user_id = :user")
        await session.execute(query, {"by": by, "user": user.id})


async def test_a_lock_ends_after_its_time_and_counting_begins_anew(
    client: httpx.AsyncClient, stranger: Any, database: Database
) -> None:
    await fail(client, stranger.username, THIEF)
    await age(database, stranger, "locked_until", timedelta(minutes=29, seconds=50))
    response = await attempt(client, stranger.username, stranger.password, **THIEF)
    assert is_locked(response)
    assert 1 <= int(response.headers["retry-after"]) <= 10
    await age(database, stranger, "locked_until", timedelta(seconds=11))
    await fail(client, stranger.username, THIEF, 4)
    assert (await attempt(client, stranger.username, stranger.password, **THIEF)).status_code == 200


async def test_a_right_password_forgets_the_wrong_ones_before_it(client: httpx.AsyncClient, stranger: Any) -> None:
    for _ in range(3):
        await fail(client, stranger.username, THIEF, 4)
        assert (await attempt(client, stranger.username, stranger.password, **THIEF)).status_code == 200


async def test_failures_a_day_apart_are_not_in_a_row(
    client: httpx.AsyncClient, stranger: Any, database: Database
) -> None:
    await fail(client, stranger.username, THIEF, 4)
    await age(database, stranger, "last_at", timedelta(days=1))
    await fail(client, stranger.username, THIEF, 4)
    assert (await attempt(client, stranger.username, stranger.password, **THIEF)).status_code == 200


async def test_a_try_whose_process_died_stands_in_nobody_s_way_for_long(
    client: httpx.AsyncClient, stranger: Any, database: Database
) -> None:
    await fail(client, stranger.username, THIEF, 1)
    async with database.transaction() as session:
        query = text("UPDATE guards SET pending = 4 WHERE user_id = :user")
        await session.execute(query, {"user": stranger.id})
    late = asyncio.create_task(attempt(client, stranger.username, stranger.password, **THIEF))
    await age(database, stranger, "last_at", timedelta(minutes=1))
    assert (await late).status_code == 200


async def test_an_unlock_lets_everybody_try_again(client: httpx.AsyncClient, stranger: Any, database: Database) -> None:
    await fail(client, stranger.username, THIEF)
    async with database.transaction() as session:
        user = await session.get_one(User, stranger.id)
        assert await guards.state(session, user, clock.now()) is not None
        assert await guards.unlock(session, user) >= 1
        assert await guards.state(session, user, clock.now()) is None
    assert (await attempt(client, stranger.username, stranger.password, **THIEF)).status_code == 200


def told(response: httpx.Response) -> tuple[Any, ...]:
    """All that a client can see, apart from what differs between any two answers."""
    problem = response.json()
    del problem["request_id"]
    headers = {name: value for name, value in response.headers.items() if name not in {"x-request-id", "retry-after"}}
    wait = response.headers.get("retry-after")
    return response.status_code, problem, headers, wait and int(wait) // 60


async def test_a_name_that_nobody_has_is_locked_in_the_same_way(
    client: httpx.AsyncClient, stranger: Any, database: Database
) -> None:
    nobody = f"nobody_{uuid4().hex[:12]}"
    for turn in range(7):
        known = await attempt(client, stranger.username, **THIEF)
        unknown = await attempt(client, nobody.upper() if turn % 2 else nobody, **THIEF)
        assert told(known) == told(unknown), turn
    async with database.transaction() as session:
        rows = (await session.execute(text("SELECT guards::text AS whole FROM guards"))).all()
    assert not any(nobody in row.whole for row in rows), "what was typed may be a password in the wrong field"


async def test_a_lock_is_told_to_the_owner_to_the_others_and_to_the_log(
    client: httpx.AsyncClient, stranger: Any, published: Any, database: Database, mail_server: MailServer
) -> None:
    began = clock.now()
    await fail(client, stranger.username, THIEF)
    await attempt(client, stranger.username, **THIEF)
    (event,) = await published("user.locked", stranger.id)
    assert event.failures == 5
    assert timedelta(minutes=30) <= event.locked_until - began < timedelta(minutes=31)

    async def letters() -> int:
        return sum("Wrong passwords" in letter.subject for letter in mail_server.to(stranger.email))

    await eventually(letters, what="a letter about the lock")
    assert await letters() == 1
    async with database.transaction() as session:
        query = text(
            "SELECT action, actor_kind, address, after FROM audit"
            " WHERE target_id = :user AND actor_kind <> 'user' ORDER BY id"
        )
        rows = (await session.execute(query, {"user": stranger.id})).all()
    assert [row.action for row in rows] == ["login.failure"] * 5 + ["account.lock"]
    assert {(row.actor_kind, row.address) for row in rows} == {("anonymous", "203.0.113.66")}
    assert rows[0].after == {"realm": "user", "reason": "wrong password", "source": "stranger"}
    assert datetime.fromisoformat(rows[-1].after["until"]) == event.locked_until


async def test_the_log_tells_of_a_name_that_nobody_has_without_the_name(
    client: httpx.AsyncClient, database: Database
) -> None:
    typed = f"My-Secret-{uuid4().hex}"
    await fail(client, typed, THIEF)
    async with database.transaction() as session:
        query = text("SELECT action, target_id, audit::text AS whole FROM audit ORDER BY id DESC LIMIT 6")
        rows = (await session.execute(query)).all()
    assert [(row.action, row.target_id) for row in rows] == [("account.lock", None)] + [("login.failure", None)] * 5
    assert not any(typed in row.whole for row in rows)


async def test_whoever_stole_a_session_guesses_its_password_no_more_often_than_a_stranger(
    client: httpx.AsyncClient, newcomer: Any, app: Any
) -> None:
    victim = await newcomer()
    stolen = UUID(jwt.decode(victim.tokens["access_token"], options={"verify_signature": False})["sid"])
    other = uuid4()
    logins = app.state.logins

    async def confirm(session_id: UUID, password: str) -> str:
        try:
            await logins.confirm(victim.id, session_id, password, OPERATOR)
        except (ForbiddenError, LockedError) as error:
            return str(error.code)
        return "confirmed"

    before = looked_at()
    outcomes = await asyncio.gather(*(confirm(stolen, WRONG) for _ in range(15)))
    assert sorted(outcomes) == ["account_locked"] * 10 + ["wrong_password"] * 5
    assert looked_at() - before == 5
    assert await confirm(stolen, victim.password) == "account_locked"
    assert await confirm(other, victim.password) == "confirmed"
    assert (await attempt(client, victim.username, victim.password, **THIEF)).status_code == 200
