"""What a scored round holds and tells."""

from typing import Any
from uuid import UUID

import msgspec
import pytest

from common.contracts import decode
from common.contracts.ingest import CarStatus, SessionKind, Stint
from common.contracts.scoring import AssetKind, LeaderboardUpdated, PricesChanged, RaceScored
from common.errors import PoisonError
from scoring.domain import LedgerRow
from scoring.engine import asset_points
from scoring.prices import opening_price
from scoring.rounds import score_next
from scoring.teams import rank, team_points

FIVE = ("d00", "d02", "d04", "d06", "d08")


async def ledger(stage: Any, number: int) -> list[LedgerRow]:
    rows = await stage.rows("SELECT to_jsonb(ledger) FROM ledger WHERE round = :number", number=number)
    return [msgspec.convert(row, LedgerRow) for (row,) in rows]


async def board(stage: Any, number: int) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = await stage.rows(
        "SELECT team_id, rank, round_points, total FROM standings NATURAL JOIN scored_rounds"
        " WHERE round = :number ORDER BY place",
        number=number,
    )
    return rows


async def test_two_hundred_teams_get_what_the_plain_functions_say(stage: Any, story: Any, luck: Any) -> None:
    lineups = {}
    await stage.tell(story.calendar())
    for team in range(1, 201):
        await stage.tell(story.team(team, name=f"Team {luck.randrange(50)}"))
        if team % 20:
            lineups[team] = story.random_lineup(team, luck)
            await stage.tell(lineups[team])
    for number in (1, 2):
        cars = story.cars(SessionKind.RACE, luck.sample(story.drivers, 20), seed=number)
        await stage.tell(story.result(number, cars=cars), story.result(number, SessionKind.QUALIFYING))
    await stage.settle()
    totals = dict.fromkeys(range(1, 201), 0)
    for number in (1, 2):
        points = asset_points(await ledger(stage, number))
        scored = {
            team: team_points(lineup.drivers, lineup.constructors, points) if lineup else 0
            for team in totals
            for lineup in [lineups.get(team)]
        }
        totals = {team: total + scored[team] for team, total in totals.items()}
        ranks = rank(totals)
        expected = {UUID(int=team): (ranks[team], scored[team], totals[team]) for team in totals}
        rows = await board(stage, number)
        assert {team: rest for team, *rest in rows} == {team: list(rest) for team, rest in expected.items()}
    assert len(set(totals.values())) < 200, "no two teams share a rank: the test proves nothing about it"


async def test_equal_totals_share_a_rank_and_stand_in_order_of_names(stage: Any, story: Any) -> None:
    await stage.tell(story.calendar(), story.result(1))
    for team, name in enumerate(("Zulu", "alpha", "Bravo"), start=1):
        await stage.tell(story.team(team, name=name), story.lineup(team, FIVE, ("c00", "c01")))
    await stage.play(story.team(4, name="Empty"))
    rows = await board(stage, 1)
    assert [team.int for team, *_ in rows] == [3, 1, 2, 4]
    assert [row[1] for row in rows] == [1, 1, 1, 4]


async def test_a_team_without_a_lineup_is_listed_with_nothing(stage: Any, story: Any) -> None:
    await stage.play(story.calendar(), story.result(1), story.team(1))
    assert await board(stage, 1) == [(UUID(int=1), 1, 0, 0)]


async def test_a_lineup_plays_until_a_newer_one_takes_effect(stage: Any, story: Any) -> None:
    first, second = story.lineup(1, FIVE, ("c00", "c01")), story.lineup(1, ("d19",), (), version=2, from_round=2)
    await stage.play(story.calendar(), story.team(1), first, second, story.result(1), story.result(2), story.result(3))
    for number in (1, 2, 3):
        points = asset_points(await ledger(stage, number))
        playing = first if number == 1 else second
        expected = team_points(playing.drivers, playing.constructors, points)
        assert (await board(stage, number))[0][2] == expected


