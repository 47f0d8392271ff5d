"""A rebuilt leaderboard: scores that come out as they stand keep their version, others are scored for all to hear."""

from typing import Any

import pytest
from sqlalchemy.engine import make_url

from common import migrate, topology
from common.contracts import Event
from common.contracts.ingest import SessionKind
from common.settings import Environment
from devstack.testing import PASSWORD, eventually, running
from lab import season, wire
from paddock.projections import PROJECTIONS
from paddock.rebuild import Rebuild
from scoring.app import create_app
from scoring.consumers import consumers
from scoring.settings import ScoringSettings

TEAMS = 12
TABLES = (
    *("seasons", "rounds", "round_locks", "results", "teams", "lineups", "leagues", "league_members", "assets"),
    *("prices", "ledger", "scored_rounds", "standings"),
)


def scoring(past: Any) -> Any:
    url = make_url(past.admin_url).set(username=migrate.role_of("scoring"), password=PASSWORD)
    return create_app(
        ScoringSettings(
            paddock_env=Environment.TEST,
            database_url=url.render_as_string(hide_password=False),
            nats_url=past.nats.url,
            coalesce_seconds=0.0,
        )
    )


async def settle(past: Any) -> None:
    async def quiet() -> bool:
        await past.consumed()
        waiting = "SELECT (SELECT count(*) FROM scoring.dirty_rounds)"
        unsent = "(SELECT count(*) FROM scoring.outbox WHERE published_at IS NULL)"
        return bool(await past.value(f"{waiting} + {unsent}") == 0)

    await eventually(quiet, seconds=60, what="the end of scoring")


async def attached(past: Any) -> bool:
    found = await past.js.consumers_info(topology.EVENTS)
    return sum(bool(info.config.durable_name) for info in found) == len(consumers.all)


async def state(past: Any) -> dict[str, list[str]]:
    return {name: sorted(map(repr, await past.rows(f"SELECT * FROM scoring.{name}"))) for name in TABLES}


async def published(past: Any) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = await past.rows("SELECT subject, key FROM scoring.outbox ORDER BY id")
    return rows


@pytest.fixture
async def played(past: Any) -> Any:
    """Three weekends, one of them corrected, so that versions differ."""
    entered: list[Event] = [season.calendar()]
    for number in range(1, TEAMS + 1):
        entered += [season.team(number), season.lineup(number), season.lineup(number, version=2), season.joined(number)]
    async with running(scoring(past)):
        await eventually(lambda: attached(past), seconds=30, what="durables")
        await wire.publish(past.js, *entered)
        await past.consumed()
        await wire.publish(past.js, *season.races())
        await settle(past)
        for version in (2, 3):  # how often a round is scored depends on how fast its sessions come; one correction more
            await wire.publish(past.js, season.result(2, SessionKind.RACE, version=version))
            await settle(past)
            if len(set(await past.rows("SELECT score_version FROM scoring.scored_rounds"))) > 1:
                break
    return past


async def rebuild(past: Any) -> list[str]:
    projection = next(one for one in PROJECTIONS if one.name == "scoring.leaderboard")
    return await Rebuild(projection, past.admin_url, past.js, report=lambda _: None).run()


async def test_scores_that_come_out_as_they_stand_keep_version_and_time_and_nobody_hears_of_it(played: Any) -> None:
    before, events = await state(played), await published(played)
    assert len(set(await played.rows("SELECT score_version FROM scoring.scored_rounds"))) > 1
    for statement in (
        "UPDATE scoring.standings SET total = total + 1000 WHERE place = 3",
        "DELETE FROM scoring.standings WHERE round = 2 AND place > 6",
        "DELETE FROM scoring.lineups WHERE lineup_version = 1",
        "UPDATE scoring.ledger SET points = points + 1 WHERE round = 1",
        "UPDATE scoring.results SET classification = '[]' WHERE round = 3",
    ):
        await played.database.execute(statement)
    assert await rebuild(played) != ["nothing differed"]
    assert await state(played) == before
    assert await played.value("SELECT count(*) FROM scoring.dirty_rounds") == 0
    assert await published(played) == events
    assert await rebuild(played) == ["nothing differed"]


async def test_scores_that_come_out_differently_get_their_next_version_from_the_scorer(played: Any) -> None:
    """As after a bug: the round was scored from what no event told of."""
    before = await state(played)
    versions = await played.rows("SELECT round, score_version FROM scoring.scored_rounds ORDER BY round")
    await played.database.execute(
        "UPDATE scoring.scored_rounds SET points_mark = 'wrong', standings_mark = 'wrong' WHERE round = 2"
    )
    await played.database.execute("UPDATE scoring.standings SET total = total + 5 WHERE round = 2")
    events = len(await published(played))
    await rebuild(played)
    marks = await played.rows("SELECT season, from_round FROM scoring.dirty_rounds")
    assert marks == [(season.YEAR, 2)]
    async with running(scoring(played)):
        await settle(played)
    after = await played.rows("SELECT round, score_version FROM scoring.scored_rounds ORDER BY round")
    assert [(number, version - old) for (number, version), (_, old) in zip(after, versions, strict=True)] == [
        (1, 0),
        (2, 1),
        (3, 0),
    ]
    told = (await published(played))[events:]
    assert {subject for subject, _ in told} == {"race.scored", "leaderboard.updated"}
    query = "SELECT team_id, round, total, rank, place FROM scoring.standings NATURAL JOIN scoring.scored_rounds"
    rebuilt = sorted(map(repr, await played.rows(query)))
    assert len(rebuilt) == 3 * TEAMS
    assert {name for name, rows in (await state(played)).items() if rows != before[name]} == {
        "scored_rounds",
        "standings",
    }


async def test_numbers_of_assets_and_prices_stay_as_they_were_given(played: Any) -> None:
    before = await state(played)
    await played.database.execute("DELETE FROM scoring.lineups")
    await rebuild(played)
    after = await state(played)
    assert (after["assets"], after["prices"], after["lineups"]) == (
        before["assets"],
        before["prices"],
        before["lineups"],
    )
