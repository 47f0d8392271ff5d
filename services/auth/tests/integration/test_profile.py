"""One's own account: what its owner may change, and what not even they may."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from common import clock
from common.db import Database


async def audited(database: Database, user_id: Any, action: str) -> list[Any]:
    async with database.transaction() as session:
        query = text("SELECT * FROM audit WHERE target_id = :id AND action = :action ORDER BY id")
        return list((await session.execute(query, {"id": user_id, "action": action})).all())


async def test_the_account_says_everything_its_owner_may_know(newcomer: Any) -> None:
    someone = await newcomer(full_name="Nico Hülkenberg")
    response = await someone.get("/users/me")
    body = response.json()
    assert response.headers["etag"] == '"1"'
    assert body["version"] == 1
    assert (body["full_name"], body["phone"], body["avatar_url"]) == ("Nico Hülkenberg", None, None)
    assert body["email_verified"] is False
    assert body["updated_at"] >= body["created_at"]
    assert body["id"] == str(someone.id)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_what_is_left_out_stays_and_null_takes_away(newcomer: Any, method: str) -> None:
    someone = await newcomer(full_name="Nico Hülkenberg")
    changed = await someone.call(method, "/users/me", {"phone": "+49 (0)151 1234-5678"})
    assert changed.status_code == 200, changed.text
    body = changed.json()
    assert (body["phone"], body["full_name"], body["version"]) == ("+4915112345678", "Nico Hülkenberg", 2)
    assert changed.headers["etag"] == '"2"'
    gone = (await someone.call(method, "/users/me", {"phone": None, "full_name": "  "})).json()
    assert (gone["phone"], gone["full_name"]) == (None, None)
    assert (await someone.get("/users/me")).json() == gone


async def test_a_change_is_told_once_with_a_growing_version(newcomer: Any, published: Any, database: Database) -> None:
    someone = await newcomer()
    name = f"new_{uuid4().hex[:12]}"
    await someone.put("/users/me", username=name, full_name="Ann")
    await someone.put("/users/me", username=name, full_name="Ann")
    await someone.put("/users/me", full_name="Ann B")
    events = await published("user.updated", someone.id)
    assert [(event.username, event.full_name, event.profile_version) for event in events] == [
        (name, "Ann", 2),
        (name, "Ann B", 3),
    ]
    entries = await audited(database, someone.id, "profile.change")
    assert [entry.after for entry in entries] == [{"fields": ["full_name", "username"]}, {"fields": ["full_name"]}]
    assert entries[0].actor_id == someone.id


PRIVILEGED = ["is_admin", "is_superuser", "is_active", "is_verified", "email", "email_verified", "id", "version"]
PRIVILEGED += ["password", "password_hash", "deleted_at", "deactivated_at", "must_reset_password", "scopes", "points"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("field", PRIVILEGED)
async def test_a_field_that_is_not_the_owners_to_set_refuses_the_whole_change(
    newcomer: Any, database: Database, method: str, field: str
) -> None:
    someone = await newcomer()
    async with database.transaction() as session:
        before = (await session.execute(text("SELECT * FROM users WHERE id = :id"), {"id": someone.id})).one()
    response = await someone.call(method, "/users/me", {field: True, "full_name": "Changed"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    async with database.transaction() as session:
        after = (await session.execute(text("SELECT * FROM users WHERE id = :id"), {"id": someone.id})).one()
    assert after == before


@pytest.mark.parametrize(
    "fields",
    [
        {"username": None},
        {"username": "ab"},
        {"username": "a" * 51},
        {"username": "not a name"},
        {"username": "trailing\n"},
        {"username": "émile"},
        {"full_name": "x" * 101},
        {"full_name": "tab\tin it"},
        {"full_name": "nul\0in it"},
        {"phone": ""},
        {"phone": "0151 12345678"},
        {"phone": "+1"},
        {"phone": "+999 123456"},
        {"phone": "+4915112345678 ext. 5"},
        {"phone": "+" + "1" * 60},
        {"phone": 4915112345678},
        {"full_name": ["x"]},
    ],
)
async def test_what_cannot_be_a_name_or_a_number_is_refused(newcomer: Any, fields: dict[str, Any]) -> None:
    someone = await newcomer()
    response = await someone.put("/users/me", **fields)
    assert response.status_code == 422, response.text
    assert (await someone.get("/users/me")).json()["version"] == 1


async def test_a_stale_tag_changes_nothing(newcomer: Any) -> None:
    someone = await newcomer()
    tag = (await someone.get("/users/me")).headers["etag"]
    first = await someone.call("PUT", "/users/me", {"full_name": "First"}, **{"If-Match": tag})
    assert first.status_code == 200
    for stale in (tag, '"77"', "nonsense", f"W/{first.headers['etag']}", '"1", "77"'):
        late = await someone.call("PATCH", "/users/me", {"full_name": "Late"}, **{"If-Match": stale})
        assert (late.status_code, late.json()["code"]) == (412, "stale_version"), stale
    for good in ("*", first.headers["etag"], f'"9", {first.headers["etag"]}'):
        same = await someone.call("PUT", "/users/me", {"full_name": "First"}, **{"If-Match": good})
        assert same.status_code == 200, good
    assert (await someone.get("/users/me")).json()["full_name"] == "First"


async def test_of_many_changes_to_one_version_exactly_one_wins(newcomer: Any) -> None:
    someone = await newcomer()
    changes = [
        someone.call("PUT", "/users/me", {"full_name": f"Try {number}"}, **{"If-Match": '"1"'}) for number in range(10)
    ]
    statuses = sorted(response.status_code for response in await asyncio.gather(*changes))
    assert statuses == [200] + [412] * 9


async def test_a_name_is_taken_in_any_case_and_only_once_under_concurrency(newcomer: Any) -> None:
    people = [await newcomer() for _ in range(6)]
    wanted = f"Wanted_{uuid4().hex[:10]}"
    names = [wanted, wanted.upper(), wanted.lower()] * 2
    tries = [someone.put("/users/me", username=name) for someone, name in zip(people, names, strict=True)]
    answers = await asyncio.gather(*tries)
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"username_taken"}


async def test_a_telephone_number_is_one_persons_however_it_is_written(newcomer: Any) -> None:
    one, other = await newcomer(), await newcomer()
    digits = str(uuid4().int)[:7]
    assert (await one.put("/users/me", phone=f"+44 7400 {digits[:6]}")).status_code == 200
    taken = await other.put("/users/me", phone=f"tel:+447400{digits[:6]}")
    assert (taken.status_code, taken.json()["code"]) == (409, "phone_taken")
    await one.put("/users/me", phone=None)
    assert (await other.put("/users/me", phone=f"+447400{digits[:6]}")).status_code == 200


async def test_a_username_changes_once_in_thirty_days(newcomer: Any, database: Database) -> None:
    someone = await newcomer()
    first, second = f"one_{uuid4().hex[:10]}", f"two_{uuid4().hex[:10]}"
    assert (await someone.put("/users/me", username=first)).status_code == 200
    assert (await someone.put("/users/me", username=first)).status_code == 200
    refused = await someone.put("/users/me", username=second)
    assert (refused.status_code, refused.json()["code"]) == (409, "username_changed_recently")
    assert 29 * 86400 < int(refused.headers["retry-after"]) <= 30 * 86400
    for days, status in ((29, 409), (31, 200)):
        async with database.transaction() as session:
            earlier = {"at": clock.now() - timedelta(days=days), "id": someone.id}
            await session.execute(text("UPDATE users SET username_changed_at = :at WHERE id = :id"), earlier)
        assert (await someone.put("/users/me", username=second)).status_code == status


async def test_the_new_name_logs_in_and_the_old_one_is_free(newcomer: Any) -> None:
    someone = await newcomer()
    old, new = someone.username, f"new_{uuid4().hex[:12]}"
    await someone.put("/users/me", username=new)
    assert (await someone.log_in()).status_code == 401
    someone.username = new
    assert (await someone.log_in()).status_code == 200
    assert (await newcomer(username=old)).username == old


@pytest.mark.parametrize("column", ["deleted_at", "deactivated_at"])
async def test_an_account_out_of_use_reads_and_changes_nothing(newcomer: Any, database: Database, column: str) -> None:
    someone = await newcomer()
    async with database.transaction() as session:
        await session.execute(text(f"UPDATE users SET {column} = now() WHERE id = :id"), {"id": someone.id})
    for response in (await someone.get("/users/me"), await someone.put("/users/me", full_name="Ghost")):
        assert (response.status_code, response.json()["code"]) == (401, "invalid_token")


async def test_who_tries_names_and_numbers_has_to_wait_although_each_try_fails(newcomer: Any) -> None:
    someone, other = await newcomer(), await newcomer()
    statuses = [(await someone.put("/users/me", username=other.username)).status_code for _ in range(31)]
    assert statuses == [409] * 30 + [429]
    assert (await other.put("/users/me", full_name="Ann")).status_code == 200
