"""Others, as far as they show themselves: profiles by visibility, and a search that gives nothing away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import nats
import pytest
from sqlalchemy import Dialect, make_url, text

from auth.consumers import consumers
from auth.people import found_by
from auth.settings import AuthSettings
from common import clock
from common.contracts.leagues import LeagueJoined
from common.db import Database
from devstack.testing import eventually

MANY = 50_000
DIALECT: Dialect = make_url("postgresql+asyncpg://").get_dialect()()
Join = Callable[..., Awaitable[None]]


@pytest.fixture
def join(database: Database) -> Join:
    """Hand memberships to the consumer, as the bus does."""

    async def hand_over(league_id: UUID, *people: Any, version: int = 1, team_id: UUID | None = None) -> None:
        events = [
            LeagueJoined(
                league_id=league_id, user_id=one.id, team_id=team_id, membership_version=version, joined_at=clock.now()
            )
            for one in people
        ]
        [consumer] = [consumer for consumer in consumers.all if LeagueJoined in consumer.events]
        async with database.transaction() as session:
            await consumer.apply(events, session)

    return hand_over


async def profile(viewer: Any, someone: Any) -> httpx.Response:
    response: httpx.Response = await viewer.get(f"/users/{someone.username}/profile")
    return response


async def names(viewer: Any, term: str, limit: int = 50) -> list[str]:
    response = await viewer.http.get("/api/v1/users/search", params={"q": term, "limit": limit}, headers=viewer.headers)
    assert response.status_code == 200, response.text
    return [item["username"] for item in response.json()["items"]]


async def test_a_public_profile_shows_to_everybody_without_the_address(
    newcomer: Any, client: httpx.AsyncClient
) -> None:
    someone, other = await newcomer(full_name="Ann Other"), await newcomer()
    await someone.put("/users/me/preferences", show_email_to_league_members=True)
    anonymous = await client.get(f"/api/v1/users/{someone.username.upper()}/profile")
    assert anonymous.status_code == 200
    assert anonymous.headers["cache-control"] == "no-store"
    body = anonymous.json()
    assert body == {
        "id": str(someone.id),
        "username": someone.username,
        "full_name": "Ann Other",
        "avatar_url": None,
        "favorite_team": None,
        "favorite_driver": None,
        "member_since": body["member_since"],
        "email": None,
        "shared_leagues": [],
    }
    assert (await profile(other, someone)).json() == body
    broken = await client.get(f"/api/v1/users/{someone.username}/profile", headers={"Authorization": "Bearer x.y.z"})
    assert broken.status_code == 401, "a token that is there must be good"


async def test_a_league_profile_shows_to_members_of_a_common_league_alone(
    newcomer: Any, client: httpx.AsyncClient, join: Join
) -> None:
    someone, friend, stranger = await newcomer(), await newcomer(), await newcomer()
    await someone.put("/users/me/preferences", profile_visibility="league_only")
    league, other_league, team = uuid4(), uuid4(), uuid4()
    await join(league, friend, someone)
    await join(league, someone, version=2, team_id=team)
    await join(other_league, stranger)
    assert (await profile(friend, someone)).json()["shared_leagues"] == [
        {"league_id": str(league), "team_id": str(team)}
    ]
    assert (await profile(someone, someone)).status_code == 200
    for hidden in (await profile(stranger, someone), await client.get(f"/api/v1/users/{someone.username}/profile")):
        assert (hidden.status_code, hidden.json()["code"]) == (404, "unknown_user")
    await join(league, someone, version=1, team_id=None)
    assert (await profile(friend, someone)).json()["shared_leagues"][0]["team_id"] == str(team), "an older one is late"


async def test_a_private_profile_shows_to_its_owner_alone_and_looks_like_nobody(newcomer: Any, join: Join) -> None:
    someone, friend = await newcomer(), await newcomer()
    await join(uuid4(), someone, friend)
    await someone.put("/users/me/preferences", profile_visibility="private", show_email_to_league_members=True)
    hidden = (await profile(friend, someone)).json()
    nobody = (await friend.get(f"/users/nobody_{uuid4().hex[:8]}/profile")).json()
    assert {**hidden, "request_id": ""} == {**nobody, "request_id": ""}
    assert hidden["status"] == 404
    own = (await profile(someone, someone)).json()
    assert own["username"] == someone.username


@pytest.mark.parametrize(
    ("wanted", "together", "shown"), [(True, True, True), (True, False, False), (False, True, False)]
)
async def test_the_address_shows_to_a_league_member_when_its_owner_wants_that(
    newcomer: Any, join: Join, *, wanted: bool, together: bool, shown: bool
) -> None:
    someone, viewer = await newcomer(), await newcomer()
    await someone.put("/users/me/preferences", show_email_to_league_members=wanted)
    if together:
        await join(uuid4(), someone, viewer)
    assert (await profile(viewer, someone)).json()["email"] == (someone.email if shown else None)


@pytest.mark.parametrize("column", ["deleted_at", "deactivated_at"])
async def test_who_is_out_of_use_is_neither_shown_nor_found(newcomer: Any, database: Database, column: str) -> None:
    someone, viewer = await newcomer(), await newcomer()
    async with database.transaction() as session:
        await session.execute(text(f"UPDATE users SET {column} = now() WHERE id = :id"), {"id": someone.id})
    assert (await profile(viewer, someone)).status_code == 404
    assert await names(viewer, someone.username) == []


async def test_a_search_finds_a_part_of_a_name_in_any_case_the_best_first(newcomer: Any) -> None:
    mark = uuid4().hex[:8]
    viewer = await newcomer()
    for name in (f"a_{mark}_b", f"{mark}_long_name", f"{mark}"):
        await newcomer(username=name)
    await newcomer(username=f"x{uuid4().hex[:10]}", full_name=f"Nico {mark.upper()}berg")
    found = await names(viewer, mark.upper())
    assert found[:2] == [mark, f"{mark}_long_name"]
    assert len(found) == 4
    assert await names(viewer, mark, limit=1) == [mark]


async def test_a_short_term_finds_where_a_word_begins(newcomer: Any) -> None:
    mark = uuid4().hex[:8]
    viewer = await newcomer(username=f"qz_{mark}")
    await newcomer(username=f"v{mark}", full_name="Nico Qzberg")
    await newcomer(username=f"w{mark}", full_name="Nicoqz")
    assert set(await names(viewer, "Qz")) >= {f"qz_{mark}", f"v{mark}"}
    assert f"w{mark}" not in await names(viewer, "qz")


async def test_a_search_neither_returns_nor_matches_addresses_and_numbers(newcomer: Any) -> None:
    viewer = await newcomer()
    mark = f"m{uuid4().hex[:10]}"
    someone = await newcomer(email=f"{mark}@needle.example.com")
    await someone.put("/users/me", phone="+4915155" + str(uuid4().int)[:6])
    phone = (await someone.get("/users/me")).json()["phone"]
    for term in (mark, f"{mark}@needle.example.com", "needle.example", "@needle", phone):
        assert await names(viewer, term) == [], term
    response = await viewer.http.get("/api/v1/users/search", params={"q": someone.username}, headers=viewer.headers)
    assert [set(item) for item in response.json()["items"]] == [{"id", "username", "full_name", "avatar_url"}]
    assert "needle" not in response.text


async def test_wildcards_mean_themselves(newcomer: Any) -> None:
    mark = uuid4().hex[:8]
    viewer = await newcomer(username=f"a_{mark}")
    await newcomer(username=f"aX{mark}")
    await newcomer(username=f"p{mark}", full_name=f"50% {mark}\\o/")
    assert await names(viewer, f"a_{mark}") == [f"a_{mark}"]
    assert await names(viewer, f"50% {mark}") == [f"p{mark}"]
    assert await names(viewer, f"{mark}\\o") == [f"p{mark}"]
    for term in ("%%", "__", f"%{mark}", f"{mark}%", "\\\\", "' OR 1=1 --", f"a%{mark}"):
        assert await names(viewer, term) == [], term


async def test_a_search_honours_visibility(newcomer: Any, join: Join) -> None:
    mark = uuid4().hex[:8]
    viewer = await newcomer()
    people = {kind: await newcomer(username=f"{kind}_{mark}") for kind in ("public", "private", "league_only", "far")}
    for kind, visibility in (("private", "private"), ("league_only", "league_only"), ("far", "league_only")):
        await people[kind].put("/users/me/preferences", profile_visibility=visibility)
    await join(uuid4(), viewer, people["league_only"], people["private"])
    assert set(await names(viewer, mark)) == {f"public_{mark}", f"league_only_{mark}"}
    assert set(await names(people["private"], mark)) == {f"public_{mark}", f"league_only_{mark}", f"private_{mark}"}


@pytest.mark.parametrize(
    "query",
    ["q=a", "q=", "q=%20a%20", "", f"q={'x' * 101}", "q=abc&limit=0", "q=abc&limit=51", "q=abc&limit=x", "q=a%00b"],
)
async def test_a_search_for_next_to_nothing_is_refused(newcomer: Any, query: str) -> None:
    viewer = await newcomer()
    assert (await viewer.get(f"/users/search?{query}")).status_code == 422


async def test_a_search_takes_a_token(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/v1/users/search?q=abc")).status_code == 401


async def test_who_searches_too_much_has_to_wait(newcomer: Any) -> None:
    viewer, other = await newcomer(), await newcomer()
    answers = await asyncio.gather(*(viewer.get("/users/search?q=abc") for _ in range(90)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 60 <= len(answers) - len(refused) < 90
    assert (refused[0].json()["code"], refused[0].headers["retry-after"]) == ("rate_limited", "1")
    assert (await other.get("/users/search?q=abc")).status_code == 200


def explained(term: str) -> str:
    """The statement of a search as the driver sends it, with its values written in."""
    compiled = found_by(term, uuid4(), 10).compile(dialect=DIALECT, compile_kwargs={"literal_binds": True})
    return f"EXPLAIN {compiled}"


async def test_the_index_serves_a_search_among_fifty_thousand(fresh_settings: AuthSettings) -> None:
    connection = await asyncpg.connect(fresh_settings.database_url, server_settings={"search_path": "auth"})
    await connection.execute(
        f"""INSERT INTO users (id, username, email, full_name, password_hash, created_at)
        SELECT gen_random_uuid(), 'u' || n || '_' || md5(n::text), n || '@example.com', 'Driver ' || md5('f' || n), '',
               now()
        FROM generate_series(1, {MANY}) n"""
    )
    await connection.execute("VACUUM ANALYZE users")
    for term in ("u4711", "4b2f9c", "hamilton", "100%", "qz"):
        plan = "\n".join(row[0] for row in await connection.fetch(explained(term)))
        assert "ix_users_search" in plan, (term, plan)
        assert "Seq Scan on users" not in plan, (term, plan)
    await connection.close()
    database = Database(fresh_settings, "auth")
    started = time.perf_counter()
    async with database.transaction() as session:
        for number in range(4711, 4731):  # often enough for PostgreSQL to try a plan for any value
            found = (await session.execute(found_by(f"u{number}_", uuid4(), 10))).all()
            assert len(found) == 1
    assert time.perf_counter() - started < 5
    await database.close()


async def test_a_membership_that_is_published_is_learned(
    settings: AuthSettings, newcomer: Any, database: Database
) -> None:
    """The durable is there and reads what `leagues` publishes."""
    someone = await newcomer()
    event = LeagueJoined(
        league_id=uuid4(), user_id=someone.id, team_id=None, membership_version=1, joined_at=clock.now()
    )
    bus = await nats.connect(settings.nats_url)
    headers = {
        "ce-id": str(uuid4()),
        "ce-type": "paddock.league.joined.v1",
        "ce-source": "/paddock/leagues",
        "ce-subject": event.key(),
        "ce-time": (clock.now() - timedelta(seconds=1)).isoformat(),
        "ce-specversion": "1.0",
    }
    await bus.jetstream().publish("league.joined", msgspec.json.encode(event), headers=headers)
    await bus.close()

    async def learned() -> bool:
        async with database.transaction() as session:
            query = text("SELECT 1 FROM league_members WHERE user_id = :id")
            return bool(await session.scalar(query, {"id": someone.id}))

    await eventually(learned, seconds=30, what="the membership")