async def test_a_lineup_that_arrives_after_the_scoring_still_counts(stage: Any, story: Any) -> None:
    await stage.play(story.calendar(), story.team(1), story.lock(1), story.result(1), story.result(2))
    assert [row[2] for row in await board(stage, 1)] == [0]
    await stage.play(story.lineup(1, ("d00",), ()))
    points = asset_points(await ledger(stage, 1))[AssetKind.DRIVER, "d00"]
    assert [row[2] for row in await board(stage, 1)] == [points] != [0]
    later = asset_points(await ledger(stage, 2))[AssetKind.DRIVER, "d00"]
    assert [row[3] for row in await board(stage, 2)] == [points + later]


async def test_a_team_made_after_the_lock_does_not_stand_in_the_round(stage: Any, story: Any) -> None:
    facts = [story.calendar(), story.lock(1), story.result(1), story.result(2)]
    await stage.play(*facts, story.team(1), story.team(2, before_round=2))
    assert [row[0].int for row in await board(stage, 1)] == [1]
    assert {row[0].int for row in await board(stage, 2)} == {1, 2}


async def test_a_lock_that_arrives_after_the_scoring_takes_later_teams_off_the_list(stage: Any, story: Any) -> None:
    await stage.play(story.calendar(), story.result(1), story.team(1), story.team(2, before_round=2))
    assert {row[0].int for row in await board(stage, 1)} == {1, 2}
    await stage.play(story.lock(1))
    assert {row[0].int for row in await board(stage, 1)} == {1}


async def test_a_team_that_arrives_after_its_lineup_stands_wherever_the_lineup_plays(stage: Any, story: Any) -> None:
    await stage.play(story.calendar(), story.lock(1), story.lineup(1, FIVE, ("c00",)), story.result(1))
    await stage.play(story.team(1, before_round=2))
    assert [row[0].int for row in await board(stage, 1)] == [1]


async def test_a_result_that_names_an_old_round_is_scored_in_the_calendars(stage: Any, story: Any) -> None:
    await stage.play(story.calendar(races=[story.race(1), story.race(2, circuit=4)]), story.team(1))
    await stage.play(story.result(4, circuit=4))
    assert await stage.rows("SELECT round, race_id FROM scored_rounds") == [(2, story.race_id(4))]


async def test_a_new_team_does_not_announce_old_rounds_again(stage: Any, story: Any) -> None:
    await stage.play(story.calendar(), story.team(1), story.lock(1), story.result(1))
    before = await stage.rows("SELECT count(*) FROM outbox")
    await stage.play(story.team(2, before_round=2), story.lineup(2, FIVE, ("c00", "c01"), from_round=2))
    assert await stage.rows("SELECT count(*) FROM outbox") == before


async def test_disqualifying_the_winner_gives_what_a_fresh_run_gives(stage: Any, story: Any, luck: Any) -> None:
    teams = [event for team in range(1, 41) for event in (story.team(team), story.random_lineup(team, luck))]
    order = luck.sample(story.drivers, 20)
    before = story.result(1, cars=story.cars(SessionKind.RACE, order))
    after = [*order[1:], order[0]]
    cars = story.cars(SessionKind.RACE, after, {order[0]: CarStatus.DISQUALIFIED})
    amended = story.result(1, version=2, cars=cars)
    await stage.play(story.calendar(), *teams, before, story.result(2))
    first = await stage.outcome()
    await stage.play(amended)
    outcome = await stage.outcome()
    await stage.clear()
    await stage.play(story.calendar(), *teams, amended, story.result(2))
    assert outcome == await stage.outcome()
    assert outcome["ledger"] != first["ledger"]
    assert outcome["standings"] != first["standings"]


async def test_an_older_version_of_a_result_is_ignored(stage: Any, story: Any) -> None:
    newer = story.result(1, version=2, cars=story.cars(SessionKind.RACE, reversed(story.drivers)))
    await stage.play(story.calendar(), newer)
    before = await stage.outcome()
    await stage.play(story.result(1))
    assert await stage.outcome() == before
    assert {row.result_version for row in await ledger(stage, 1)} == {2}


