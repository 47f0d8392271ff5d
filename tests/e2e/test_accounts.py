"""One person's time with the product, through the gateway: seen, renamed, copied, gone, erased."""

import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from auth import deletion
from auth.objects import Objects
from auth.settings import AuthSettings
from common import clock
from common.contracts.leagues import former_name
from common.db import Database
from devstack.stack import Stack
from devstack.testing import eventually

pytestmark = pytest.mark.e2e

SECONDS = 30
ADDRESS = "http://127.0.0.1:1024/hook"


async def erase(stack: Stack, user_id: str) -> None:
    """Do what the purge does, a month later."""
    url = stack.addresses.database_url_of("auth")
    connection = await asyncpg.connect(stack.database_url)
    at = clock.now() - timedelta(days=31)
    await connection.execute("UPDATE auth.users SET deleted_at = $1 WHERE id = $2", at, user_id)
    await connection.close()
    settings = AuthSettings(database_url=url)
    database = Database(settings, "auth")
    assert await deletion.erase_due(database, Objects(settings), clock.now(), limit=10) == 1
    await database.close()


async def rows(stack: Stack, query: str, *values: Any) -> list[Any]:
    connection = await asyncpg.connect(stack.database_url)
    try:
        return list(await connection.fetch(query, *values))
    finally:
        await connection.close()


@pytest.mark.timeout(240)
async def test_a_person_is_seen_as_they_wish_and_leaves_nothing_behind(
    stacks: Callable[..., Stack], player_at: Callable[[Stack, str], Any], make_lineups: Callable[[Any, int], Any]
) -> None:
    stack = stacks(seed=4, rounds="1", start=datetime.now(UTC) + timedelta(days=1))
    ann, bob, carol = [await player_at(stack, name).enter() for name in ("ann_e2e", "bob_e2e", "carol_e2e")]
    me = await ann.get("/users/me")
    market = await ann.market()
    driver, team = market["drivers"][0]["driver_id"], market["constructors"][0]["constructor_id"]
    chosen = {"favorite_driver": driver, "favorite_team": team, "theme": "dark"}
    assert (await ann.call("PUT", "/auth/preferences", 200, json=chosen))["favorite_driver"] == driver
    await ann.call("PUT", "/auth/preferences", 422, json={"favorite_driver": "nobody"})

    league = await ann.call("POST", "/leagues", 201, json={"name": "Sunday Drivers", "private": True})
    ours = await ann.team("Ann's Own Racing")
    await ann.submit(ours, make_lineups(market, 1)[0])
    await bob.call("POST", "/leagues/join", 201, json={"code": league["code"]})
    endpoint = await ann.call("POST", "/webhooks", 201, json={"url": ADDRESS, "subjects": ["race.finished"]})
    wish = {"profile_visibility": "league_only", "show_email_to_league_members": True}
    await ann.call("PUT", "/users/me/preferences", 200, json=wish)

    async def shared() -> Any:
        response = await bob.http.get("/api/v1/users/ann_e2e/profile", headers={"Authorization": bob.bearer})
        return response.json() if response.status_code == 200 and response.json()["shared_leagues"] else None

    seen = await eventually(shared, seconds=SECONDS, what="the profile of somebody in the same league")
    assert (seen["email"], seen["favorite_driver"]) == ("ann_e2e@example.org", driver)
    assert [one["league_id"] for one in seen["shared_leagues"]] == [league["league_id"]]
    await carol.call("GET", "/users/ann_e2e/profile", 404)
    assert (await carol.get("/users/search", q="ann_e2e"))["items"] == []
    assert [one["username"] for one in (await bob.get("/users/search", q="ANN_e2"))["items"]] == ["ann_e2e"]

    await ann.call("PUT", "/users/me", 200, json={"username": "ann_renamed"})

    async def owner(name: str | None) -> bool:
        return bool((await bob.get(f"/leagues/{league['league_id']}"))["owner"]["username"] == name)

    await eventually(lambda: owner("ann_renamed"), seconds=SECONDS, what="the new name in the league")

    response = await ann.http.get("/api/v1/users/me/export", headers={"Authorization": ann.bearer})
    assert response.status_code == 200, response.text
    with zipfile.ZipFile(io.BytesIO(response.content)) as zipped:
        files = {name: zipped.read(name).decode() for name in zipped.namelist()}
    assert [one["name"] for one in json.loads(files["leagues.json"])["teams"]] == ["Ann's Own Racing"]
    assert len(json.loads(files["leagues.json"])["teams"][0]["lineups"]) == 1
    assert [one["endpoint"]["url"] for one in json.loads(files["webhooks.json"])["endpoints"]] == [ADDRESS]
    assert endpoint["secret"] not in "".join(files.values())

    await ann.call("DELETE", "/users/me", 403, json={"current_password": "Wrong-Tyres-1"})
    await ann.call("DELETE", "/users/me", 204, json={"current_password": "Tyres-Hot-99"})
    await eventually(lambda: owner(None), seconds=SECONDS, what="no name in the league")

    async def refused() -> bool:
        return bool((await ann.http.get("/api/v1/teams", headers={"Authorization": ann.bearer})).status_code == 401)

    await eventually(refused, seconds=2, what="the end of the token everywhere")

    async def disabled() -> bool:
        found = await rows(stack, "SELECT disabled_reason FROM webhooks.endpoints WHERE user_id = $1", me["id"])
        return [row[0] for row in found] == ["deactivated"]

    await eventually(disabled, seconds=SECONDS, what="the end of the webhook")

    await erase(stack, me["id"])

    async def forgotten() -> bool:
        names = await rows(stack, "SELECT name FROM leagues.teams WHERE team_id = $1", ours)
        names += await rows(stack, "SELECT name FROM scoring.teams WHERE team_id = $1", ours)
        left = await rows(stack, "SELECT 1 FROM webhooks.endpoints WHERE user_id = $1", me["id"])
        return {row[0] for row in names} == {former_name(UUID(ours))} and len(names) == 2 and not left

    await eventually(forgotten, seconds=SECONDS, what="the end of every name")
    assert (await bob.get(f"/teams/{ours}"))["owner"]["username"] is None
