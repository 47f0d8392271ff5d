"""Links: good once, for one purpose and one address, for a while, and until something takes their place."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import select, update

from auth import links
from auth.links import PREFIX, TOKEN_LENGTH, Links, Purpose
from auth.models import OneTimeToken, User
from auth.settings import AuthSettings
from common import clock
from common.db import Database
from common.errors import ConflictError

Call = Callable[..., Awaitable[Any]]
LIVES = {
    Purpose.VERIFY_EMAIL: timedelta(hours=24),
    Purpose.RESET_PASSWORD: timedelta(hours=1),
    Purpose.CHANGE_EMAIL: timedelta(hours=24),
}


async def issue(
    database: Database, settings: AuthSettings, user: User, purpose: Purpose = Purpose.VERIFY_EMAIL
) -> OneTimeToken:
    async with database.transaction() as session:
        return await Links(settings).issue(session, user, purpose, user.email)


async def use(
    database: Database, settings: AuthSettings, token: str, purpose: Purpose = Purpose.VERIFY_EMAIL
) -> User | None:
    try:
        async with database.transaction() as session:
            user, _ = await Links(settings).use(session, token, purpose)
            return user
    except ConflictError:
        return None


@pytest.mark.parametrize("purpose", Purpose)
async def test_a_link_is_good_once(database: Database, settings: AuthSettings, user: User, purpose: Purpose) -> None:
    token = Links(settings).token(await issue(database, settings, user, purpose))
    used = await use(database, settings, token, purpose)
    assert used is not None
    assert used.id == user.id
    assert await use(database, settings, token, purpose) is None


@pytest.mark.parametrize("purpose", Purpose)
async def test_of_sixteen_at_once_one_is_let_through_fifty_times(
    database: Database, settings: AuthSettings, user_made: Call, purpose: Purpose
) -> None:
    rounds = 50
    people = [await user_made() for _ in range(rounds)]
    for person in people:
        token = Links(settings).token(await issue(database, settings, person, purpose))
        results = await asyncio.gather(*(use(database, settings, token, purpose) for _ in range(16)))
        assert [user.id for user in results if user] == [person.id]


@pytest.mark.parametrize("purpose", Purpose)
async def test_a_link_lives_as_long_as_the_setting_says(
    database: Database, settings: AuthSettings, user: User, purpose: Purpose
) -> None:
    row = await issue(database, settings, user, purpose)
    assert row.expires_at - row.created_at == LIVES[purpose]
    async with database.transaction() as session:
        await session.execute(update(OneTimeToken).where(OneTimeToken.id == row.id).values(expires_at=clock.now()))
    assert await use(database, settings, Links(settings).token(row), purpose) is None


async def test_a_link_for_one_purpose_is_no_good_for_another(
    database: Database, settings: AuthSettings, user: User
) -> None:
    for purpose in Purpose:
        token = Links(settings).token(await issue(database, settings, user, purpose))
        for other in set(Purpose) - {purpose}:
            assert await use(database, settings, token, other) is None
        assert await use(database, settings, token, purpose) is not None


async def test_a_newer_link_takes_the_place_of_the_older_one_and_leaves_other_purposes_alone(
    database: Database, settings: AuthSettings, user: User
) -> None:
    made = Links(settings)
    other = await issue(database, settings, user, Purpose.RESET_PASSWORD)
    old, new = [await issue(database, settings, user) for _ in range(2)]
    assert await use(database, settings, made.token(old)) is None
    assert await use(database, settings, made.token(new)) is not None
    assert await use(database, settings, made.token(other), Purpose.RESET_PASSWORD) is not None


async def test_of_many_requests_at_once_one_link_is_left(
    database: Database, settings: AuthSettings, user: User
) -> None:
    rows = await asyncio.gather(*(issue(database, settings, user) for _ in range(10)))
    results = [await use(database, settings, Links(settings).token(row)) for row in rows]
    assert len([user for user in results if user]) == 1


async def test_all_links_of_somebody_can_be_made_useless_and_nobody_elses(
    database: Database, settings: AuthSettings, user_made: Call
) -> None:
    mine, theirs = [await user_made() for _ in range(2)]
    rows = {purpose: await issue(database, settings, mine, purpose) for purpose in Purpose}
    kept = await issue(database, settings, theirs)
    async with database.transaction() as session:
        await links.void(session, mine.id)
    for purpose, row in rows.items():
        assert await use(database, settings, Links(settings).token(row), purpose) is None
    assert await use(database, settings, Links(settings).token(kept)) is not None


@pytest.mark.parametrize("column", ["deactivated_at", "deleted_at"])
async def test_a_link_of_an_account_out_of_use_is_no_good(
    column: str, database: Database, settings: AuthSettings, user: User
) -> None:
    row = await issue(database, settings, user)
    async with database.transaction() as session:
        await session.execute(update(User).where(User.id == user.id).values({column: clock.now()}))
    assert await use(database, settings, Links(settings).token(row)) is None


async def test_a_link_proves_the_address_it_was_sent_to_and_no_other(
    database: Database, settings: AuthSettings, user: User
) -> None:
    row = await issue(database, settings, user)
    async with database.transaction() as session:
        await session.execute(update(User).where(User.id == user.id).values(email=f"new.{user.email}"))
    assert await use(database, settings, Links(settings).token(row)) is None


async def test_a_failed_request_leaves_its_link_good(database: Database, settings: AuthSettings, user: User) -> None:
    token = Links(settings).token(await issue(database, settings, user))
    async with database.transaction() as session:
        await Links(settings).use(session, token, Purpose.VERIFY_EMAIL)
        await session.rollback()
    assert await use(database, settings, token) is not None


async def test_the_database_has_the_hash_alone(database: Database, settings: AuthSettings, user: User) -> None:
    row = await issue(database, settings, user)
    token = Links(settings).token(row)
    async with database.transaction() as session:
        stored = await session.scalar(select(OneTimeToken.token_hash).where(OneTimeToken.id == row.id))
    assert stored == hashlib.sha256(token.encode()).digest()
    assert token.startswith(PREFIX)
    assert len(token) == TOKEN_LENGTH


async def test_a_token_is_no_good_with_another_secret(database: Database, settings: AuthSettings, user: User) -> None:
    other = msgspec.structs.replace(settings, token_secret="another secret of at least 32 characters")
    row = await issue(database, settings, user)
    assert Links(other).token(row) != Links(settings).token(row)
    assert await use(database, settings, Links(other).token(row)) is None


def mangled(token: str) -> list[str]:
    body = token.removeprefix(PREFIX)
    flipped = "B" if body[40] != "B" else "C"
    return [
        "",
        PREFIX,
        body,
        token[:-1],
        token + "A",
        token.upper(),
        f"pdr_{body}",
        f"{PREFIX}{body[:40]}{flipped}{body[41:]}",
        f"{PREFIX}{'A' * 64}",
        f"{PREFIX}{'é' * 64}",
        f"{PREFIX}{body[:60]}\n\n\n\n",
        f"{PREFIX}{body[:60]}====",
        f"{PREFIX}{body[:-1]}+",
    ]


async def test_what_we_did_not_make_is_no_link_and_costs_no_query(
    settings: AuthSettings, user: User, database: Database
) -> None:
    token = Links(settings).token(await issue(database, settings, user))
    for wrong in mangled(token):
        with pytest.raises(ConflictError, match="invalid_link"):
            await Links(settings).use(None, wrong, Purpose.VERIFY_EMAIL)  # type: ignore[arg-type] # no session to ask


def test_a_link_leads_to_the_front_end_and_its_token_stands_where_browsers_tell_nobody(settings: AuthSettings) -> None:
    somewhere = msgspec.structs.replace(settings, link_url="https://play.example/app/")
    row = OneTimeToken(id=UUID(int=7), purpose="reset_password")
    url = Links(somewhere).url(row)
    assert url == f"https://play.example/app/reset-password#token={Links(somewhere).token(row)}"
