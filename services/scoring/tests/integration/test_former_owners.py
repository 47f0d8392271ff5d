"""Who is erased leaves no name on any leaderboard, in whatever order their end and their teams are told of."""

import asyncio
import itertools
from typing import Any
from uuid import UUID

import msgspec

from common.contracts import Event
from common.contracts.auth import UserDeleted
from common.contracts.leagues import former_name
from common.contracts.scoring import LeaderboardUpdated

OWNER = 10_001
"""Of team 1, as the story numbers people."""


def end(story: Any, owner: int = OWNER) -> UserDeleted:
    return UserDeleted(user_id=UUID(int=owner), deleted_at=story.starts_at(9))


def first_weekend(story: Any) -> list[Event]:
    """Three teams with equal points, of which the first in the order of names belongs to whoever is erased."""
    teams = [story.team(1, name="Aardvark by Jane Doe"), story.team(2, name="Beta"), story.team(3, name="Zeta")]
    drivers, constructors = story.drivers[:5], story.constructors[:2]
    lineups = [story.lineup(number, drivers, constructors) for number in (1, 2, 3)]
    return [story.calendar(), *teams, *lineups, story.lock(1), story.result(1)]


async def names(stage: Any) -> list[str]:
    rows = await stage.rows(
        "SELECT teams.name FROM standings NATURAL JOIN scored_rounds JOIN teams USING (team_id)"
        " WHERE round = 1 ORDER BY place"
    )
    return [row[0] for row in rows]


async def test_the_teams_of_who_is_erased_stand_under_a_name_that_says_nothing(stage: Any, story: Any) -> None:
    await stage.play(*first_weekend(story))
    assert await names(stage) == ["Aardvark by Jane Doe", "Beta", "Zeta"]
    before = await stage.rows("SELECT team_id, total, rank FROM standings NATURAL JOIN scored_rounds ORDER BY team_id")
    await stage.play(end(story), end(story))
    assert await names(stage) == ["Beta", former_name(UUID(int=1)), "Zeta"], "ranked by the new name"
    after = await stage.rows("SELECT team_id, total, rank FROM standings NATURAL JOIN scored_rounds ORDER BY team_id")
    assert after == before
    told = msgspec.json.decode((await stage.published("leaderboard.updated"))[-1], type=LeaderboardUpdated)
    assert [row.team_name for row in told.leaders] == ["Beta", former_name(UUID(int=1)), "Zeta"]


async def test_the_end_of_somebody_without_teams_ranks_nothing_anew(stage: Any, story: Any) -> None:
    await stage.play(*first_weekend(story))
    await stage.tell(end(story, 99_999))
    assert await stage.rows("SELECT * FROM dirty_rounds") == []


async def test_a_team_that_is_told_of_after_its_owners_end_has_no_name_either(stage: Any, story: Any) -> None:
    outcomes = set()
    told = [story.team(1, name="Jane Doe One"), story.team(2, name="Beta"), end(story), story.calendar()]
    for order in itertools.permutations(told):
        await stage.clear()
        await stage.play(*order)
        outcomes.add(str(await stage.rows("SELECT team_id, name FROM teams ORDER BY team_id")))
    assert len(outcomes) == 1
    assert "Jane" not in outcomes.pop()


async def test_a_team_that_comes_while_its_owner_is_erased_loses_its_name(stage: Any, story: Any) -> None:
    await stage.tell(story.calendar())
    for round_of_it in range(10):
        owner = 20_000 + round_of_it
        team = msgspec.structs.replace(story.team(100 + round_of_it, name="Jane Doe"), user_id=UUID(int=owner))
        await asyncio.gather(stage.tell(team), stage.tell(end(story, owner)))
    assert await stage.rows("SELECT name FROM teams WHERE name LIKE '%Jane%'") == []
    assert await stage.rows("SELECT count(*) FROM teams") == [(10,)]