async def test_a_round_is_scored_after_each_session_and_final_after_the_race(stage: Any, story: Any) -> None:
    await stage.tell(story.calendar(), story.team(1))
    for session in (SessionKind.SPRINT, SessionKind.QUALIFYING, SessionKind.RACE):
        await stage.play(story.result(2, session))
    scored = [decode(RaceScored, body) for body in await stage.published("race.scored")]
    assert [(one.score_version, one.final, len(one.sessions)) for one in scored] == [
        (1, False, 1),
        (2, False, 2),
        (3, True, 3),
    ]
    points = asset_points(await ledger(stage, 2))
    assert {(one.kind, one.asset_id): one.points for one in scored[-1].assets} == points


async def test_a_session_that_does_not_score_scores_nothing(stage: Any, story: Any) -> None:
    await stage.play(story.calendar(), story.result(2, SessionKind.SPRINT_QUALIFYING), story.result(1, SessionKind.FP1))
    assert await stage.rows("SELECT 1 FROM scored_rounds") == []


async def test_many_changes_cause_one_scoring(stage: Any, story: Any) -> None:
    await stage.tell(story.calendar(), story.result(1))
    for team in range(1, 11):
        await stage.tell(story.team(team), story.lineup(team, FIVE, ("c00", "c01")))
    await stage.settle()
    assert len(await stage.published("race.scored")) == 1


async def test_a_change_of_one_round_moves_later_totals_without_announcing_their_races(stage: Any, story: Any) -> None:
    await stage.play(story.calendar(), story.team(1), story.lineup(1, FIVE, ("c00",)), story.result(1), story.result(2))
    scored, updated = len(await stage.published("race.scored")), len(await stage.published("leaderboard.updated"))
    await stage.play(story.result(1, version=2, cars=story.cars(SessionKind.RACE, reversed(story.drivers))))
    new = [decode(RaceScored, body).round for body in (await stage.published("race.scored"))[scored:]]
    boards = [
        decode(LeaderboardUpdated, body).round for body in (await stage.published("leaderboard.updated"))[updated:]
    ]
    assert (new, boards) == ([1], [1, 2])


async def test_leaderboards_of_all_and_of_leagues_are_announced_with_their_first_ten(stage: Any, story: Any) -> None:
    await stage.tell(story.calendar(), story.league(1), story.league(2), story.league(3))
    for team in range(1, 13):
        await stage.tell(story.team(team), story.lineup(team, story.drivers[team : team + 5], ("c00",)))
        await stage.tell(story.joined(1, team))
    await stage.tell(story.joined(2, 7), story.joined(3, 8, with_team=False))
    await stage.play(story.result(1))
    updated = [decode(LeaderboardUpdated, body) for body in await stage.published("leaderboard.updated")]
    assert [(one.league_id, one.members) for one in updated] == [
        (None, 12),
        (UUID(int=50_001), 12),
        (UUID(int=50_002), 1),
    ]
    everybody, first, second = updated
    assert len(everybody.leaders) == 10
    assert first.leaders == everybody.leaders
    assert [(one.rank, one.team_id.int) for one in second.leaders] == [(1, 7)]


async def test_only_the_largest_leagues_are_announced_beyond_the_limit(stage: Any, story: Any) -> None:
    stage.scorer._settings = msgspec.structs.replace(stage.scorer._settings, league_events=1)
    await stage.tell(story.calendar(), story.league(1), story.league(2), story.team(1), story.team(2))
    await stage.tell(story.joined(1, 1), story.joined(2, 1), story.joined(2, 2))
    await stage.play(story.result(1))
    updated = [decode(LeaderboardUpdated, body).league_id for body in await stage.published("leaderboard.updated")]
    assert updated == [None, UUID(int=50_002)]


async def test_a_race_that_gets_another_round_takes_its_points_along(stage: Any, story: Any) -> None:
    lineup = story.lineup(1, ("d00", "d01"), ("c00",))
    await stage.play(story.calendar(), story.team(1), lineup, story.result(1), story.result(3))
    points = (await board(stage, 3))[0][2]
    races = [story.race(1), story.race(2, circuit=3)]
    await stage.play(story.calendar(version=2, races=races))
    assert await board(stage, 3) == []
    assert (await board(stage, 2))[0][2] == points
    assert {row.round for row in await ledger(stage, 2)} == {2}
    last = decode(RaceScored, (await stage.published("race.scored"))[-1])
    assert (last.round, last.sessions, last.teams) == (3, [], 0)


