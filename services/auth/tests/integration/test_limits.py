"""Limits per address and per account, counted in the database, so that replicas agree."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from auth import limits
from auth.app import create_app
from auth.settings import AuthSettings
from common.db import Database
from common.errors import TooManyRequestsError
from devstack.testing import running

LOGIN, REFRESH, REGISTER = "/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/auth/register"
HERE, THERE = {"X-Forwarded-For": "192.0.2.10"}, {"X-Forwarded-For": "192.0.2.11"}


async def taken(database: Database, subject: str, limit: str, times: int) -> list[int | None]:
    """Take at once and return what each was told to wait."""

    async def one() -> int | None:
        try:
            await limits.take_apart(database, "tests", subject, limit)
        except TooManyRequestsError as error:
            return error.retry_after
        return None

    return await asyncio.gather(*(one() for _ in range(times)))


async def age(database: Database, by: timedelta) -> None:
    """Let so much time pass for every limit."""
    async with database.transaction() as session:
        await session.execute(text("UPDATE allowances SET due = due - CAST(:by AS interval)"), {"by": by})


async def test_as_many_as_the_limit_says_get_through_at_once_and_one_more_does_not(database: Database) -> None:
    waits = await taken(database, uuid4().hex, "10/600", 30)
    assert waits.count(None) == 10
    assert {wait for wait in waits if wait is not None} <= {59, 60}


async def test_they_come_back_one_by_one(database: Database) -> None:
    subject = uuid4().hex
    await taken(database, subject, "10/600", 10)
    await age(database, timedelta(seconds=120))
    assert (await taken(database, subject, "10/600", 10)).count(None) == 2
    await age(database, timedelta(seconds=3600))
    assert (await taken(database, subject, "10/600", 20)).count(None) == 10, "and never more than there were"


async def test_what_was_refused_costs_nothing(database: Database) -> None:
    subject = uuid4().hex
    await taken(database, subject, "2/100", 50)
    await age(database, timedelta(seconds=51))
    assert (await taken(database, subject, "2/100", 1)) == [None]


async def test_one_subject_s_limit_is_not_another_s(database: Database) -> None:
    subject = uuid4().hex
    assert await taken(database, subject, "1/60", 1) == [None]
    assert await taken(database, f"{subject} ", "1/60", 1) == [None]
    async with database.transaction() as session:
        await limits.take(session, "other", subject, "1/60")


async def test_what_is_rolled_back_was_not_taken_and_what_is_apart_was(database: Database) -> None:
    subject = uuid4().hex
    async with database.transaction() as session:
        await limits.take(session, "tests", subject, "1/60")
        await session.rollback()
    assert set(await taken(database, subject, "1/60", 2)) == {None, 60}


async def test_a_clock_that_was_set_back_locks_nobody_out_for_longer_than_the_period(database: Database) -> None:
    subject = uuid4().hex
    await taken(database, subject, "2/60", 2)
    await age(database, -timedelta(days=3))
    (wait,) = await taken(database, subject, "2/60", 1)
    assert wait is not None
    assert wait <= 60


async def test_no_limit_is_no_query(settings: AuthSettings) -> None:
    nowhere = Database(msgspec.structs.replace(settings, database_url="postgresql://x:x@127.0.0.1:1/x"), "auth")
    await limits.take_apart(nowhere, "tests", "anybody", "0")
    await nowhere.close()


async def test_a_subject_is_kept_as_a_hash(database: Database) -> None:
    subject = f"{uuid4().hex}@example.com"
    await taken(database, subject, "1/60", 1)
    async with database.transaction() as session:
        names = (await session.scalars(text("SELECT name FROM allowances WHERE name LIKE 'tests:%'"))).all()
    assert names
    assert not any(subject in name for name in names)


def refused(response: httpx.Response) -> bool:
    told = int(response.headers.get("retry-after", 0)) > 0
    return told and (response.status_code, response.json()["code"]) == (429, "rate_limited")


async def test_of_a_thousand_accounts_tried_once_from_one_address_few_are_looked_at(settings: AuthSettings) -> None:
    def looked_at() -> float:
        return (REGISTRY.get_sample_value("auth_password_rounds_total") or 0) / 2**4

    before = looked_at()
    default = AuthSettings().limit_login_address
    limited = msgspec.structs.replace(settings, limit_login_address=default, hash_queue=200)
    limit = limits.read(default)
    assert limit is not None
    assert limit.count * timedelta(minutes=1) / limit.period * 2 <= 20, "in no minute more than twenty"
    async with running(create_app(limited)) as client:
        statuses: list[int] = []
        for turn in range(20):
            bodies = [{"username": f"name_{turn}_{number}", "password": "Spring-2026!"} for number in range(50)]
            answers = await asyncio.gather(*(client.post(LOGIN, json=body, headers=HERE) for body in bodies))
            statuses += [answer.status_code for answer in answers]
        assert set(statuses) == {401, 429}
        assert statuses.count(401) == looked_at() - before <= 20
        other = await client.post(LOGIN, json={"username": "name", "password": "Spring-2026!"}, headers=THERE)
        assert other.status_code == 401, "another address is not concerned"


@pytest.fixture
async def mine(newcomer: Any) -> Any:
    return await newcomer()


async def test_an_account_has_a_limit_of_its_own_from_wherever_it_is_tried(settings: AuthSettings, mine: Any) -> None:
    async with running(create_app(msgspec.structs.replace(settings, limit_login_account="3/60"))) as client:
        answers = []
        for number in range(5):
            body = {"username": mine.username, "password": mine.password}
            answers.append(await client.post(LOGIN, json=body, headers={"X-Forwarded-For": f"192.0.2.{number}"}))
        assert [answer.status_code for answer in answers[:3]] == [200] * 3
        assert all(refused(answer) for answer in answers[3:])


async def test_registrations_and_refreshes_of_an_address_are_limited(settings: AuthSettings, mine: Any) -> None:
    changes = {"limit_register_address": "2/60", "limit_refresh_address": "2/60"}
    async with running(create_app(msgspec.structs.replace(settings, **changes))) as client:
        for path, body, status in (
            (REGISTER, {"username": "ab", "email": "nowhere@example.com", "password": "Slipstream44"}, 422),
            (REGISTER, {"username": "abc_def", "email": "nowhere", "password": "slip"}, 422),
        ):
            assert (await client.post(path, json=body, headers=HERE)).status_code == status
        tries = [
            await client.post(
                REGISTER,
                json={
                    "username": f"u_{uuid4().hex[:8]}",
                    "email": f"{uuid4().hex}@example.com",
                    "password": "password1",
                },
                headers=HERE,
            )
            for _ in range(3)
        ]
        assert [answer.status_code for answer in tries] == [422, 422, 429], "one that fails counts too"
        token, answers = mine.tokens["refresh_token"], []
        for _ in range(3):
            answers.append(await client.post(REFRESH, json={"refresh_token": token}, headers=HERE))
            token = answers[-1].json().get("refresh_token")
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert refused(answers[-1])


async def test_two_replicas_count_together(settings: AuthSettings, mine: Any) -> None:
    limited = msgspec.structs.replace(settings, limit_login_account="4/60")
    body = {"username": mine.username, "password": mine.password}
    async with running(create_app(limited)) as one, running(create_app(limited)) as two:
        answers = await asyncio.gather(*(client.post(LOGIN, json=body) for client in (one, two) * 5))
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 6
