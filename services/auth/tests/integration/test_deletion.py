"""How accounts go: blocked, deleted for a month, erased for good; and how they come back."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from litestar import Litestar
from sqlalchemy import text

from auth import deletion
from auth.audit import Actor
from auth.avatars import Avatars
from auth.models import User, metadata
from auth.origin import OPERATOR
from common import clock
from common.db import Database
from common.errors import ConflictError

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301010018dd8db0"
    "0000000049454e44ae426082"
)
TOKEN = {"name": "mine", "scopes": ["account:read"], "expires_in_days": 30}


async def act(database: Database, name: str, user_id: UUID) -> None:
    """Do something to an account as an admin's route or the owner's does."""
    async with database.transaction() as session:
        user = await session.get_one(User, user_id, with_for_update=True)
        await getattr(deletion, name)(session, user, actor=Actor.user(user_id), origin=OPERATOR)


async def age(database: Database, user_id: UUID, days: float) -> None:
    async with database.transaction() as session:
        at = {"at": clock.now() - timedelta(days=days), "id": user_id}
        await session.execute(text("UPDATE users SET deleted_at = :at WHERE id = :id"), at)


async def erase(app: Litestar, database: Database) -> int:
    return await deletion.erase_due(database, app.state.objects, clock.now(), limit=1000)


async def exists(database: Database, user_id: UUID) -> bool:
    async with database.transaction() as session:
        return await session.get(User, user_id) is not None


@pytest.mark.parametrize(("name", "reason"), [("deactivate", "blocked"), ("soft_delete", "deleted")])
async def test_who_is_gone_is_gone_at_once_and_others_hear_of_it(
    newcomer: Any, database: Database, published: Any, name: str, reason: str
) -> None:
    someone, viewer = await newcomer(), await newcomer()
    version = (await someone.get("/users/me")).json()["version"]
    await act(database, name, someone.id)
    assert (await someone.get("/users/me")).status_code == 401
    refreshed = await someone.http.post("/api/v1/auth/refresh", json={"refresh_token": someone.tokens["refresh_token"]})
    assert refreshed.status_code == 401
    assert (await someone.log_in()).status_code in {401, 403}
    assert (await viewer.get(f"/users/{someone.username}/profile")).status_code == 404
    [event] = await published("user.deactivated", someone.id)
    assert event.reason == reason
    [ended] = await published("session.revoked", someone.id)
    assert len(ended.session_ids) == 1
    assert await published("user.deleted", someone.id) == []
    async with database.transaction() as session:
        assert (await session.get_one(User, someone.id)).version == version + 1


async def test_who_is_blocked_comes_back_as_they_were(newcomer: Any, database: Database, published: Any) -> None:
    someone = await newcomer()
    await act(database, "deactivate", someone.id)
    await act(database, "activate", someone.id)
    assert (await someone.log_in()).status_code == 200
    [away], [back] = await published("user.deactivated", someone.id), await published("user.activated", someone.id)
    assert back.username == someone.username
    assert back.activated_at > away.deactivated_at


async def test_name_address_and_number_of_a_deleted_account_are_free(newcomer: Any, database: Database) -> None:
    someone = await newcomer()
    phone = "+4915133" + str(uuid4().int)[:6]
    assert (await someone.put("/users/me", phone=phone)).status_code == 200
    await act(database, "soft_delete", someone.id)
    other = await newcomer(username=someone.username.upper(), email=someone.email)
    assert (await other.put("/users/me", phone=phone)).status_code == 200


async def test_a_deleted_account_comes_back_with_everything_but_its_tokens(
    newcomer: Any, database: Database, published: Any
) -> None:
    someone = await newcomer(full_name="Ann")
    await someone.put("/users/me/preferences", theme="dark")
    made = await someone.call("POST", "/users/me/tokens", TOKEN)
    assert made.status_code == 201, made.text
    await act(database, "soft_delete", someone.id)
    await act(database, "restore", someone.id)
    [back] = await published("user.activated", someone.id)
    assert back.username == someone.username
    again = await someone.log_in()
    assert again.status_code == 200
    someone.headers = {"Authorization": f"Bearer {again.json()['access_token']}"}
    assert (await someone.get("/users/me/preferences")).json()["theme"] == "dark"
    assert (await someone.get("/users/me")).json()["full_name"] == "Ann"
    async with database.transaction() as session:
        query = text("SELECT count(*) FROM personal_access_tokens WHERE user_id = :id AND revoked_at IS NULL")
        assert await session.scalar(query, {"id": someone.id}) == 0


async def test_who_was_blocked_and_deleted_comes_back_blocked(
    newcomer: Any, database: Database, published: Any
) -> None:
    someone = await newcomer()
    for name in ("deactivate", "soft_delete", "restore"):
        await act(database, name, someone.id)
    assert await published("user.activated", someone.id) == []
    assert (await someone.log_in()).status_code in {401, 403}
    await act(database, "activate", someone.id)
    assert (await someone.log_in()).status_code == 200


@pytest.mark.parametrize(("field", "code"), [("username", "username_taken"), ("email", "email_taken")])
async def test_what_somebody_else_has_taken_meanwhile_keeps_an_account_from_coming_back(
    newcomer: Any, database: Database, published: Any, field: str, code: str
) -> None:
    someone = await newcomer()
    await act(database, "soft_delete", someone.id)
    await newcomer(**{field: getattr(someone, field).upper()})
    async with database.transaction() as session:
        user = await session.get_one(User, someone.id, with_for_update=True)
        with pytest.raises(ConflictError) as refusal:
            await deletion.restore(session, user, actor=Actor.user(someone.id), origin=OPERATOR)
        assert await session.scalar(text("SELECT 1")) == 1, "the transaction goes on for whoever restores many"
    assert refusal.value.code == code
    assert await published("user.activated", someone.id) == []
    async with database.transaction() as session:
        assert (await session.get_one(User, someone.id)).deleted_at is not None


async def test_after_thirty_days_there_is_no_way_back(newcomer: Any, database: Database) -> None:
    someone = await newcomer()
    await act(database, "soft_delete", someone.id)
    await age(database, someone.id, 30.01)
    with pytest.raises(ConflictError, match="restore_too_late"):
        await act(database, "restore", someone.id)


async def everywhere(database: Database, needles: list[str]) -> dict[str, list[str]]:
    """Which tables hold any of these texts. The outbox is pruned in time, and the audit log keeps ids for good."""
    found = {}
    async with database.transaction() as session:
        for table in metadata.sorted_tables:
            if table.name in {"outbox", "audit"}:
                continue
            rows = "\n".join(await session.scalars(text(f"SELECT t::text FROM {table.name} t"))).lower()
            if hits := [needle for needle in needles if needle.lower() in rows]:
                found[table.name] = hits
    return found


async def test_what_is_erased_leaves_nothing_behind_and_is_told_once(
    newcomer: Any, app: Litestar, database: Database, published: Any
) -> None:
    someone, kept = await newcomer(full_name="Erasable Person"), await newcomer()
    phone = "+4915144" + str(uuid4().int)[:6]
    await someone.put("/users/me", phone=phone)
    await someone.put("/users/me/preferences", theme="dark")
    await someone.call("POST", "/users/me/tokens", TOKEN)
    await someone.log_in("Wrong44password")
    avatars: Avatars = app.state.avatars
    picture = (await avatars.put(someone.id, PIXEL, origin=OPERATOR)).object_name
    member = "INSERT INTO league_members VALUES (:id, gen_random_uuid(), NULL, 1)"
    async with database.transaction() as session:
        await session.execute(text(member), {"id": someone.id})
    needles = [str(someone.id), someone.username, someone.email, phone, "Erasable"]
    await act(database, "soft_delete", someone.id)
    await age(database, someone.id, 29.9)
    await erase(app, database)
    assert await exists(database, someone.id), "not yet"
    await age(database, someone.id, 30.01)
    assert sum(await asyncio.gather(*(erase(app, database) for _ in range(4)))) == 1
    assert await everywhere(database, needles) == {}
    assert await app.state.objects.read(picture) is None
    assert len(await published("user.deleted", someone.id)) == 1
    assert await erase(app, database) == 0
    assert (await kept.get("/users/me")).status_code == 200
    async with database.transaction() as session:
        told = await session.scalars(text("SELECT t::text FROM audit t WHERE target_id = :id"), {"id": someone.id})
        log = "\n".join(told)
    assert log, "the audit log keeps what was done"
    assert not any(needle.lower() in log.lower() for needle in needles[1:]), "and no name"


async def test_an_account_that_is_restored_while_it_is_due_is_erased_or_restored_never_both(
    newcomer: Any, app: Litestar, database: Database, published: Any
) -> None:
    for _ in range(5):
        someone = await newcomer()
        await act(database, "soft_delete", someone.id)
        await age(database, someone.id, 30 - 0.0000001)
        outcomes = await asyncio.gather(
            act(database, "restore", someone.id),
            deletion.erase_due(database, app.state.objects, clock.now() + timedelta(seconds=1), limit=10),
            return_exceptions=True,
        )
        there, told = await exists(database, someone.id), await published("user.deleted", someone.id)
        assert there != bool(told), outcomes


async def test_erasing_stops_at_its_limit_and_one_after_the_other(
    newcomer: Any, app: Litestar, database: Database
) -> None:
    people = [await newcomer() for _ in range(3)]
    for number, someone in enumerate(people):
        await act(database, "soft_delete", someone.id)
        await age(database, someone.id, 40 - number)
    now = clock.now()
    assert await deletion.erase_due(database, app.state.objects, now, limit=2) == 2
    assert [await exists(database, someone.id) for someone in people] == [False, False, True]
    assert await deletion.erase_due(database, app.state.objects, now, limit=2) == 1