async def test_a_driver_of_the_season_who_does_not_take_part_pays_for_it(stage: Any, story: Any) -> None:
    gone = Stint(driver_id="d20", constructor_id="c00", from_round=1, to_round=1)
    future = Stint(driver_id="d21", constructor_id="c00", from_round=3, to_round=None)
    stints = [*story.stints(), gone, future]
    await stage.play(story.calendar(stints=stints), story.result(2, SessionKind.QUALIFYING), story.result(2))
    points = asset_points(await ledger(stage, 2))
    assert points[AssetKind.DRIVER, "d20"] == -25
    assert (AssetKind.DRIVER, "d21") not in points


async def test_a_change_of_seats_scores_again_from_its_round_on(stage: Any, story: Any) -> None:
    await stage.play(story.calendar(), story.result(1), story.result(2))
    versions = "SELECT round, score_version FROM scored_rounds ORDER BY round"
    assert await stage.rows(versions) == [(1, 1), (2, 1)]
    late = Stint(driver_id="d20", constructor_id="c00", from_round=2, to_round=None)
    await stage.play(story.calendar(version=2, stints=[*story.stints(), late]))
    assert await stage.rows(versions) == [(1, 1), (2, 2)]
    await stage.play(story.calendar(version=1))
    assert await stage.rows(versions) == [(1, 1), (2, 2)]


async def test_a_classification_that_contradicts_itself_is_refused_and_changes_nothing(stage: Any, story: Any) -> None:
    await stage.play(story.calendar(), story.result(1))
    before = await stage.outcome()
    cars = story.cars(SessionKind.RACE)
    with pytest.raises(PoisonError):
        await stage.tell(story.result(1, version=2, cars=[*cars, cars[0]]))
    await stage.settle()
    assert await stage.outcome() == before


async def test_new_assets_get_an_opening_price_once(stage: Any, story: Any) -> None:
    await stage.play(story.calendar())
    await stage.play(story.calendar(version=2), story.lock(1))
    (body,) = await stage.published("prices.changed")
    changed = decode(PricesChanged, body)
    assert (changed.price_version, changed.effective_round, len(changed.prices)) == (1, 1, 30)
    assert changed.prices[0].price == opening_price(story.season, changed.prices[0].kind, changed.prices[0].asset_id)
    story.drivers = (*story.drivers, "russell")
    await stage.play(story.calendar(version=3, stints=[]))
    late = decode(PricesChanged, (await stage.published("prices.changed"))[-1])
    assert (late.price_version, late.effective_round) == (2, 2)
    assert [(one.asset_id, one.price) for one in late.prices] == [
        ("russell", opening_price(2026, AssetKind.DRIVER, "russell"))
    ]


async def test_a_season_that_cannot_be_scored_does_not_stop_the_others(stage: Any, story: Any) -> None:
    await stage.tell(story.calendar(), story.result(1))
    await stage.rows(
        "INSERT INTO results (race_id, session, season, round, result_version, classification)"
        " VALUES ('1990-broken', 'race', 1990, 1, 1, '[{\"driver_id\": 7}]') RETURNING season"
    )
    await stage.rows("INSERT INTO dirty_rounds (season, from_round) VALUES (1990, 1) RETURNING season")
    await stage.scorer.settle()
    assert await stage.rows("SELECT season FROM scored_rounds") == [(2026,)]
    assert await stage.rows("SELECT season FROM dirty_rounds") == [(1990,)]


async def test_a_failed_scoring_leaves_the_mark_and_the_old_points(stage: Any, story: Any) -> None:
    await stage.play(story.calendar(), story.team(1), story.lineup(1, FIVE, ("c00",)), story.result(1))
    before = await stage.outcome()
    await stage.tell(story.result(1, version=2, cars=story.cars(SessionKind.RACE, reversed(story.drivers))))
    async with stage.database.transaction() as session:
        await stage.scorer._limits(session)
        assert await score_next(session, story.season, league_events=0) == 1
        await session.rollback()
    assert await stage.outcome() == before
    await stage.settle()
    assert await stage.outcome() != before
