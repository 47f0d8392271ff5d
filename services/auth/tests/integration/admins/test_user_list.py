"""The list of accounts: every filter alone and together, in an order that is the same however it is cut."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from auth import user_list
from auth.models import Guard, User
from auth.settings import AuthSettings
from auth.user_list import Filters, Order
from common.db import Database

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def person(username: str, day: int, **facts: Any) -> User:
    email = facts.pop("email", f"{username}@example.com")
    return User(id=uuid4(), username=username, email=email, password_hash="x", created_at=NOW - day * DAY, **facts)


@pytest.fixture
async def crowd(fresh_settings: AuthSettings) -> AsyncIterator[Database]:
    """Seven people: what is true of whom is in the name."""
    database = Database(fresh_settings, "auth")
    people = [
        person("plain", 1),
        person("Verified", 2, email_verified_at=NOW, full_name="Nadia Ömer"),
        person("blocked", 3, deactivated_at=NOW),
        person("deleted", 4, deleted_at=NOW, email="gone_far@example.org"),
        person("locked", 5),
        person("was_locked", 6),
        person("twin", 6, full_name="100% plain_"),
    ]
    guards = [
        Guard(
            subject=b"1",
            origin="stranger",
            user_id=people[4].id,
            failures=5,
            pending=0,
            last_at=NOW,
            locked_until=NOW + DAY,
        ),
        Guard(
            subject=b"1",
            origin="address:x",
            user_id=people[4].id,
            failures=5,
            pending=0,
            last_at=NOW,
            locked_until=NOW + 2 * DAY,
        ),
        Guard(
            subject=b"2",
            origin="stranger",
            user_id=people[5].id,
            failures=5,
            pending=0,
            last_at=NOW,
            locked_until=NOW - DAY,
        ),
        Guard(
            subject=b"3", origin="stranger", user_id=None, failures=5, pending=0, last_at=NOW, locked_until=NOW + DAY
        ),
    ]
    async with database.transaction() as session:
        session.add_all(people)
        session.add_all(guards)
    yield database
    await database.close()


async def names(database: Database, order: Order = Order.NEWEST, **filters: Any) -> list[str]:
    async with database.transaction() as session:
        found, total = await user_list.find(session, Filters(**filters), order, NOW, skip=0, limit=100)
    assert total == len(found)
    return [one.user.username for one in found]


CASES: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"plain", "Verified", "blocked", "deleted", "locked", "was_locked", "twin"}),
    ({"active": True}, {"plain", "Verified", "locked", "was_locked", "twin"}),
    ({"active": False}, {"blocked", "deleted"}),
    ({"verified": True}, {"Verified"}),
    ({"deleted": True}, {"deleted"}),
    ({"deleted": False, "active": False}, {"blocked"}),
    ({"locked": True}, {"locked"}),
    ({"locked": False}, {"plain", "Verified", "blocked", "deleted", "was_locked", "twin"}),
    ({"registered_from": NOW - 3 * DAY}, {"plain", "Verified", "blocked"}),
    ({"registered_to": NOW - 3 * DAY}, {"deleted", "locked", "was_locked", "twin"}),
    ({"registered_from": NOW - 2 * DAY, "registered_to": NOW - DAY}, {"Verified"}),
    ({"q": "VERI"}, {"Verified"}),
    ({"q": "nadia Ö"}, {"Verified"}),
    ({"q": "gone_far@EXAMPLE.org"}, {"deleted"}),
    ({"q": "example.org"}, {"deleted"}),
    ({"q": "lock"}, {"blocked", "locked", "was_locked"}),
    ({"q": "lock", "active": True, "locked": False}, {"was_locked"}),
    ({"q": "100%"}, {"twin"}),
    ({"q": "%"}, {"twin"}),
    ({"q": "plain_"}, {"twin"}),
    ({"q": "nobody at all"}, set()),
]


async def test_filters_let_through_whom_they_say(crowd: Database) -> None:
    wrong = {
        str(filters): found for filters, wanted in CASES if (found := set(await names(crowd, **filters))) != wanted
    }
    assert wrong == {}


async def test_each_order_is_the_same_whole_and_in_parts(crowd: Database) -> None:
    for order in Order:
        whole = await names(crowd, order)
        parts = []
        async with crowd.transaction() as session:
            for skip in range(8):
                found, total = await user_list.find(session, Filters(), order, NOW, skip=skip, limit=1)
                assert total == 7
                parts += [one.user.username for one in found]
        assert parts == whole
        backwards = Order(order.value.removeprefix("-") if order.value.startswith("-") else f"-{order.value}")
        assert await names(crowd, backwards) == whole[::-1]


async def test_names_are_sorted_without_regard_to_case(crowd: Database) -> None:
    assert await names(crowd, Order.USERNAME) == [
        "blocked",
        "deleted",
        "locked",
        "plain",
        "twin",
        "Verified",
        "was_locked",
    ]


async def test_the_longest_lock_that_holds_is_told(crowd: Database) -> None:
    async with crowd.transaction() as session:
        found, _ = await user_list.find(session, Filters(q="lock"), Order.USERNAME, NOW, skip=0, limit=10)
    assert {one.user.username: one.locked_until for one in found} == {
        "blocked": None,
        "locked": NOW + 2 * DAY,
        "was_locked": None,
    }


async def test_a_search_and_the_newest_page_use_their_indexes(crowd: Database) -> None:
    async with crowd.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO users (id, username, email, password_hash, created_at) SELECT gen_random_uuid(),"
                " 'driver_' || n, 'driver_' || n || '@example.net', 'x', now() FROM generate_series(1, 5000) n"
            )
        )
        await session.execute(text("SELECT gin_clean_pending_list('ix_users_search')"))
        await session.execute(text("ANALYZE users"))
        await session.execute(text("SET LOCAL enable_seqscan = off"))  # which is cheap in a table as small as this
        for filters, index in (
            (Filters(q="gone_far"), "ix_users_search"),
            (Filters(), "ix_users_created_at"),
            (Filters(deleted=True), "ix_users_deleted_at"),
        ):
            query = user_list.matching(filters, Order.NEWEST, NOW).limit(20)
            literal = query.compile(dialect=crowd.engine.dialect, compile_kwargs={"literal_binds": True})
            plan = "\n".join((await session.scalars(text(f"EXPLAIN {literal}"))).all())
            assert index in plan, plan
