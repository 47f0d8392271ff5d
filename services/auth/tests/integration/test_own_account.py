"""What takes the password once more: changing it, and leaving."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from common.db import Database
from devstack.testing import eventually

PASSWORD = "/users/me/password"
ME = "/users/me"
NEW = "Parc9Ferme!"
TOKEN = {"name": "mine", "scopes": ["account:read", "account:write"], "expires_in_days": 30}


async def change(someone: Any, current: str, new: str = NEW) -> httpx.Response:
    response: httpx.Response = await someone.put(PASSWORD, current_password=current, new_password=new)
    return response


async def leave(someone: Any, password: str) -> httpx.Response:
    response: httpx.Response = await someone.call("DELETE", ME, {"current_password": password})
    return response


async def refresh(someone: Any, tokens: dict[str, str]) -> int:
    body = {"refresh_token": tokens["refresh_token"]}
    return int((await someone.http.post("/api/v1/auth/refresh", json=body)).status_code)


async def ask(http: httpx.AsyncClient, access_token: str) -> int:
    headers = {"Authorization": f"Bearer {access_token}"}
    return (await http.get(f"/api/v1{ME}", headers=headers)).status_code


async def refused(http: httpx.AsyncClient, access_token: str) -> None:
    async def over() -> bool:
        return await ask(http, access_token) == 401

    await eventually(over, seconds=20, what="the end of an access token")


async def rows(database: Database, query: str, user_id: Any) -> list[Any]:
    async with database.transaction() as session:
        return list((await session.execute(text(query), {"id": user_id})).all())


async def test_a_new_password_ends_every_other_session_and_keeps_this_one(newcomer: Any, database: Database) -> None:
    someone = await newcomer()
    other = (await someone.log_in()).json()
    made = (await someone.call("POST", "/users/me/tokens", TOKEN)).json()
    assert (await change(someone, someone.password)).status_code == 204
    await refused(someone.http, other["access_token"])
    assert await refresh(someone, other) == 401
    assert (await someone.get(ME)).status_code == 200
    assert await refresh(someone, someone.tokens) == 200
    assert (await someone.log_in()).status_code == 401
    assert (await someone.log_in(NEW)).status_code == 200
    exchanged = await someone.http.post("/internal/tokens/exchange", json={"token": made["token"]})
    assert exchanged.status_code == 200, "a program's token is a credential of its own"
    letters = await rows(database, "SELECT kind FROM mails WHERE user_id = :id", someone.id)
    assert ("password_changed",) in [tuple(row) for row in letters]
    entries = await rows(
        database, "SELECT * FROM audit WHERE target_id = :id AND action = 'password.change'", someone.id
    )
    assert [entry.actor_id for entry in entries] == [someone.id]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"new_password": NEW},
        {"current_password": "Slipstream44"},
        {"current_password": "Slipstream44", "new_password": "Sh0rt"},
        {"current_password": "Slipstream44", "new_password": "x" * 257},
        {"current_password": "Slipstream44", "new_password": "alllowercase1"},
        {"current_password": "Slipstream44", "new_password": "Password1"},
        {"current_password": "Slipstream44", "new_password": "Slipstream44"},
        {"current_password": "Slipstream44", "new_password": NEW, "is_admin": True},
        {"current_password": None, "new_password": NEW},
        {"current_password": "", "new_password": NEW},
    ],
)
async def test_a_new_password_that_is_none_changes_nothing(newcomer: Any, body: dict[str, Any]) -> None:
    someone = await newcomer()
    response = await someone.call("PUT", PASSWORD, body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert (await someone.log_in()).status_code == 200


@pytest.mark.parametrize("act", [change, leave])
async def test_a_wrong_password_does_nothing_and_too_many_are_checked_no_more(newcomer: Any, act: Any) -> None:
    someone, other = await newcomer(), await newcomer()
    for _ in range(5):
        wrong = await act(someone, "Wrong44password")
        assert (wrong.status_code, wrong.json()["code"]) == (403, "wrong_password")
    locked = await act(someone, someone.password)
    assert (locked.status_code, locked.json()["code"]) == (423, "account_locked")
    assert 0 < int(locked.headers["retry-after"]) <= 1800
    assert (await someone.get(ME)).status_code == 200
    assert (await act(other, other.password)).status_code == 204


async def test_of_many_wrong_passwords_at_once_exactly_the_limits_worth_are_checked(newcomer: Any) -> None:
    someone = await newcomer()
    answers = await asyncio.gather(*(leave(someone, f"Wrong44password{number}") for number in range(15)))
    assert sorted(answer.status_code for answer in answers) == [403] * 5 + [423] * 10


async def test_of_two_new_passwords_at_once_one_holds(newcomer: Any) -> None:
    someone = await newcomer()
    wanted = [f"{NEW}{number}" for number in range(4)]
    answers = await asyncio.gather(*(change(someone, someone.password, new) for new in wanted))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 403, 409}
    worked = [(await someone.log_in(new)).status_code for new in wanted]
    assert worked == [200 if status == 204 else 401 for status in statuses]


async def test_whoever_leaves_is_gone_at_once(newcomer: Any, database: Database, published: Any) -> None:
    someone, viewer = await newcomer(), await newcomer()
    other = (await someone.log_in()).json()
    made = (await someone.call("POST", "/users/me/tokens", TOKEN)).json()
    gone = await leave(someone, someone.password)
    assert (gone.status_code, gone.content) == (204, b"")
    for tokens in (someone.tokens, other):
        assert await refresh(someone, tokens) == 401
        assert await ask(someone.http, tokens["access_token"]) == 401
    exchanged = await someone.http.post("/internal/tokens/exchange", json={"token": made["token"]})
    assert exchanged.status_code == 401
    assert (await someone.log_in()).status_code == 401, "as for a name that nobody has"
    assert (await viewer.get(f"/users/{someone.username}/profile")).status_code == 404
    letters = await rows(database, "SELECT kind, facts FROM mails WHERE user_id = :id", someone.id)
    [facts] = [letter.facts for letter in letters if letter.kind == "account_deleted"]
    [event] = await published("user.deactivated", someone.id)
    assert facts["restore_until"] > event.deactivated_at.isoformat()
    entries = await rows(
        database, "SELECT * FROM audit WHERE target_id = :id AND action = 'account.delete'", someone.id
    )
    assert len(entries) == 1
    assert (await newcomer(username=someone.username, email=someone.email)).username == someone.username


async def test_leaving_twice_at_once_is_leaving_once(newcomer: Any, published: Any) -> None:
    someone = await newcomer()
    answers = await asyncio.gather(*(leave(someone, someone.password) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [204, 401, 401, 401]
    assert len(await published("user.deactivated", someone.id)) == 1


@pytest.mark.parametrize(("method", "path"), [("PUT", PASSWORD), ("DELETE", ME)])
async def test_neither_is_for_strangers_nor_for_programs(
    newcomer: Any, client: httpx.AsyncClient, method: str, path: str
) -> None:
    someone = await newcomer()
    body = {"current_password": someone.password} | ({"new_password": NEW} if method == "PUT" else {})
    assert (await client.request(method, f"/api/v1{path}", json=body)).status_code == 401
    made = (await someone.call("POST", "/users/me/tokens", TOKEN)).json()
    exchanged = (await client.post("/internal/tokens/exchange", json={"token": made["token"]})).json()
    headers = {"Authorization": f"Bearer {exchanged['access_token']}"}
    response = await client.request(method, f"/api/v1{path}", json=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")
    assert (await someone.log_in()).status_code == 200
