"""Whoever is gone gets nothing; whoever is erased leaves nothing; and the copy of somebody's data."""

import asyncio
import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from common import clock
from common.contracts import Event
from common.contracts.auth import DeactivationReason, UserActivated, UserDeactivated, UserDeleted
from common.contracts.leagues import LeagueJoined
from devstack.testing import TokenMaker
from webhooks.domain import DisabledReason

if TYPE_CHECKING:
    from services.webhooks.tests.integration.conftest import Receiver, Start, Subscriber, World

DAY = timedelta(days=1)


def gone(user_id: UUID, days: int = 0) -> UserDeactivated:
    at = clock.now() + days * DAY
    return UserDeactivated(user_id=user_id, reason=DeactivationReason.DELETED, deactivated_at=at)


def back(user_id: UUID, days: int = 0) -> UserActivated:
    return UserActivated(user_id=user_id, username="ann", activated_at=clock.now() + days * DAY)


def erased(user_id: UUID) -> UserDeleted:
    return UserDeleted(user_id=user_id, deleted_at=clock.now())


def joined(user_id: UUID) -> LeagueJoined:
    return LeagueJoined(league_id=uuid4(), user_id=user_id, team_id=None, membership_version=1, joined_at=clock.now())


@pytest.fixture
async def ann(world: "World", start: "Start") -> "Subscriber":
    return world.subscriber(await start())


async def test_nothing_is_sent_for_somebody_who_is_gone_until_they_are_back(
    world: "World", ann: "Subscriber", receiver: "Receiver", another: "Receiver"
) -> None:
    endpoint, own = await ann.register(receiver.url), await ann.register(another.url)
    await ann.call("POST", f"/{own['endpoint_id']}/disable")
    await world.happen(gone(ann.id, 1))
    assert (await ann.read(endpoint))["disabled_reason"] == DisabledReason.DEACTIVATED
    assert (await ann.read(own))["disabled_reason"] == DisabledReason.OWNER
    await world.happen("race.finished")
    assert await ann.log(endpoint) == []
    for response in (
        await ann.call("POST", "", {"url": receiver.url, "subjects": ["race.finished"]}),
        await ann.call("POST", f"/{endpoint['endpoint_id']}/enable"),
    ):
        assert (response.status_code, response.json()["code"]) == (403, "user_inactive")
    await world.happen(back(ann.id, 2))
    await world.happen(gone(ann.id, 1))
    assert (await ann.read(endpoint))["enabled"] is True, "what was said before is late"
    assert (await ann.read(own))["disabled_reason"] == DisabledReason.OWNER
    await world.happen("race.finished")
    await receiver.heard(1)
    assert another.requests == []


async def test_who_is_erased_leaves_no_endpoint_no_secret_and_no_log(
    world: "World", ann: "Subscriber", receiver: "Receiver", start: "Start"
) -> None:
    bob = world.subscriber(await start())
    endpoint, kept = await ann.register(receiver.url), await bob.register(receiver.url)
    await world.happen(joined(ann.id))
    await world.happen("race.finished")
    await ann.ended(endpoint)
    event = erased(ann.id)
    await world.happen(event)
    await world.happen(event)
    await world.happen(joined(ann.id))
    await world.happen(back(ann.id))
    assert await world.rows("SELECT * FROM endpoints WHERE user_id = :id", id=ann.id) == []
    assert await world.rows("SELECT * FROM members WHERE user_id = :id", id=ann.id) == []
    left = await world.rows("SELECT DISTINCT endpoint_id FROM deliveries")
    assert [str(row.endpoint_id) for row in left] == [kept["endpoint_id"]]
    refused = await ann.call("POST", "", {"url": receiver.url, "subjects": ["race.finished"]})
    assert (refused.status_code, refused.json()["code"]) == (403, "user_inactive")
    assert (await bob.read(kept))["enabled"] is True


async def test_an_endpoint_registered_while_its_owner_goes_is_refused_or_disabled(
    world: "World", ann: "Subscriber", receiver: "Receiver"
) -> None:
    body = {"url": receiver.url, "subjects": ["race.finished"]}
    answers, _ = await asyncio.gather(
        asyncio.gather(*(ann.call("POST", "", body) for _ in range(5))), world.happen(gone(ann.id))
    )
    assert {answer.status_code for answer in answers} <= {201, 403}
    assert await world.rows("SELECT * FROM endpoints WHERE disabled_at IS NULL") == []


async def test_the_same_events_in_any_order_give_the_same_tables(world: "World") -> None:
    user_id = uuid4()
    events: list[Event] = [gone(user_id, 1), back(user_id, 2), gone(user_id, 3), joined(user_id)]
    outcomes = set()
    for order in itertools.permutations([*events, erased(user_id)]):
        await world.execute("TRUNCATE people, members")
        for event in order:
            await world.happen(event)
        rows: list[Any] = await world.rows("SELECT active, status_at, erased FROM people")
        outcomes.add(str([*rows, *await world.rows("SELECT * FROM members")]))
    assert len(outcomes) == 1, outcomes


async def test_the_copy_of_somebodys_data_is_theirs_alone_and_holds_no_secret(
    world: "World", ann: "Subscriber", receiver: "Receiver", start: "Start", tokens: TokenMaker
) -> None:
    bob = world.subscriber(await start())
    endpoint, other = await ann.register(receiver.url), await bob.register(receiver.url)
    membership = joined(ann.id)
    await world.happen(membership)
    await world.happen("race.finished")
    await ann.ended(endpoint)
    response = await ann.http.get("/internal/export", headers=ann.headers)
    assert response.status_code == 200, response.text
    held = response.json()
    assert held["leagues"] == [str(membership.league_id)]
    [mine] = held["endpoints"]
    assert mine["endpoint"]["endpoint_id"] == endpoint["endpoint_id"]
    assert (mine["deliveries_in_all"], len(mine["deliveries"])) == (1, 1)
    assert other["endpoint_id"] not in response.text
    assert endpoint["secret"] not in response.text
    assert "secret" not in mine["endpoint"]
    assert (await ann.http.get("/internal/export")).status_code == 401
    limited = {"Authorization": f"Bearer {tokens.make(ann.id, scope='webhooks:read webhooks:write')}"}
    assert (await ann.http.get("/internal/export", headers=limited)).status_code == 403
