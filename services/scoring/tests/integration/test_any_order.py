"""Events in any order, twice, with scoring at any moment in between: the points are the same."""

import asyncio
import random
from typing import Any

import pytest

from common.contracts import Event
from common.contracts.ingest import CarStatus, SessionKind
from scoring.scorer import Scorer

RETIRED = {"d03": CarStatus.DNF, "d11": CarStatus.NOT_CLASSIFIED, "d19": CarStatus.DNS}


def weekend(story: Any, number: int, luck: random.Random) -> list[Event]:
    sessions = [SessionKind.QUALIFYING, SessionKind.RACE]
    if number == 2:
        sessions.insert(0, SessionKind.SPRINT)
    events: list[Event] = [story.lock(number)]
    for session in sessions:
        order = luck.sample(story.drivers, len(story.drivers))
        cars = story.cars(session, order, RETIRED if session is SessionKind.RACE else None, seed=number)
        events.append(story.result(number, session, cars=cars))
    return events


def season(story: Any) -> list[Event]:
    """A season with everything in it: a reserve driver, a moved race, amendments, late teams, line-ups that change."""
    luck = random.Random(2026)  # noqa: S311 - no secret
    replaced = [stint for stint in story.stints() if stint.driver_id != "d07"]
    events: list[Event] = [story.calendar(), story.calendar(version=2, stints=replaced)]
    races = [story.race(1), story.race(2), story.race(3, circuit=4)]
    events.append(story.calendar(version=3, races=races))
    for number in (1, 2):
        events += weekend(story, number, luck)
    events.append(story.result(4, circuit=4))
    events.append(story.result(1, version=2, cars=story.cars(SessionKind.RACE, None, {"d00": CarStatus.DISQUALIFIED})))
    events.append(story.result(1, version=3, cars=story.cars(SessionKind.RACE, None, {"d01": CarStatus.DISQUALIFIED})))
    for team in range(1, 31):
        events.append(story.team(team, before_round=1 + team % 4, name=f"Team {team % 7}"))
        if team % 6:
            starts = 1 + team % 4
            events.append(story.random_lineup(team, luck, from_round=starts))
            events.append(story.random_lineup(team, luck, version=2, from_round=min(3, starts + 1)))
            events.append(story.random_lineup(team, luck, version=3, from_round=min(3, starts + 1)))
    events.append(story.league(1))
    events += [story.joined(1, team) for team in range(1, 10)]
    return events


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What the first order gave, for the others to equal."""
    return {}


@pytest.mark.parametrize("seed", range(5))
async def test_any_order_with_duplicates_gives_the_same_points(
    stage: Any, story: Any, told: dict[str, Any], seed: int
) -> None:
    events = season(story)
    if not told:
        await stage.play(*events)
        told.update(await stage.outcome())
        await stage.clear()
    luck = random.Random(seed)  # noqa: S311 - no secret
    shuffled = luck.sample(events + events, 2 * len(events))
    for event in shuffled:
        await stage.tell(event)
        if luck.random() < 0.15:
            await stage.settle()
    await stage.settle()
    outcome = await stage.outcome()
    assert min(len(outcome["ledger"]), len(outcome["standings"])) > 40
    for table, rows in told.items():
        assert outcome[table] == rows, table


async def test_reverse_order_gives_the_same_points(stage: Any, story: Any) -> None:
    await stage.play(*season(story))
    forwards = await stage.outcome()
    await stage.clear()
    for event in reversed(season(story)):
        await stage.play(event)
    assert await stage.outcome() == forwards


async def test_the_same_events_again_publish_nothing(stage: Any, story: Any) -> None:
    await stage.play(*season(story))
    before = await stage.rows("SELECT subject, count(*) FROM outbox GROUP BY subject ORDER BY subject")
    versions = await stage.rows("SELECT round, score_version FROM scored_rounds ORDER BY round")
    for event in season(story):
        await stage.play(event)
    assert await stage.rows("SELECT subject, count(*) FROM outbox GROUP BY subject ORDER BY subject") == before
    assert await stage.rows("SELECT round, score_version FROM scored_rounds ORDER BY round") == versions


async def test_scoring_again_without_a_change_writes_no_new_version(stage: Any, story: Any) -> None:
    await stage.play(*season(story))
    versions = await stage.rows("SELECT round, score_version, scored_at FROM scored_rounds ORDER BY round")
    await stage.rows("INSERT INTO dirty_rounds (season, from_round) VALUES (2026, 1) RETURNING id")
    await stage.settle()
    assert await stage.rows("SELECT round, score_version, scored_at FROM scored_rounds ORDER BY round") == versions
    assert await stage.rows("SELECT DISTINCT round, score_version FROM standings ORDER BY round") == [
        (number, version) for number, version, _ in versions
    ]


async def test_two_replicas_at_once_give_the_same_points(stage: Any, story: Any, settings: Any) -> None:
    await stage.play(*season(story))
    alone = await stage.outcome()
    await stage.clear()
    told_all = asyncio.Event()

    async def replica() -> None:
        scorer = Scorer(stage.database, settings)
        while not told_all.is_set() or await stage.rows("SELECT 1 FROM dirty_rounds LIMIT 1"):
            await scorer.settle()

    async def tell_half(events: list[Event]) -> None:
        for event in events:
            await stage.tell(event)

    replicas = [asyncio.create_task(replica()) for _ in range(2)]
    events = season(story)
    await asyncio.gather(tell_half(events[::2]), tell_half(events[1::2]))
    told_all.set()
    await asyncio.gather(*replicas)
    assert await stage.outcome() == alone
