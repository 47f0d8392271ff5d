"""Keeping a session going: rotation, the grace of a lost answer, and the end of a stolen one."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from sqlalchemy import text

from auth.app import create_app
from auth.domain import RefreshToken
from auth.settings import AuthSettings
from common.db import Database
from devstack.testing import eventually, running
from lab.mail_server import MailServer

PATH = "/api/v1/auth/refresh"


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post(PATH, json={"refresh_token": token})


async def successor(client: httpx.AsyncClient, token: str) -> str:
    response = await refresh(client, token)
    assert response.status_code == 200, response.text
    return str(response.json()["refresh_token"])


def session_of(settings: AuthSettings, token: str) -> UUID:
    read = RefreshToken.read(token, settings.refresh_secret.encode())
    assert read is not None
    return read.session_id


async def row_of(database: Database, session_id: UUID) -> Any:
    async with database.transaction() as session:
        return (await session.execute(text("SELECT * FROM sessions WHERE id = :id"), {"id": session_id})).one()


async def age(database: Database, session_id: UUID, by: timedelta) -> None:
    """Let so much time pass for one session."""
    async with database.transaction() as session:
        query = text(
            "UPDATE sessions SET created_at = created_at - step, rotated_at = rotated_at - step,"
            " expires_at = expires_at - step FROM (SELECT CAST(:by AS interval) AS step) AS steps WHERE id = :id"
        )
        await session.execute(query, {"by": by, "id": session_id})


def refused(response: httpx.Response) -> bool:
    return (response.status_code, response.json()["code"]) == (401, "invalid_refresh_token")


async def test_a_refresh_gives_a_new_pair_for_the_same_user(client: httpx.AsyncClient, log_in: Any) -> None:
    first = await log_in()
    response = await refresh(client, first["refresh_token"])
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    second = response.json()
    assert set(second) == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert second["refresh_token"] != first["refresh_token"]
    subjects = {
        jwt.decode(pair["access_token"], options={"verify_signature": False})["sub"] for pair in (first, second)
    }
    assert len(subjects) == 1
    me = await client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {second['access_token']}"})
    assert me.status_code == 200


async def test_a_session_goes_on_over_many_refreshes(
    client: httpx.AsyncClient, log_in: Any, database: Database, settings: AuthSettings
) -> None:
    token = (await log_in())["refresh_token"]
    seen = {token}
    for _ in range(5):
        token = await successor(client, token)
        seen.add(token)
    assert len(seen) == 6
    assert (await row_of(database, session_of(settings, token))).generation == 5


async def test_of_parallel_refreshes_of_one_token_all_get_the_same_successor(
    client: httpx.AsyncClient, log_in: Any, database: Database, settings: AuthSettings
) -> None:
    token = (await log_in())["refresh_token"]
    responses = await asyncio.gather(*(refresh(client, token) for _ in range(20)))
    assert {response.status_code for response in responses} == {200}
    successors = {response.json()["refresh_token"] for response in responses}
    assert len(successors) == 1
    row = await row_of(database, session_of(settings, token))
    assert (row.generation, row.revoked_at) == (1, None)
    assert await successor(client, successors.pop())


async def test_a_lost_answer_can_be_asked_for_again(client: httpx.AsyncClient, log_in: Any) -> None:
    token = (await log_in())["refresh_token"]
    first, again = await successor(client, token), await successor(client, token)
    assert first == again
    assert await successor(client, again)


async def test_a_used_token_after_the_grace_ends_the_session(
    client: httpx.AsyncClient, log_in: Any, database: Database, settings: AuthSettings
) -> None:
    token = (await log_in())["refresh_token"]
    newest = await successor(client, token)
    session_id = session_of(settings, token)
    await age(database, session_id, timedelta(seconds=settings.refresh_grace_seconds))
    assert refused(await refresh(client, token))
    row = await row_of(database, session_id)
    assert row.revoked_at is not None
    assert row.revoked_because == "refresh token reused"
    assert refused(await refresh(client, newest))


async def test_the_token_before_the_last_ends_the_session_even_at_once(
    client: httpx.AsyncClient, log_in: Any, database: Database, settings: AuthSettings
) -> None:
    oldest = (await log_in())["refresh_token"]
    parent = await successor(client, oldest)
    newest = await successor(client, parent)
    assert refused(await refresh(client, oldest))
    assert (await row_of(database, session_of(settings, oldest))).revoked_at is not None
    for token in (newest, parent, oldest):
        assert refused(await refresh(client, token))


async def test_a_reuse_racing_the_owner_ends_the_session_in_every_order(
    client: httpx.AsyncClient, log_in: Any, database: Database, settings: AuthSettings
) -> None:
    for turn in range(20):
        oldest = (await log_in())["refresh_token"]
        newest = await successor(client, await successor(client, oldest))
        race = [refresh(client, oldest), refresh(client, newest)]
        responses = await asyncio.gather(*(race if turn % 2 else reversed(race)))
        for response in responses:
            if response.status_code == 200:
                assert refused(await refresh(client, response.json()["refresh_token"]))
        assert (await row_of(database, session_of(settings, oldest))).revoked_at is not None


async def waits_for_a_lock(database: Database) -> bool:
    async with database.transaction() as session:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%JOIN sessions%'"
        return bool(await session.scalar(text(query)))


async def test_a_refresh_that_waited_judges_by_what_it_finds_then(
    client: httpx.AsyncClient, log_in: Any, database: Database, settings: AuthSettings
) -> None:
    token = (await log_in())["refresh_token"]
    session_id = session_of(settings, token)
    async with database.transaction() as session:
        await session.execute(text("UPDATE sessions SET generation = 2 WHERE id = :id"), {"id": session_id})
        late = asyncio.create_task(refresh(client, token))
        await eventually(lambda: waits_for_a_lock(database), what="a refresh that waits for the session")
    assert refused(await late)
    row = await row_of(database, session_id)
    assert (row.generation, row.revoked_at is None) == (2, False)


async def test_the_end_of_one_session_leaves_the_others(client: httpx.AsyncClient, log_in: Any) -> None:
    stolen, other = (await log_in())["refresh_token"], (await log_in())["refresh_token"]
    await successor(client, await successor(client, stolen))
    assert refused(await refresh(client, stolen))
    assert await successor(client, other)


async def test_a_session_that_nobody_refreshed_for_long_is_over(
    client: httpx.AsyncClient, log_in: Any, database: Database, settings: AuthSettings
) -> None:
    token = (await log_in())["refresh_token"]
    session_id = session_of(settings, token)
    await age(database, session_id, settings.refresh_idle - timedelta(minutes=1))
    token = await successor(client, token)
    await age(database, session_id, settings.refresh_idle)
    assert refused(await refresh(client, token))
    assert (await row_of(database, session_id)).revoked_at is None


async def test_a_session_is_over_so_long_after_its_login_however_busy(
    client: httpx.AsyncClient, log_in: Any, database: Database, settings: AuthSettings
) -> None:
    token = (await log_in())["refresh_token"]
    session_id = session_of(settings, token)
    step = timedelta(days=12)
    for _ in range(4):
        await age(database, session_id, step)
        token = await successor(client, token)
    await age(database, session_id, step)
    assert refused(await refresh(client, token))


async def test_a_forged_or_foreign_token_is_refused_and_ends_nothing(
    client: httpx.AsyncClient, log_in: Any, database: Database, settings: AuthSettings
) -> None:
    tokens = await log_in()
    token = tokens["refresh_token"]
    session_id = session_of(settings, token)
    own = settings.refresh_secret.encode()
    bad = {
        "garbage": "garbage",
        "prefix alone": "pdr_",
        "tampered": token[:-4] + ("AAAA" if not token.endswith("AAAA") else "BBBB"),
        "cut": token[:-1],
        "longer": token + "A",
        "other alphabet": token[:-1] + "é",
        "nul": token[:-1] + "\x00",
        "another secret": RefreshToken(session_id=session_id, generation=0).seal(b"another secret"),
        "no such session": RefreshToken(session_id=uuid4(), generation=0).seal(own),
        "not yet issued": RefreshToken(session_id=session_id, generation=1).seal(own),
        "access token": tokens["access_token"][:250],
    }
    for name, value in bad.items():
        assert refused(await refresh(client, value)), name
    assert (await row_of(database, session_id)).revoked_at is None
    assert await successor(client, token)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "invalid_request"),
        (b"{}", 422, "invalid_request"),
        (b'{"refresh_token": ""}', 422, "invalid_request"),
        (b'{"refresh_token": 1}', 422, "invalid_request"),
        (b'{"refresh_token": null}', 422, "invalid_request"),
        (b'{"refresh_token": "pdr_x", "user_id": "me"}', 422, "invalid_request"),
        (b'{"refresh_token": "' + b"x" * 10_000 + b'"}', 422, "invalid_request"),
        (b'{"refresh_token": "' + b"x" * 2_000_000 + b'"}', 413, "body_too_large"),
        (b'{"refresh_token": ', 400, "malformed_request"),
        (b"\xff", 400, "malformed_request"),
    ],
)
async def test_a_body_that_is_no_refresh_is_refused(
    client: httpx.AsyncClient, body: bytes, status: int, code: str
) -> None:
    response = await client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_nothing_that_could_be_used_is_in_the_database(
    client: httpx.AsyncClient, account: dict[str, str], log_in: Any, database: Database
) -> None:
    tokens = await log_in()
    newest = await successor(client, tokens["refresh_token"])
    async with database.transaction() as session:
        tables = await session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'auth'"))
        rows: list[str] = []
        for table in tables.all():
            rows += (await session.scalars(text(f'SELECT t::text FROM "{table}" AS t'))).all()
    dump = "\n".join(rows)
    assert account["username"] in dump
    secrets = [account["password"], tokens["access_token"], tokens["refresh_token"], newest]
    for secret in secrets:
        assert secret not in dump
        assert secret.removeprefix("pdr_") not in dump
        assert secret.encode().hex() not in dump


async def test_another_replica_refreshes_as_well(
    client: httpx.AsyncClient, log_in: Any, settings: AuthSettings
) -> None:
    token = (await log_in())["refresh_token"]
    async with running(create_app(settings)) as other:
        newest = await successor(other, token)
        assert await successor(client, token) == newest
        assert await successor(client, newest)


async def test_of_a_hundred_refreshes_at_once_at_two_replicas_none_is_refused(
    client: httpx.AsyncClient, log_in: Any, settings: AuthSettings, database: Database
) -> None:
    token = (await log_in())["refresh_token"]
    async with running(create_app(settings)) as other:
        responses = await asyncio.gather(*(refresh(one, token) for one in [client, other] * 50))
    assert {response.status_code for response in responses} == {200}
    assert len({response.json()["refresh_token"] for response in responses}) == 1
    row = await row_of(database, session_of(settings, token))
    assert (row.generation, row.revoked_at) == (1, None)


async def test_after_a_reuse_no_descendant_refreshes_in_any_of_a_hundred_interleavings(
    client: httpx.AsyncClient, newcomer: Any, database: Database, settings: AuthSettings
) -> None:
    someone = await newcomer()

    async def steal(turn: int) -> UUID:
        """Use the grandparent while its owner goes on; by the turn at once, a little before, or a little after."""
        oldest = (await someone.log_in()).json()
        parent = await successor(client, oldest["refresh_token"])
        newest = await successor(client, parent)

        async def reuse() -> None:
            await asyncio.sleep(turn % 7 / 1000)
            assert refused(await refresh(client, oldest["refresh_token"]))

        async def go_on(token: str) -> None:
            await asyncio.sleep(turn % 11 / 1000)
            response = await refresh(client, token)
            if response.status_code == 200:
                descendants.append(response.json()["refresh_token"])

        descendants = [newest]
        await asyncio.gather(reuse(), go_on(newest), go_on(parent))
        for token in descendants:
            assert refused(await refresh(client, token))
        return session_of(settings, oldest["refresh_token"])

    ended = []
    for begin in range(0, 100, 10):
        ended += await asyncio.gather(*(steal(turn) for turn in range(begin, begin + 10)))
    async with database.transaction() as session:
        query = text("SELECT count(*) FROM sessions WHERE id = ANY(:ids) AND revoked_because = 'refresh token reused'")
        assert await session.scalar(query, {"ids": ended}) == 100


async def test_a_reuse_is_told_to_everybody_to_the_owner_and_to_the_log(
    newcomer: Any,
    client: httpx.AsyncClient,
    published: Any,
    database: Database,
    mail_server: MailServer,
    settings: AuthSettings,
) -> None:
    someone = await newcomer()
    oldest = someone.tokens["refresh_token"]
    last = (await refresh(client, await successor(client, oldest))).json()
    thief = {"X-Forwarded-For": "203.0.113.13"}
    assert refused(await client.post(PATH, json={"refresh_token": oldest}, headers=thief))
    (event,) = await published("session.revoked", someone.id)
    session_id = session_of(settings, oldest)
    assert (event.session_ids, event.reason) == ([session_id], "refresh token reused")

    async def over() -> bool:
        headers = {"Authorization": f"Bearer {last['access_token']}"}
        return (await client.get("/api/v1/users/me", headers=headers)).status_code == 401

    await eventually(over, seconds=5, what="the end of the access token")

    async def letter() -> bool:
        return any("203.0.113.13" in one.text for one in mail_server.to(someone.email))

    await eventually(letter, what="a letter about the reuse")
    async with database.transaction() as session:
        query = text("SELECT after, address FROM audit WHERE target_id = :user AND action = 'session.end'")
        row = (await session.execute(query, {"user": someone.id})).one()
    assert (row.after, row.address) == ({"reason": "refresh token reused"}, "203.0.113.13")


@pytest.mark.parametrize("change", ["deactivated_at = now()", "deleted_at = now()", "must_reset_password = true"])
async def test_an_account_that_is_not_to_be_used_refreshes_no_more(
    newcomer: Any, database: Database, change: str
) -> None:
    someone = await newcomer()
    async with database.transaction() as session:
        await session.execute(text(f"UPDATE users SET {change} WHERE id = :id"), {"id": someone.id})
    assert refused(await refresh(someone.http, someone.tokens["refresh_token"]))
