"""Line-ups: what is accepted, for which round, and who sees it when."""

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from common import clock
from devstack.testing import eventually

if TYPE_CHECKING:
    from services.leagues.tests.integration.conftest import World

FIVE = ["albon", "alonso", "gasly", "hamilton", "leclerc"]
OTHER_FIVE = ["alonso", "gasly", "hamilton", "leclerc", "russell"]
TWO = ["ferrari", "mclaren"]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


async def test_a_line_up_is_accepted_for_the_next_round_to_lock_and_told_of(world: "World") -> None:
    await world.open()
    ann = world.caller()
    team = await ann.team()
    response = await ann.submit(team, drivers=FIVE[::-1], constructors=TWO[::-1])
    lineup = response.json()
    assert response.status_code == 200
    assert (lineup["lineup_version"], lineup["effective_round"], lineup["cost"]) == (1, 1, 900)
    assert (lineup["drivers"], lineup["constructors"]) == (FIVE, TWO)
    [event] = await world.events("lineup.submitted")
    assert (event.team_id, event.user_id, event.season) == (UUID(team), ann.id, 2026)
    assert (event.effective_round, event.lineup_version, event.cost) == (1, 1, 900)
    assert (event.drivers, event.constructors) == (FIVE, TWO)
    assert event.submitted_at == datetime.fromisoformat(lineup["submitted_at"])
    assert (await ann.get(f"/teams/{team}")).json()["lineup"] == lineup


async def test_the_newest_line_up_replaces_the_earlier_one_which_stays_in_the_history(world: "World") -> None:
    await world.open()
    ann = world.caller()
    team = await ann.team()
    await ann.submit(team)
    assert (await ann.submit(team, drivers=OTHER_FIVE)).json()["lineup_version"] == 2
    for query in ({}, {"round": 1}, {"round": 3}):
        seen = (await ann.get(f"/teams/{team}/lineup", **query)).json()
        assert (seen["lineup_version"], seen["drivers"]) == (2, OTHER_FIVE)
    rows = await world.rows("SELECT lineup_version, drivers FROM lineups ORDER BY 1")
    assert [(row.lineup_version, row.drivers) for row in rows] == [(1, FIVE), (2, OTHER_FIVE)]


async def test_the_same_line_up_for_the_same_round_again_is_the_one_that_is_there(world: "World") -> None:
    await world.open()
    ann = world.caller()
    team = await ann.team()
    first = await ann.submit(team)
    await world.feed(world.priced(version=2, albon=900))
    again = await ann.submit(team, drivers=FIVE[::-1], round=1)
    assert (again.status_code, again.json()) == (200, first.json())
    assert len(await world.events("lineup.submitted")) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"drivers": FIVE[:4]}, 422, "lineup_size"),
        ({"drivers": [*FIVE, "russell"]}, 422, "lineup_size"),
        ({"constructors": TWO[:1]}, 422, "lineup_size"),
        ({"drivers": []}, 422, "lineup_size"),
        ({"drivers": [*FIVE[:4], "albon"]}, 422, "duplicate_asset"),
        ({"constructors": ["ferrari", "ferrari"]}, 422, "duplicate_asset"),
        ({"drivers": [*FIVE[:4], "senna"]}, 409, "unknown_asset"),
        ({"drivers": [*FIVE[:4], "ferrari"]}, 409, "unknown_asset"),
        ({"drivers": [*FIVE[:4], "a\x00b"]}, 409, "unknown_asset"),
        ({"drivers": [*FIVE[:4], ""]}, 422, "invalid_request"),
        ({"drivers": [*FIVE[:4], "x" * 65]}, 422, "invalid_request"),
        ({"drivers": [*FIVE[:4], 44]}, 422, "invalid_request"),
        ({"drivers": None}, 422, "invalid_request"),
        ({"drivers": "albon"}, 422, "invalid_request"),
        ({"round": 0}, 422, "invalid_request"),
        ({"round": "next"}, 422, "invalid_request"),
        ({"round": 2}, 409, "round_not_open"),
        ({"round": 9}, 404, "unknown_round"),
        ({"cost": 1}, 422, "invalid_request"),
    ],
)
async def test_a_line_up_that_cannot_be_is_refused_and_leaves_nothing(
    world: "World", body: dict[str, object], status: int, code: str
) -> None:
    await world.open()
    ann = world.caller()
    team = await ann.team()
    before = await world.snapshot()
    response = await ann.submit(team, **body)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert await world.snapshot() == before


