"""What becomes of somebody's name when they change it, go, come back, or are erased; and the copy of their data."""

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from common import clock
from common.contracts import Event
from common.contracts.auth import (
    DeactivationReason,
    UserActivated,
    UserDeactivated,
    UserDeleted,
    UserRegistered,
    UserUpdated,
)
from common.contracts.leagues import former_name
from devstack.testing import TokenMaker, running
from leagues.app import create_app
from leagues.settings import LeaguesSettings

if TYPE_CHECKING:
    from services.leagues.tests.integration.conftest import World

DAY = timedelta(days=1)


def registered(user_id: UUID, name: str = "first") -> UserRegistered:
    return UserRegistered(user_id=user_id, username=name, registered_at=clock.now())


def renamed(user_id: UUID, name: str, version: int) -> UserUpdated:
    return UserUpdated(
        user_id=user_id,
        username=name,
        full_name=None,
        avatar_url=None,
        profile_version=version,
        updated_at=clock.now(),
    )


def gone(user_id: UUID, days: int = 0, reason: DeactivationReason = DeactivationReason.BLOCKED) -> UserDeactivated:
    return UserDeactivated(user_id=user_id, reason=reason, deactivated_at=clock.now() + days * DAY)


def back(user_id: UUID, days: int = 0) -> UserActivated:
    return UserActivated(user_id=user_id, username="first", activated_at=clock.now() + days * DAY)


def erased(user_id: UUID) -> UserDeleted:
    return UserDeleted(user_id=user_id, deleted_at=clock.now())


async def owner(viewer: Any, league: dict[str, Any]) -> Any:
    return (await viewer.get(f"/leagues/{league['league_id']}")).json()["owner"]["username"]


async def test_a_league_shows_the_newest_name_of_its_owner(world: "World") -> None:
    await world.open()
    someone, viewer = world.caller(), world.caller()
    league = await someone.league()
    for events, shown in (
        ([registered(someone.id)], "first"),
        ([renamed(someone.id, "third", 3)], "third"),
        ([renamed(someone.id, "second", 2), registered(someone.id)], "third"),
    ):
        await world.feed(*events)
        assert await owner(viewer, league) == shown


async def test_who_is_blocked_or_deleted_shows_no_name_until_they_are_back(world: "World") -> None:
    await world.open()
    someone, viewer = world.caller(), world.caller()
    league, team = await someone.league(), await someone.team()
    await world.feed(registered(someone.id), gone(someone.id, 1))
    assert await owner(viewer, league) is None
    assert (await viewer.get(f"/teams/{team}")).json()["owner"] == {"user_id": str(someone.id), "username": None}
    await world.feed(renamed(someone.id, "second", 2))
    assert await owner(viewer, league) is None
    await world.feed(back(someone.id, 2), gone(someone.id, 1))
    assert await owner(viewer, league) == "second", "what was said before is late"


async def test_who_is_erased_leaves_a_team_that_plays_on_without_a_name(world: "World") -> None:
    await world.open()
    someone, other, viewer = world.caller(), world.caller(), world.caller()
    await world.feed(registered(someone.id), registered(other.id, "other"))
    league = await someone.league()
    first, second = await someone.team("Jane Doe Racing"), await someone.team("Doe Two")
    theirs = await other.team("Others")
    assert (await someone.submit(first)).status_code == 200
    await world.feed(erased(someone.id), erased(someone.id))
    await world.feed(renamed(someone.id, "ghost", 9), registered(someone.id), back(someone.id, 9))
    assert await owner(viewer, league) is None
    names = {row.team_id: row.name for row in await world.rows("SELECT team_id, name FROM teams")}
    assert names == {
        UUID(first): former_name(UUID(first)),
        UUID(second): former_name(UUID(second)),
        UUID(theirs): "Others",
    }
    assert [row.count for row in await world.rows("SELECT count(*) FROM lineups")] == [1]
    assert [row.count for row in await world.rows("SELECT count(*) FROM memberships")] == [1]
    everything = str(await world.snapshot()).replace("outbox", "")
    users = str(await world.rows("SELECT * FROM users"))
    assert "ghost" not in everything
    assert "first" not in users


async def test_the_same_events_in_any_order_give_the_same_people(world: "World") -> None:
    user_id = uuid4()
    events: list[Event] = [registered(user_id), renamed(user_id, "second", 2), gone(user_id, 1), back(user_id, 2)]
    outcomes = set()
    for order in itertools.permutations([*events, erased(user_id)]):
        await world.execute("TRUNCATE users")
        await world.feed(*order, order[0])
        outcomes.add(str(await world.rows("SELECT username, profile_version, active, erased FROM users")))
    assert len(outcomes) == 1
    assert outcomes == {"[(None, 0, True, True)]"}


async def test_only_the_proved_open_leagues_where_that_is_asked(
    settings: LeaguesSettings, world: "World", tokens: TokenMaker
) -> None:
    await world.open()
    changed = msgspec.structs.replace(settings, nats_url="nats://127.0.0.1:1", verified_only=True)
    async with running(create_app(changed)) as http:

        async def create(client: httpx.AsyncClient, *, verified: bool) -> httpx.Response:
            headers = {"Authorization": f"Bearer {tokens.make(email_verified=verified)}"}
            return await client.post("/api/v1/leagues", json={"name": "Proved"}, headers=headers)

        refused = await create(http, verified=False)
        assert (refused.status_code, refused.json()["code"]) == (403, "email_unverified")
        assert (await create(http, verified=True)).status_code == 201
        assert (await create(world.http, verified=False)).status_code == 201, "by default nobody is asked"
    assert len(await world.rows("SELECT * FROM leagues")) == 2


async def test_the_copy_of_somebodys_data_is_theirs_alone_and_has_all_of_it(world: "World", tokens: TokenMaker) -> None:
    await world.open()
    someone, other = world.caller(), world.caller()
    await world.feed(registered(someone.id, "someone"))
    league, team = await someone.league("Mine", private=True), await someone.team("My team")
    strange = await other.league("Not mine")
    await other.team("Not my team")
    for drivers in (world.drivers[:5], world.drivers[1:6]):
        assert (await someone.submit(team, drivers=drivers)).status_code == 200
    response = await world.http.get("/internal/export", headers=tokens.headers(someone.id))
    assert response.status_code == 200, response.text
    held = response.json()
    assert held["username"] == "someone"
    assert [one["league_id"] for one in held["leagues_opened"]] == [league["league_id"]]
    assert [one["league_id"] for one in held["memberships"]] == [league["league_id"]]
    assert [(one["name"], len(one["lineups"])) for one in held["teams"]] == [("My team", 2)]
    assert strange["league_id"] not in response.text
    assert (await world.http.get("/internal/export")).status_code == 401
    limited = {"Authorization": f"Bearer {tokens.make(someone.id, scope='leagues:read leagues:write')}"}
    assert (await world.http.get("/internal/export", headers=limited)).status_code == 403


@pytest.mark.parametrize("path", ["/api/v1/internal/export", "/internal/export"])
async def test_the_copy_is_in_no_document(world: "World", path: str) -> None:
    document = (await world.http.get("/schema/openapi.json")).json()
    assert path not in document["paths"]
