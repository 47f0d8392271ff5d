"""Who may not know which accounts there are learns nothing: by answers, by what is computed, or by what is asked.

Time is compared in `bench/login.py`; here is counted what takes it: rounds of bcrypt, and statements.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
from litestar import Litestar
from prometheus_client import REGISTRY
from sqlalchemy import event, text

from auth.app import create_app
from auth.settings import AuthSettings
from common.db import Database
from devstack.testing import eventually, running
from lab.mail_server import MailServer

LOGIN, REGISTER = "/api/v1/auth/login", "/api/v1/auth/register"
WRONG = "Wrong password 1"


def rounds() -> float:
    return REGISTRY.get_sample_value("auth_password_rounds_total") or 0


@contextmanager
def statements(app: Litestar) -> Iterator[list[str]]:
    """Collect what an app asks its database; nothing of it runs in the background."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    engine = app.state.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


Quiet = tuple[Litestar, httpx.AsyncClient]


async def quiet(settings: AuthSettings) -> AsyncIterator[Quiet]:
    app = create_app(settings)
    asgi: Any = app
    async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://test") as client:
        await client.get("/.well-known/jwks.json")
        yield app, client
    await app.state.database.close()


@pytest.fixture(scope="module")
async def plain(settings: AuthSettings, client: httpx.AsyncClient) -> AsyncIterator[Quiet]:  # noqa: ARG001 - keys first
    async for made in quiet(settings):
        yield made


@pytest.fixture(scope="module")
async def hidden(settings: AuthSettings, client: httpx.AsyncClient) -> AsyncIterator[Quiet]:  # noqa: ARG001 - keys first
    """An app that tells nobody which addresses have an account."""
    async for made in quiet(msgspec.structs.replace(settings, hide_accounts=True)):
        yield made


Cost = tuple[int, str, list[str], float, dict[str, str]]


async def cost(of: Quiet, path: str, body: dict[str, Any], leave: tuple[str, ...] = ()) -> Cost:
    """Return what an answer tells and what it took: status, body, statements, rounds, headers."""
    app, client = of
    before = rounds()
    with statements(app) as asked:
        response = await client.post(path, json=body)
    told = {name: value for name, value in response.json().items() if name not in {"request_id", *leave}}
    headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
    return response.status_code, str(told), asked, rounds() - before, headers


async def change(database: Database, user_id: UUID, assignment: str) -> None:
    async with database.transaction() as session:
        await session.execute(text(f"UPDATE users SET {assignment} WHERE id = :id"), {"id": user_id})


async def test_a_login_that_fails_costs_and_tells_the_same_whoever_it_is(
    plain: Quiet, newcomer: Any, database: Database
) -> None:
    people = {name: await newcomer() for name in ("active", "deactivated", "deleted", "must reset")}
    await change(database, people["deactivated"].id, "deactivated_at = now()")
    await change(database, people["deleted"].id, "deleted_at = now()")
    await change(database, people["must reset"].id, "must_reset_password = true")
    names = {"unknown": f"nobody_{uuid4().hex[:8]}", "unknown address": f"{uuid4().hex}@example.com"}
    names |= {kind: one.username for kind, one in people.items()} | {"by address": people["active"].email}
    costs = {kind: await cost(plain, LOGIN, {"username": name, "password": WRONG}) for kind, name in names.items()}
    usual = costs["active"]
    assert (usual[0], usual[3]) == (401, 2**4)
    assert len(usual[2]) > 5
    for kind, found in costs.items():
        by_address = kind.endswith("address")
        asked = [one.replace("lower(users.email)", "lower(users.username)") if by_address else one for one in found[2]]
        assert (*found[:2], asked, *found[3:]) == usual, kind


async def test_an_account_of_a_cheaper_time_costs_what_nobody_costs(
    settings: AuthSettings,
    newcomer: Any,
    client: httpx.AsyncClient,  # noqa: ARG001 - keys first
) -> None:
    someone = await newcomer()
    async for dearer in quiet(msgspec.structs.replace(settings, bcrypt_cost=7)):
        known = await cost(dearer, LOGIN, {"username": someone.username, "password": WRONG})
        unknown = await cost(dearer, LOGIN, {"username": f"nobody_{uuid4().hex[:8]}", "password": WRONG})
        assert known == unknown
        assert known[3] == 2**7