async def test_over_budget_is_told_in_words(world: "World") -> None:
    await world.open()
    await world.feed(world.priced(version=2, albon=234))
    ann = world.caller()
    response = await ann.submit(await ann.team())
    assert (response.status_code, response.json()["code"]) == (409, "over_budget")
    assert response.json()["detail"] == "This line-up costs $103.4M; the cap is $100.0M."
    assert await world.rows("SELECT 1 FROM lineups") == []


async def test_what_has_no_price_yet_cannot_be_had(world: "World") -> None:
    now = clock.now()
    await world.feed(world.synced([world.race(1, now + HOUR)], drivers=[*world.drivers, "rookie"]), world.priced())
    ann = world.caller()
    response = await ann.submit(await ann.team(), drivers=[*FIVE[:4], "rookie"])
    assert (response.status_code, response.json()["code"]) == (409, "asset_unpriced")
    assert response.json()["errors"] == [{"field": "drivers", "message": "rookie"}]


async def test_nobody_touches_the_team_of_somebody_else(world: "World") -> None:
    await world.open()
    ann, eve = world.caller(), world.caller()
    team = await ann.team()
    before = await world.snapshot()
    foreign, nowhere = await eve.submit(team), await eve.submit(str(uuid4()))
    assert (foreign.status_code, foreign.json()["code"]) == (404, "unknown_team")
    assert {**foreign.json(), "request_id": ""} == {**nowhere.json(), "request_id": ""}
    assert await world.snapshot() == before


async def test_many_line_ups_at_once_are_numbered_without_gap_or_double(world: "World") -> None:
    await world.open()
    ann = world.caller()
    team = await ann.team()
    picks = [
        sorted({*world.drivers} - {a, b, c})
        for a, b, c in zip(
            world.drivers, world.drivers[1:] + world.drivers[:1], world.drivers[3:] + world.drivers[:3], strict=True
        )
    ]
    answers = await asyncio.gather(*(ann.submit(team, drivers=drivers) for drivers in picks))
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.json()["lineup_version"] for answer in answers) == list(range(1, 9))
    events = await world.events("lineup.submitted")
    assert [event.lineup_version for event in events] == list(range(1, 9))
    instants = [event.submitted_at for event in events]
    assert instants == sorted(instants)
    newest = (await ann.get(f"/teams/{team}/lineup")).json()
    assert newest["drivers"] == events[-1].drivers


async def test_the_same_line_up_many_times_at_once_is_one(world: "World") -> None:
    await world.open()
    ann = world.caller()
    team = await ann.team()
    answers = await asyncio.gather(*(ann.submit(team) for _ in range(8)))
    assert {(answer.status_code, answer.json()["lineup_version"]) for answer in answers} == {(200, 1)}
    assert len(await world.events("lineup.submitted")) == 1


async def test_the_database_clock_shuts_the_door(world: "World") -> None:
    await world.open(lock_in=timedelta(seconds=0.8))
    ann = world.caller()
    team = await ann.team()
    assert (await ann.submit(team)).status_code == 200

    async def late() -> object:
        response = await ann.submit(team, drivers=OTHER_FIVE)
        return response if response.status_code == 409 else None

    refusal = await eventually(late, what="the lock")
    assert refusal.json()["code"] == "round_locked"
    assert refusal.headers["content-type"] == "application/problem+json"
    accepted = await world.rows(
        "SELECT l.submitted_at < k.lock_at AS in_time FROM lineups l, locks k WHERE k.round = 1"
    )
    assert {row.in_time for row in accepted} == {True}


