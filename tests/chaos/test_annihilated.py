"""JetStream loses everything while a race is on, and the outboxes bring it back (E23)."""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from devstack.stack import Stack
from devstack.testing import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

PACE_SECONDS = 8
CALM_PACE_SECONDS = 4
START_SECONDS = 18
"""From the beginning of the start to the first session; teams must be entered by then."""
ROUNDS = 3
STRUCK = 2
SEED = 23
TEAMS = 5
SCHEMAS = ("auth", "ingest", "leagues", "scoring", "analytics")

TOTALS = """
SELECT t.name, s.round, s.round_points, s.total, s.rank FROM scoring.standings s
JOIN scoring.teams t ON t.team_id = s.team_id JOIN scoring.scored_rounds r
  ON (r.season, r.round, r.score_version) = (s.season, s.round, s.score_version)
ORDER BY 1, 2
"""
CHAMPIONSHIP = "SELECT race_id, session, place, driver_id, points FROM analytics.cars ORDER BY 1, 2, 3"


async def command(stack: Stack, *arguments: str) -> str:
    """Run a command of the operator; return what it says."""
    environ = os.environ | {"DATABASE_URL": stack.database_url, "NATS_URL": stack.nats_url}
    if credentials := stack.nats_creds():
        environ["NATS_CREDS_FILE"] = credentials
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "paddock", *arguments),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, said.decode()
    return said.decode()


async def enter(stack: Stack, player_at: Callable[..., Any], make_lineups: Callable[..., Any]) -> Any:
    """Enter the same teams with the same line-ups before the first lock."""
    players = [await player_at(stack, f"racer_{number}").enter() for number in range(TEAMS)]
    for number, lineup in enumerate(make_lineups(await players[0].market(), TEAMS)):
        await players[number].submit(await players[number].team(f"Team {number}"), lineup)
    return players[0]


def season(stacks: Callable[..., Stack], pace: float) -> Stack:
    start = datetime.now(UTC) + timedelta(seconds=START_SECONDS)
    return stacks(pace=pace, seed=SEED, rounds=f"1-{ROUNDS}", start=start)


async def outcome(watch: Any) -> list[Any]:
    await watch.settled()
    return [await watch.rows(TOTALS), await watch.rows(CHAMPIONSHIP)]


async def race_of(stack: Stack, number: int) -> tuple[datetime, datetime]:
    """Start and end of a race."""
    async with httpx.AsyncClient(base_url=stack.trackside_url) as trackside:
        timetable = (await trackside.get("/control/state")).json()["timetable"]
    slot = next(slot for slot in timetable if slot["session"].lower() == "race" and slot["round"] == number)
    return datetime.fromisoformat(slot["starts_at"]), datetime.fromisoformat(slot["ends_at"])


async def test_a_season_whose_stream_is_annihilated_ends_as_if_it_had_not_been(
    stacks: Callable[..., Stack],
    player_at: Callable[..., Any],
    make_lineups: Callable[..., Any],
    observe: Callable[[Stack], Any],
) -> None:
    calm = season(stacks, CALM_PACE_SECONDS)
    player = await enter(calm, player_at, make_lineups)
    await player.scored(ROUNDS, seconds=CALM_PACE_SECONDS * ROUNDS + 60)
    expected = await outcome(observe(calm))
    await asyncio.to_thread(calm.stop)
    assert len(expected[0]) == TEAMS * ROUNDS

    stack = season(stacks, PACE_SECONDS)
    player = await enter(stack, player_at, make_lineups)
    watch = observe(stack)
    starts_at, ends_at = await race_of(stack, STRUCK)
    middle = starts_at + (ends_at - starts_at) / 2
    await asyncio.sleep(max(0.0, (middle - datetime.now(UTC)).total_seconds()))
    await asyncio.to_thread(stack.kill, "nats")
    highest = await highest_place(watch)
    store = stack.state.path / "nats" / "jetstream"
    assert store.is_dir()
    shutil.rmtree(store)
    await asyncio.to_thread(stack.start_again, "nats")
    await command(stack, "topology", "apply")
    said = await command(stack, "events", "reconcile")
    print(f"E23: {said.strip().splitlines()[-1]}")  # noqa: T201 - a figure

    await player.scored(ROUNDS, seconds=PACE_SECONDS * ROUNDS + 60)
    assert await outcome(watch) == expected
    await same_events_in_stream_and_outboxes(watch, highest)
    assert await watch.messages("DLQ") == []
    again = await command(stack, "events", "reconcile")
    assert "published 0 events" in again


async def highest_place(watch: Any) -> int:
    places = " UNION ALL ".join(f"SELECT max(stream_seq) FROM {schema}.outbox" for schema in SCHEMAS)
    return max(place or 0 for (place,) in await watch.rows(places))


async def same_events_in_stream_and_outboxes(watch: Any, highest: int) -> None:
    """Each event is there once, where its outbox says, and above every place there was before the loss."""
    query = " UNION ALL ".join(
        f"SELECT event_id::text, stream_seq FROM {schema}.outbox WHERE published_at IS NOT NULL" for schema in SCHEMAS
    )

    async def marked() -> bool:
        return all(place is not None for _, place in await watch.rows(query))

    await eventually(marked, seconds=20, what="a place for every event")
    kept = dict(await watch.rows(query))
    streamed = [(one.headers["ce-id"], one.metadata.sequence.stream) for one in await watch.messages("EVENTS")]
    assert len(streamed) == len(kept)
    assert dict(streamed) == kept
    assert min(place for _, place in streamed) > highest > 0
