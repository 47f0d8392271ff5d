"""What has no use any more is removed, whatever still has is not, and one does it at a time."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import func, select, text

from auth import purge
from auth.models import (
    Allowance,
    Familiar,
    Guard,
    LoginSession,
    Mail,
    Model,
    OneTimeToken,
    PersonalAccessToken,
    RegistrationKey,
    User,
)
from auth.objects import Objects
from auth.purge import Purge
from auth.settings import AuthSettings
from common import clock
from common.db import Database

DAY = timedelta(days=1)
NOW = clock.now()


@pytest.fixture
async def own(fresh_settings: AuthSettings) -> AsyncIterator[Database]:
    database = Database(fresh_settings, "auth")
    yield database
    await database.close()


def login(user_id: UUID, **facts: Any) -> LoginSession:
    values = {"generation": 0, "created_at": NOW, "rotated_at": NOW, "expires_at": NOW + 60 * DAY} | facts
    return LoginSession(id=uuid4(), user_id=user_id, **values)


def link(user_id: UUID, days: int) -> OneTimeToken:
    return OneTimeToken(
        id=uuid4(),
        user_id=user_id,
        purpose="verify_email",
        token_hash=uuid4().bytes * 2,
        email="x@example.com",
        created_at=NOW - 40 * DAY,
        expires_at=NOW - days * DAY,
        used_at=NOW,
    )


def letter(user_id: UUID, days: int) -> Mail:
    return Mail(
        id=uuid4(),
        user_id=user_id,
        kind="email_changed",
        address="x@example.com",
        facts={},
        created_at=NOW - days * DAY,
    )


def guard(days: float, **facts: Any) -> Guard:
    return Guard(subject=uuid4().bytes, origin="stranger", failures=1, pending=0, last_at=NOW - days * DAY, **facts)


def token(user_id: UUID, days: int, **facts: Any) -> PersonalAccessToken:
    return PersonalAccessToken(
        id=uuid4(),
        user_id=user_id,
        name=uuid4().hex,
        token_hash=uuid4().bytes * 2,
        hint="abcd",
        scopes=[],
        created_at=NOW - 400 * DAY,
        expires_at=NOW - days * DAY,
        **facts,
    )


def account(**facts: Any) -> User:
    name = uuid4().hex
    return User(id=uuid4(), username=name, email=f"{name}@example.com", password_hash="x", created_at=NOW, **facts)


def rows(user: UUID) -> dict[str, tuple[type[Model], list[Model], list[Model]]]:
    """Give by kind: the table, what is to go, and what is to stay."""
    over = {"revoked_because": "test"}
    return {
        "sessions": (
            LoginSession,
            [
                login(user, expires_at=NOW - 31 * DAY),
                login(user, revoked_at=NOW - 31 * DAY, **over),
                login(user, rotated_at=NOW - 45 * DAY),
            ],
            [
                login(user),
                login(user, expires_at=NOW - 29 * DAY),
                login(user, revoked_at=NOW - 29 * DAY, **over),
                login(user, rotated_at=NOW - 43 * DAY),
            ],
        ),
        "one_time_tokens": (OneTimeToken, [link(user, 2)], [link(user, 0), link(user, -1)]),
        "mails": (Mail, [letter(user, 31)], [letter(user, 29)]),
        "guards": (
            Guard,
            [guard(1.1), guard(2, locked_until=NOW - DAY)],
            [guard(0.9), guard(2, locked_until=NOW + DAY)],
        ),
        "familiar": (
            Familiar,
            [Familiar(user_id=user, origin="address:old", last_used_at=NOW - 91 * DAY)],
            [Familiar(user_id=user, origin="address:new", last_used_at=NOW - 89 * DAY)],
        ),
        "allowances": (
            Allowance,
            [Allowance(name="whole again", due=NOW - DAY)],
            [Allowance(name="used up", due=NOW + DAY)],
        ),
        "access_tokens": (PersonalAccessToken, [token(user, 31)], [token(user, 29), token(user, -1)]),
        "registration_keys": (
            RegistrationKey,
            [RegistrationKey(key_hash=b"old", fingerprint="x", answer=b"x", created_at=NOW - 2 * DAY)],
            [RegistrationKey(key_hash=b"new", fingerprint="x", answer=b"x", created_at=NOW)],
        ),
    }


async def count(database: Database, model: type[Model]) -> int:
    async with database.transaction() as session:
        return await session.scalar(select(func.count()).select_from(model)) or 0


async def test_each_kind_goes_when_its_time_is_over_and_no_earlier(
    own: Database, fresh_settings: AuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "BATCH", 2)
    kept, gone = account(), account(deleted_at=NOW - 31 * DAY)
    back = account(deleted_at=NOW - 29 * DAY)
    kinds = rows(kept.id)
    async with own.transaction() as session:
        session.add_all([kept, gone, back])
        await session.flush()
        for _, useless, useful in kinds.values():
            session.add_all([*useless, *useful])
    before = {kind: REGISTRY.get_sample_value("auth_purged_total", {"kind": kind}) or 0 for kind in kinds}
    expected = {kind: len(useless) for kind, (_, useless, _) in kinds.items()}
    purged = await Purge(fresh_settings, own, Objects(fresh_settings)).run()
    assert purged == {**expected, "accounts": 1, "pictures": 0}
    assert {kind: await count(own, table) for kind, (table, _, _) in kinds.items()} == {
        kind: len(useful) for kind, (_, _, useful) in kinds.items()
    }
    async with own.transaction() as session:
        assert set((await session.scalars(select(User.id))).all()) == {kept.id, back.id}
    after = {kind: REGISTRY.get_sample_value("auth_purged_total", {"kind": kind}) or 0 for kind in kinds}
    assert {kind: after[kind] - before[kind] for kind in kinds} == expected


async def test_of_several_one_does_it_and_the_others_leave_it(own: Database, fresh_settings: AuthSettings) -> None:
    async with own.transaction() as session:
        session.add_all([guard(3) for _ in range(50)])
    at_it = asyncio.Event()
    go_on = asyncio.Event()
    slow, other = Purge(fresh_settings, own, None), Purge(fresh_settings, own, None)

    async def wait(_: Any) -> int:
        at_it.set()
        await go_on.wait()
        return 0

    slow._steps = {"slow": wait, **slow._steps}
    first = asyncio.create_task(slow.run())
    await at_it.wait()
    assert await other.run() is None
    go_on.set()
    purged = await first
    assert purged is not None
    assert purged["guards"] == 50
    again = await other.run()
    assert again is not None
    assert again["guards"] == 0


async def test_a_kind_that_cannot_be_removed_does_not_keep_the_others(
    own: Database, fresh_settings: AuthSettings
) -> None:
    async with own.transaction() as session:
        session.add(guard(3))
        await session.execute(text("DROP TABLE mails CASCADE"))
    before = REGISTRY.get_sample_value("auth_purge_failures_total", {"kind": "mails"}) or 0
    purged = await Purge(fresh_settings, own, None).run()
    assert purged is not None
    assert (purged["mails"], purged["guards"]) == (0, 1)
    assert REGISTRY.get_sample_value("auth_purge_failures_total", {"kind": "mails"}) == before + 1


async def test_rows_that_somebody_works_on_are_left_for_the_next_time(
    own: Database, fresh_settings: AuthSettings
) -> None:
    async with own.transaction() as session:
        session.add_all([guard(3), guard(3)])
    worker = Purge(fresh_settings, own, None)
    async with own.transaction() as session:
        await session.scalars(select(Guard).limit(1).with_for_update())
        first = await worker.run()
    second = await worker.run()
    assert [done["guards"] for done in (first, second) if done] == [1, 1]


def test_the_interval_has_bounds() -> None:
    for minutes in (0, 1441):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"purge_minutes": minutes}, AuthSettings)