async def test_during_a_locked_weekend_a_change_is_late_unless_it_names_the_next_round(world: "World") -> None:
    await world.running_weekend()
    ann = world.caller()
    team = await ann.team()
    for body in ({}, {"round": 1}):
        late = await ann.submit(team, **body)
        assert (late.status_code, late.json()["code"]) == (409, "round_locked")
        assert late.json()["detail"].startswith("Round 1, Grand Prix 1, locked at 2")
        assert "The open round is 2, Grand Prix 2; it locks at 2" in late.json()["detail"]
    early = await ann.submit(team, round=2)
    assert (early.status_code, early.json()["effective_round"]) == (200, 2)
    await world.execute("UPDATE rounds SET race_starts_at = now() WHERE round = 1")
    assert (await ann.submit(team, drivers=OTHER_FIVE)).json()["effective_round"] == 2


async def test_after_the_last_race_the_season_is_over(world: "World") -> None:
    now = clock.now()
    await world.feed(world.synced([world.race(1, now - DAY, race_at=now - HOUR)]), world.priced())
    ann = world.caller()
    response = await ann.submit(await ann.team())
    assert (response.status_code, response.json()["code"]) == (409, "season_over")
    assert (await ann.get("/rounds/next")).json()["code"] == "no_open_round"
    assert (await ann.get("/market")).json()["round"] == 1


async def test_each_round_is_played_by_the_line_up_of_its_time(world: "World") -> None:
    await world.open()
    ann = world.caller()
    team = await ann.team()
    await ann.submit(team)
    await world.execute("UPDATE locks SET lock_at = now() - interval '2 hours' WHERE round = 1")
    await world.execute("UPDATE rounds SET race_starts_at = now() - interval '1 hour' WHERE round = 1")
    assert (await ann.submit(team, drivers=OTHER_FIVE)).json()["effective_round"] == 2
    played = [(await ann.get(f"/teams/{team}/lineup", round=number)).json() for number in (1, 2, 3)]
    assert [lineup["lineup_version"] for lineup in played] == [1, 2, 2]
    assert (await ann.get(f"/teams/{team}/lineup", round=4)).json()["code"] == "unknown_round"


async def test_others_see_a_line_up_only_once_its_round_is_locked(world: "World") -> None:
    await world.open()
    ann, eve = world.caller(), world.caller()
    team = await ann.team()
    await ann.submit(team)

    async def seen(**query: int) -> object:
        response = await eve.get(f"/teams/{team}/lineup", **query)
        return response.json()["lineup_version"] if response.status_code == 200 else response.json()["code"]

    assert [await seen(), await seen(round=1), await seen(round=3)] == ["no_lineup"] * 3
    assert (await eve.get(f"/teams/{team}")).json()["lineup"] is None
    await world.execute("UPDATE locks SET lock_at = now() WHERE round = 1")
    await ann.submit(team, drivers=OTHER_FIVE, round=2)
    assert [await seen(), await seen(round=1), await seen(round=2)] == [1, 1, "no_lineup"]
    assert (await eve.get(f"/teams/{team}")).json()["lineup"]["drivers"] == FIVE
    assert (await ann.get(f"/teams/{team}")).json()["lineup"]["drivers"] == OTHER_FIVE


async def test_a_team_without_a_line_up_has_none_to_see(world: "World") -> None:
    await world.open()
    ann = world.caller()
    response = await ann.get(f"/teams/{await ann.team()}/lineup")
    assert (response.status_code, response.json()["code"]) == (404, "no_lineup")


async def test_a_price_counts_from_its_round_on_and_the_newest_list_wins(world: "World") -> None:
    await world.running_weekend()
    await world.feed(world.priced(version=3, effective_round=2, albon=120))
    await world.feed(world.priced(version=2, effective_round=2, albon=110, alonso=90))
    await world.feed(world.priced(version=4, effective_round=3, albon=500))
    ann = world.caller()
    assert (await ann.submit(await ann.team(), round=2)).json()["cost"] == 900 + 20 - 10
    market = (await ann.get("/market")).json()
    prices = {driver["driver_id"]: driver["price"] for driver in market["drivers"]}
    assert (market["round"], prices["albon"], prices["alonso"], prices["gasly"]) == (2, 120, 90, 100)
