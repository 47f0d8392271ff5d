"""A disqualification after the race leads to the very state that a season with that result has from the start."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import nats
import pytest

from devstack.stack import Stack

pytestmark = pytest.mark.e2e

PACE_SECONDS = 20
TEAMS = 6

STATE = {
    "ledger": """SELECT season, round, session, kind, asset_id, component, quantity, points, missing, explanation
                 FROM scoring.ledger ORDER BY 1, 2, 3, 4, 5, 6""",
    "standings": """SELECT t.name, s.round, s.round_points, s.total, s.rank
                    FROM scoring.standings s JOIN scoring.teams t ON t.team_id = s.team_id
                    JOIN scoring.scored_rounds r ON (r.season, r.round, r.score_version)
                                                  = (s.season, s.round, s.score_version) ORDER BY 1, 2""",
}


async def play(stack: Stack, player_at: Callable[[Stack, str], Any], make_lineups: Callable[..., Any]) -> Any:
    """Enter the same teams with the same line-ups, all in one league."""
    owner = await player_at(stack, "owner").enter()
    players = [owner, *[await player_at(stack, f"rival_{number}").enter() for number in range(1, TEAMS)]]
    league = await owner.call("POST", "/leagues", 201, json={"name": "Stewards' Room"})
    chosen = make_lineups(await owner.market(), TEAMS)
    for number, (player, lineup) in enumerate(zip(players, chosen, strict=True)):
        team = await player.team(f"Team {number}")
        await player.submit(team, lineup)
        if player is not owner:
            await player.call("POST", "/leagues/join", 201, json={"code": league["code"]})
    return owner, league["league_id"]


async def state(watch: Any, owner: Any, league_id: str) -> dict[str, Any]:
    """Read everything that a result decides, without ids and instants."""
    boards = [await owner.get("/leaderboard"), await owner.get(f"/leagues/{league_id}/leaderboard")]
    drivers = await owner.get("/analytics/standings/drivers")
    return {
        **{name: await watch.rows(query) for name, query in STATE.items()},
        "leaderboards": [
            [(row["rank"], row["team_name"], row["total"], row["round_points"]) for row in board["items"]]
            for board in boards
        ],
        "championship": [(row["position"], row["driver_id"], row["points"]) for row in drivers["standings"]],
    }


async def version_of(watch: Any) -> int:
    found = await watch.rows("SELECT coalesce(max(result_version), 0) FROM scoring.results WHERE session = 'race'")
    return int(found[0][0])


async def disqualify_the_winner(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.trackside_url) as trackside:
        races = (await trackside.get("/ergast/f1/2026/1/results.json")).json()["MRData"]["RaceTable"]["Races"]
        winner = races[0]["Results"][0]["Driver"]["driverId"]
        body = {"season": 2026, "round": 1, "session": "race", "driver_id": winner, "action": "disqualify"}
        response = await trackside.post("/control/amend", json=body)
        assert response.status_code == 201, response.text


def weekend(stacks: Callable[..., Stack], **options: Any) -> Stack:
    start = datetime.now(UTC) + timedelta(seconds=12)
    return stacks(pace=PACE_SECONDS, seed=11, rounds="1-1", start=start, **options)


async def test_an_amended_result_and_repeated_events_lead_to_the_state_of_a_fresh_run(
    stacks: Callable[..., Stack],
    player_at: Callable[[Stack, str], Any],
    make_lineups: Callable[..., Any],
    observe: Callable[[Stack], Any],
) -> None:
    stack = weekend(stacks)
    watch = observe(stack)
    owner, league_id = await play(stack, player_at, make_lineups)
    await owner.scored(1, seconds=PACE_SECONDS + 30)
    before = await settled(watch, owner, league_id)
    await disqualify_the_winner(stack)
    await wait_for_version(watch, 2)
    amended = await settled(watch, owner, league_id)
    assert amended["ledger"] != before["ledger"]
    assert amended["championship"] != before["championship"]

    await deliver_everything_again(watch)
    assert await settled(watch, owner, league_id) == amended
    stack.stop()

    fresh = weekend(stacks, decisions=stack.state.path / "trackside.json")
    owner, league_id = await play(fresh, player_at, make_lineups)
    await owner.scored(1, seconds=PACE_SECONDS + 30)
    assert await settled(observe(fresh), owner, league_id) == amended
    assert await version_of(observe(fresh)) == 1
    fresh.stop()


async def wait_for_version(watch: Any, version: int) -> None:
    async with asyncio.timeout(40):
        while await version_of(watch) < version:  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.1)


async def settled(watch: Any, owner: Any, league_id: str) -> dict[str, Any]:
    """Wait until nothing is under way, then read the state."""
    await watch.settled()
    return await state(watch, owner, league_id)


async def deliver_everything_again(watch: Any) -> None:
    """Publish every event twice more, last first, the inboxes emptied, so that only the facts' versions protect."""
    messages = await watch.messages("EVENTS")
    for schema in ("leagues", "scoring", "analytics"):
        await watch.rows(f"DELETE FROM {schema}.inbox")
    client = await nats.connect(watch.stack.nats_url, user_credentials=watch.stack.nats_creds())
    js = client.jetstream()
    for repeat in range(2):
        for message in reversed(messages):
            headers = dict(message.headers or {})
            headers["Nats-Msg-Id"] = f"{headers['Nats-Msg-Id']}-again-{repeat}"
            await js.publish(message.subject, message.data, headers=headers)
    await client.close()
