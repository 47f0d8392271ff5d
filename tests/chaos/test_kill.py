"""Kill -9 of anything while a race result comes in: once restarted it recovers alone, nothing is lost or doubled."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from common import migrate
from devstack.stack import Stack

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("chaos")]

START_SECONDS = 25
"""For a stack to start and eight teams to enter, beside other tests on the same two cores."""
PACE_SECONDS = 14
CALM_PACE_SECONDS = 5
VICTIMS = ("auth", "ingest", "leagues", "scoring", "analytics", "gateway", "nats", "valkey", "postgres")
SPARE = 3
"""Weekends more than victims: a slow recovery may cost one."""
ROUNDS = f"1-{len(VICTIMS) + SPARE}"
SEED = 5
TEAMS = 8
DEAD_SECONDS = 2.0
SCHEMAS = migrate.SERVICES

RESULT = """
SELECT t.name, s.round, s.round_points, s.total, s.rank FROM scoring.standings s
JOIN scoring.teams t ON t.team_id = s.team_id JOIN scoring.scored_rounds r
  ON (r.season, r.round, r.score_version) = (s.season, s.round, s.score_version)
WHERE s.round <= {last} ORDER BY 1, 2
"""


async def enter(stack: Stack, player_at: Callable[[Stack, str], Any], make_lineups: Callable[..., Any]) -> Any:
    """Enter the same teams with the same line-ups before the first lock."""
    players = [await player_at(stack, f"racer_{number}").enter() for number in range(TEAMS)]
    for number, lineup in enumerate(make_lineups(await players[0].market(), TEAMS)):
        await players[number].submit(await players[number].team(f"Team {number}"), lineup)
    return players[0]


def season(stacks: Callable[..., Stack], pace: float) -> Stack:
    return stacks(pace=pace, seed=SEED, rounds=ROUNDS, start=datetime.now(UTC) + timedelta(seconds=START_SECONDS))


@pytest.fixture(scope="module")
async def calm(
    stacks: Callable[..., Stack],
    player_at: Callable[..., Any],
    make_lineups: Callable[..., Any],
    observe: Callable[[Stack], Any],
) -> list[tuple[Any, ...]]:
    """The same season with nobody killed."""
    stack = season(stacks, CALM_PACE_SECONDS)
    player = await enter(stack, player_at, make_lineups)
    await player.scored(len(VICTIMS) + SPARE, seconds=CALM_PACE_SECONDS * (len(VICTIMS) + SPARE) + 40)
    found = await observe(stack).rows(RESULT.format(last=len(VICTIMS) + SPARE))
    stack.stop()
    return [*found]


@pytest.fixture(scope="module")
async def player(
    calm: list[tuple[Any, ...]],
    stacks: Callable[..., Stack],
    player_at: Callable[..., Any],
    make_lineups: Callable[..., Any],
) -> Any:
    """A player of the stack whose parts die; its `stack` is set."""
    assert calm, "the calm season was scored"
    stack = season(stacks, PACE_SECONDS)
    player = await enter(stack, player_at, make_lineups)
    player.stack = stack
    return player


async def next_race(stack: Stack) -> tuple[int, datetime, datetime]:
    """Return number, start and end of the next race that has not begun."""
    async with httpx.AsyncClient(base_url=stack.trackside_url) as trackside:
        timetable = (await trackside.get("/control/state")).json()["timetable"]
    races = [slot for slot in timetable if slot["session"].lower() == "race"]
    for slot in races:
        starts_at = datetime.fromisoformat(slot["starts_at"])
        if starts_at > datetime.now(UTC):
            return slot["round"], starts_at, datetime.fromisoformat(slot["ends_at"])
    pytest.fail("the season is over before everything was killed")


async def wait_for(instant: datetime) -> None:
    await asyncio.sleep(max(0.0, (instant - datetime.now(UTC)).total_seconds()))


@pytest.mark.parametrize("victim", VICTIMS)
async def test_a_weekend_survives_the_death_of(victim: str, player: Any) -> None:
    stack: Stack = player.stack
    number, _, ends_at = await next_race(stack)
    await wait_for(ends_at - timedelta(seconds=DEAD_SECONDS / 2))
    await asyncio.to_thread(stack.kill, victim)
    await wait_for(ends_at + timedelta(seconds=DEAD_SECONDS / 2))
    await asyncio.to_thread(stack.start_again, victim)
    scores = await player.scored(number, seconds=40)
    assert scores["round"] == number


async def test_the_season_ends_as_if_nobody_had_been_killed(
    player: Any, calm: list[tuple[Any, ...]], observe: Callable[[Stack], Any]
) -> None:
    await player.scored(len(VICTIMS), seconds=60)
    last = max(round_number for _, round_number, *_ in calm)
    await player.scored(last, seconds=PACE_SECONDS * (SPARE + 1) + 60)
    watch = observe(player.stack)
    await watch.settled()
    assert await watch.rows(RESULT.format(last=last)) == calm


async def test_every_event_is_in_the_stream_once_and_was_applied_once(
    player: Any, observe: Callable[[Stack], Any]
) -> None:
    watch = observe(player.stack)
    await watch.settled()
    stored = await watch.rows(
        " UNION ALL ".join(
            f"SELECT event_id, subject FROM {schema}.outbox WHERE published_at IS NOT NULL" for schema in SCHEMAS
        ),
    )
    streamed = [message.headers["ce-id"] for message in await watch.messages("EVENTS")]
    assert sorted(streamed) == sorted(set(streamed))
    assert set(streamed) == {str(event_id) for event_id, _ in stored}
    for schema in ("leagues", "scoring", "analytics"):
        applied = await watch.rows(f"SELECT consumer, event_id FROM {schema}.inbox")
        for durable in {consumer for consumer, _ in applied}:
            subject = durable.rsplit("_", 1)[1].replace("-", ".")
            wanted = {event_id for event_id, name in stored if name == subject}
            assert {event_id for consumer, event_id in applied if consumer == durable} == wanted, durable
    assert await watch.messages("DLQ") == []
