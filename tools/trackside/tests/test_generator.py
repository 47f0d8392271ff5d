from collections import Counter
from functools import cache
from itertools import pairwise
from random import Random

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from trackside import calendar, entries, generator, standings
from trackside.classification import Rows, millis_of, settle
from trackside.lap_times import lap_millis
from trackside.season import Season, Weekend

RACE_POINTS = 101
SPRINT_POINTS = 36


def invented(seed: int) -> Season:
    rounds, cars = calendar.load(2026), entries.load(2026)
    assert rounds is not None
    assert cars is not None
    return generator.generate(rounds, cars, "http://trackside.localhost", Random(seed))  # noqa: S311 - a simulation


kept = cache(invented)
seasons = st.integers(min_value=0, max_value=24).map(kept)
"""Few enough to invent each once for all rules."""
some_seasons = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def races(season: Season) -> list[tuple[Rows, bool]]:
    """All races and sprints; the second value says which it is."""
    return [
        (rows, sprint)
        for weekend in season.weekends
        for rows, sprint in ((weekend.results, False), (weekend.sprint, True))
        if rows
    ]


def names(weekend: Weekend) -> set[str]:
    return {row.driver.driver_id for row in weekend.results}


@given(seed=st.integers(min_value=0, max_value=2**63))
@settings(max_examples=4, deadline=None)
def test_the_same_seed_gives_the_same_bytes(seed: int) -> None:
    assert msgspec.json.encode(invented(seed)) == msgspec.json.encode(invented(seed))


def test_another_seed_gives_another_season() -> None:
    assert kept(1) != kept(2)


@given(season=seasons)
@some_seasons
def test_every_entered_driver_is_in_every_session_exactly_once(season: Season) -> None:
    entered = {driver.driver_id for driver in season.drivers}
    for rows, _ in races(season):
        assert sorted(row.driver.driver_id for row in rows) == sorted(entered)
        assert [row.position for row in rows] == [str(place) for place in range(1, 23)]
        assert sorted(int(row.grid) for row in rows) == list(range(1, 23))
    for weekend in season.weekends:
        assert sorted(row.driver.driver_id for row in weekend.qualifying) == sorted(entered)


@given(season=seasons)
@some_seasons
def test_points_are_given_in_full_whenever_enough_cars_are_classified(season: Season) -> None:
    for rows, sprint in races(season):
        paid = [int(row.points) for row in rows if row.points != "0"]
        assert sum(paid) == (SPRINT_POINTS if sprint else RACE_POINTS)
        assert paid == sorted(paid, reverse=True)


@given(season=seasons)
@some_seasons
def test_a_race_once_settled_stays_as_it_is(season: Season) -> None:
    for rows, sprint in races(season):
        assert settle(rows, season.year, sprint=sprint) == rows


@given(season=seasons)
@some_seasons
def test_the_order_follows_laps_and_time_then_retired_not_started_disqualified(season: Season) -> None:
    rank = {"R": 1, "W": 2, "D": 3}
    for rows, _ in races(season):
        for ahead, behind in pairwise(rows):
            assert rank.get(ahead.position_text, 0) <= rank.get(behind.position_text, 0)
            if ahead.classified and behind.classified:
                assert int(ahead.laps) >= int(behind.laps)
                first, second = millis_of(ahead), millis_of(behind)
                if ahead.laps == behind.laps and first is not None and second is not None:
                    assert first <= second


@given(season=seasons)
@some_seasons
def test_statuses_say_what_the_row_says(season: Season) -> None:
    for rows, _ in races(season):
        for row in rows:
            assert (row.status == "Finished") <= (row.time is not UNSET)
            assert (row.status == "Did not start") == (row.position_text == "W")
            assert (row.status == "Disqualified") == (row.position_text == "D")
            if row.status == "Did not start":
                assert row.laps == "0"
                assert row.fastest_lap is UNSET
            if row.status == "Lapped":
                assert int(row.laps) < int(rows[0].laps)


@given(season=seasons)
@some_seasons
def test_fastest_laps_are_ranked_without_gaps_and_are_laps_that_were_driven(season: Season) -> None:
    for weekend in season.weekends:
        shown = {row.driver.driver_id: row.fastest_lap for row in weekend.results if row.fastest_lap is not UNSET}
        by_rank = sorted(shown.values(), key=lambda lap: int(lap.rank or 0))
        assert [lap.rank for lap in by_rank] == [str(rank) for rank in range(1, len(by_rank) + 1)]
        times = [lap_millis(lap.time.time) for lap in by_rank if lap.time is not UNSET]
        assert times == sorted(times)
        driven = {(lap.number, row.driver_id): row.time for lap in weekend.laps for row in lap.timings}
        for name, lap in shown.items():
            assert lap.time is not UNSET
            assert driven[lap.lap, name] == lap.time.time


@given(season=seasons)
@some_seasons
def test_laps_add_up_to_the_time_at_the_flag(season: Season) -> None:
    for weekend in season.weekends:
        total: Counter[str] = Counter()
        count: Counter[str] = Counter()
        for lap in weekend.laps:
            for timing in lap.timings:
                total[timing.driver_id] += lap_millis(timing.time)
                count[timing.driver_id] += 1
        for row in weekend.results:
            assert count[row.driver.driver_id] == int(row.laps)
            millis = millis_of(row)
            assert millis is None or millis == total[row.driver.driver_id]


@given(season=seasons)
@some_seasons
def test_qualifying_knocks_out_six_and_six_and_leaves_ten(season: Season) -> None:
    for weekend in season.weekends:
        assert sum(row.q2 is not UNSET for row in weekend.qualifying) == 16
        assert sum(row.q3 is not UNSET for row in weekend.qualifying) == 10


@given(season=seasons)
@some_seasons
def test_standings_are_the_sum_of_races_and_sprints(season: Season) -> None:
    earned: Counter[str] = Counter()
    teams: Counter[str] = Counter()
    for rows, _ in races(season):
        for row in rows:
            earned[row.driver.driver_id] += int(row.points)
            teams[row.constructor.constructor_id] += int(row.points)
    drivers = standings.driver_standings(season.weekends)
    assert {row.driver.driver_id: int(row.points) for row in drivers} == earned
    constructors = standings.constructor_standings(season.weekends)
    assert {row.constructor.constructor_id: int(row.points) for row in constructors} == teams
    for order in ([int(row.points) for row in drivers], [int(row.points) for row in constructors]):
        assert order == sorted(order, reverse=True)


def test_a_season_has_what_a_client_must_be_ready_for(season: Season) -> None:
    rows = [row for rows, _ in races(season) for row in rows]
    statuses = {row.status for row in rows}
    assert {"Finished", "Lapped", "Retired", "Did not start"} <= statuses
    assert any(row.status == "Retired" and row.classified for row in rows)
    assert any(row.status == "Lapped" and row.time is UNSET for row in rows)
    assert any(
        row.q1 == "" or row.q2 == "" or row.q3 == "" for weekend in season.weekends for row in weekend.qualifying
    )
    assert any(
        [row.driver.driver_id for row in weekend.qualifying]
        != [row.driver.driver_id for row in sorted(weekend.results, key=lambda row: int(row.grid))]
        for weekend in season.weekends
    )


def test_every_result_is_labelled_as_simulated(season: Season) -> None:
    for weekend in season.weekends:
        assert weekend.race.race_name.endswith(" (simulated)")
        assert str(weekend.race.url).startswith("http://trackside.localhost/")
