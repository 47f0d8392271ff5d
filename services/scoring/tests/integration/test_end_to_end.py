"""Through NATS, as in production: results go in, scores come out."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from nats.js import JetStreamContext
from nats.js.api import DeliverPolicy

from common import topology
from common.contracts import Event, decode, encode
from common.contracts.ingest import CarStatus, SessionKind
from common.contracts.scoring import LeaderboardUpdated, RaceScored
from devstack.testing import eventually, running
from scoring.app import create_app


async def publish(js: JetStreamContext, event: Event, event_id: UUID) -> None:
    """Send what the relay of another service sends."""
    headers = {
        "Nats-Msg-Id": uuid4().hex,
        "ce-id": str(event_id),
        "ce-type": event.subject,
        "ce-source": f"/paddock/{event.source}",
        "ce-subject": event.key(),
        "ce-time": "2026-03-08T15:00:00Z",
    }
    await js.publish(event.subject, encode(event), stream=topology.EVENTS, headers=headers)


@pytest.mark.usefixtures("stage")
async def test_published_results_become_published_scores(story: Any, settings: Any) -> None:
    story.season = 2041
    disqualified = story.cars(SessionKind.RACE, statuses={"d00": CarStatus.DISQUALIFIED})
    facts = [
        story.calendar(),
        story.team(1),
        story.team(2),
        story.lineup(1, ("d00", "d01"), ("c00",)),
        story.lineup(2, ("d18", "d19"), ("c09",)),
        story.league(1),
        story.joined(1, 2),
        story.lock(1),
        story.result(1, SessionKind.QUALIFYING),
        story.result(1),
    ]
    client = await topology.connect(settings.nats_url, "test")
    js = client.jetstream()
    new = DeliverPolicy.NEW
    scores = await js.subscribe("race.scored", stream=topology.EVENTS, deliver_policy=new)
    boards = await js.subscribe("leaderboard.updated", stream=topology.EVENTS, deliver_policy=new)
    seen: list[RaceScored] = []
    updated: list[LeaderboardUpdated] = []

    async def scored_from(result_version: int) -> RaceScored | None:
        seen.append(decode(RaceScored, (await scores.next_msg(timeout=20)).data))
        last = seen[-1]
        versions = {one.session: one.result_version for one in last.sessions}
        done = last.season == story.season and last.teams == 2 and len(versions) == 2
        return last if done and versions[SessionKind.RACE] == result_version else None

    async def board_of(league_id: UUID | None, score_version: int) -> LeaderboardUpdated | None:
        updated.append(decode(LeaderboardUpdated, (await boards.next_msg(timeout=20)).data))
        last = updated[-1]
        same = (last.season, last.league_id, last.score_version) == (story.season, league_id, score_version)
        return last if same else None

    async with running(create_app(settings)):
        for event in facts:
            await publish(js, event, event_id := uuid4())
            await publish(js, event, event_id)
        await eventually(lambda: scored_from(1), seconds=30, what="the score of the race")
        await publish(js, story.result(1, version=2, cars=disqualified), uuid4())
        final = await eventually(lambda: scored_from(2), seconds=30, what="the score after the amendment")
        league = await eventually(
            lambda: board_of(UUID(int=50_001), final.score_version), seconds=30, what="the league's leaderboard"
        )
    assert final.final
    assert [one.points for one in final.assets if one.asset_id == "d00"] == [10 - 20]
    assert [(one.rank, one.team_id.int) for one in league.leaders] == [(1, 2)]
    ours = [one for one in updated if one.season == story.season and one.league_id is None]
    assert ours[-1].members == 2
    await client.close()