async def test_a_hidden_account_that_is_not_proved_is_a_wrong_password_even_with_the_right_one(
    hidden: Quiet, newcomer: Any, database: Database
) -> None:
    someone = await newcomer()
    right = await cost(hidden, LOGIN, {"username": someone.username, "password": someone.password})
    wrong = await cost(hidden, LOGIN, {"username": someone.username, "password": WRONG})
    nobody = await cost(hidden, LOGIN, {"username": f"nobody_{uuid4().hex[:8]}", "password": WRONG})
    assert right == wrong == nobody
    assert right[0] == 401
    await change(database, someone.id, "email_verified_at = now()")
    proved = await hidden[1].post(LOGIN, json={"username": someone.username, "password": someone.password})
    assert proved.status_code == 200


async def test_a_lock_does_not_tell_whose_address_it_is_where_accounts_are_hidden(hidden: Quiet, newcomer: Any) -> None:
    someone = await newcomer()
    for _ in range(5):
        assert (await hidden[1].post(LOGIN, json={"username": someone.username, "password": WRONG})).status_code == 401
    by_name = await hidden[1].post(LOGIN, json={"username": someone.username, "password": WRONG})
    by_address = await hidden[1].post(LOGIN, json={"username": someone.email, "password": WRONG})
    assert (by_name.status_code, by_address.status_code) == (423, 401)


def newcomer_body(**changes: str) -> dict[str, str]:
    name = f"driver_{uuid4().hex[:12]}"
    return {"username": name, "email": f"{name}@example.com", "password": "Slipstream44"} | changes


async def test_registering_an_address_that_is_taken_costs_and_tells_the_same_where_accounts_are_hidden(
    hidden: Quiet, newcomer: Any
) -> None:
    someone = await newcomer()
    varying = ("id", "username", "email", "created_at")
    free = await cost(hidden, REGISTER, newcomer_body(), varying)
    taken = await cost(hidden, REGISTER, newcomer_body(email=someone.email.upper()), varying)
    free[4].pop("content-length")
    taken[4].pop("content-length")
    assert free == taken
    assert free[0] == 201
    response = await hidden[1].post(REGISTER, json=newcomer_body(email=someone.email))
    assert response.json()["email"] == someone.email


async def test_what_was_opened_for_a_taken_address_is_a_name_that_nobody_can_log_in_to(
    hidden: Quiet, newcomer: Any, database: Database
) -> None:
    someone = await newcomer()
    ghost = newcomer_body(email=someone.email)
    assert (await hidden[1].post(REGISTER, json=ghost)).status_code == 201
    assert (await hidden[1].post(REGISTER, json=newcomer_body(username=ghost["username"].upper()))).status_code == 409
    for name in (ghost["username"], someone.email):
        answer = await hidden[1].post(LOGIN, json={"username": name, "password": ghost["password"]})
        assert answer.status_code == 401
    async with database.transaction() as session:
        query = text("SELECT email FROM users WHERE username = :name")
        assert str(await session.scalar(query, {"name": ghost["username"]})).endswith("@nowhere.invalid")
        query = text("SELECT count(*) FROM users WHERE lower(email) = lower(:email)")
        assert await session.scalar(query, {"email": someone.email}) == 1


async def test_whoever_has_the_address_is_told_that_they_have_an_account(
    settings: AuthSettings, newcomer: Any, database: Database, mail_server: MailServer
) -> None:
    someone = await newcomer()
    await change(database, someone.id, "email_verified_at = now()")
    async with running(create_app(msgspec.structs.replace(settings, hide_accounts=True))) as client:
        body = newcomer_body(email=someone.email)
        assert (await client.post(REGISTER, json=body)).status_code == 201

        async def letter() -> bool:
            return any("have an account" in one.subject for one in mail_server.to(someone.email))

        await eventually(letter, what="a letter that tells of the account there is")


async def test_of_parallel_registrations_of_one_hidden_address_one_gets_it_and_all_the_same_answer(
    hidden: Quiet, database: Database
) -> None:
    address = f"{uuid4().hex}@example.com"
    answers = await asyncio.gather(*(hidden[1].post(REGISTER, json=newcomer_body(email=address)) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {201}
    async with database.transaction() as session:
        query = text("SELECT count(*) FROM users WHERE email = :email")
        assert await session.scalar(query, {"email": address}) == 1


async def test_a_taken_name_is_told_although_its_address_is_taken_too(hidden: Quiet, newcomer: Any) -> None:
    someone = await newcomer()
    for email in (someone.email, f"{uuid4().hex}@example.com"):
        answer = await hidden[1].post(REGISTER, json=newcomer_body(username=someone.username, email=email))
        assert (answer.status_code, answer.json()["code"]) == (409, "username_taken")
