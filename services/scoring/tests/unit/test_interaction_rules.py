"""One small case for each rule that says how components act on one another. Numbers as in the official 2025 rules."""

from collections.abc import Callable
from typing import Any

import pytest

from common.contracts.ingest import Car, CarStatus, SessionKind
from scoring.domain import Absentee, Facts, StationaryStop
from scoring.engine import absentees

Q, S, R = SessionKind.QUALIFYING, SessionKind.SPRINT, SessionKind.RACE
DNF, NC, DNS, DSQ = CarStatus.DNF, CarStatus.NOT_CLASSIFIED, CarStatus.DNS, CarStatus.DISQUALIFIED

MakeCar = Callable[..., Car]
Score = Callable[..., Any]


def stop(name: str, seconds: float) -> StationaryStop:
    team, _, driver = name.partition("/")
    return StationaryStop(driver_id=driver, constructor_id=team, millis=round(seconds * 1000))


@pytest.mark.parametrize("session", [S, R])
@pytest.mark.parametrize(("status", "component"), [(DNF, "dnf"), (NC, "nc")])
def test_rule_1_a_retired_car_keeps_its_overtakes_and_nothing_of_its_place(
    car: MakeCar, scored: Score, session: SessionKind, status: CarStatus, component: str
) -> None:
    result = scored(
        session, [car("rb/lawson", 18, status, grid=20, fastest_lap_rank=4)], Facts(overtakes={"lawson": 3})
    )
    assert result.points("lawson") == {component: -20, "overtakes": 3}


def test_rule_2_a_disqualified_driver_loses_everything_of_the_session(car: MakeCar, scored: Score) -> None:
    cars = [car("ferrari/leclerc", 19, DSQ, grid=6, fastest_lap_rank=1), car("haas/ocon", 1, grid=2)]
    facts = Facts(overtakes={"leclerc": 5}, driver_of_the_day="leclerc", stops=[])
    result = scored(R, cars, facts)
    assert result.points("leclerc") == {"dsq": -20}
    assert result.points("ferrari") == {"dsq": -20, "dsq_cars": -10, "pit_stop": 0}


def test_rule_2_disqualification_from_a_sprint_costs_the_constructor_ten_more(car: MakeCar, scored: Score) -> None:
    result = scored(S, [car("ferrari/leclerc", 19, DSQ, grid=6)])
    assert (result.total("leclerc"), result.total("ferrari")) == (-20, -30)


def test_rule_3_stops_of_a_disqualified_driver_do_not_count(car: MakeCar, scored: Score) -> None:
    cars = [car("ferrari/leclerc", 20, DSQ), car("ferrari/hamilton", 1, grid=1), car("rb/tsunoda", 2, grid=2)]
    stops = [stop("ferrari/leclerc", 2.05), stop("ferrari/hamilton", 2.35), stop("rb/tsunoda", 2.08)]
    result = scored(R, cars, Facts(stops=stops))
    assert result.of("ferrari")["pit_stop"].points == 5
    assert "fastest_pit_stop" not in result.of("ferrari")
    assert (result.of("rb")["pit_stop"].points, result.of("rb")["fastest_pit_stop"].points) == (10, 5)


@pytest.mark.parametrize("session", [S, R])
def test_rule_4_not_starting_costs_as_much_as_retiring(car: MakeCar, scored: Score, session: SessionKind) -> None:
    result = scored(session, [car("alpine/gasly", 20, DNS, grid=8)])
    assert result.points("gasly") == {"dns": -20}


def test_rule_5_a_late_retirement_that_is_classified_scores_as_a_finisher(car: MakeCar, scored: Score) -> None:
    bortoleto = car("sauber/bortoleto", 18, CarStatus.LAPPED, grid=14)
    result = scored(S, [bortoleto], Facts(overtakes={"bortoleto": 3}, fastest_lap="bortoleto"))
    assert result.points("bortoleto") == {"position": 0, "places": -4, "overtakes": 3, "fastest_lap": 5}


def test_rule_6_a_start_from_the_pit_lane_counts_from_the_row_of_the_grid(car: MakeCar, scored: Score) -> None:
    result = scored(R, [car("red_bull/max_verstappen", 3, grid=19), car("haas/ocon", 12, grid=20)])
    assert result.of("max_verstappen")["places"].points == 16
    assert result.of("ocon")["places"].points == 8


@pytest.mark.parametrize("grid", [0, None])
def test_rule_6_a_grid_place_that_nobody_tells_is_missing_and_not_guessed(
    car: MakeCar, scored: Score, grid: int | None
) -> None:
    row = scored(R, [car("red_bull/max_verstappen", 3, grid=grid)]).of("max_verstappen")["places"]
    assert (row.missing, row.points) == (True, 0)


def test_rule_7_places_count_from_grid_to_flag_apart_from_overtakes(car: MakeCar, scored: Score) -> None:
    cars = [car("mclaren/norris", 5, grid=7), car("mclaren/piastri", 4, grid=3), car("rb/hadjar", 9, grid=9)]
    result = scored(R, cars, Facts(overtakes={"norris": 6}))
    assert result.of("norris")["places"].explanation == "2 places gained, grid 7 to 5: +2"
    assert result.of("norris")["overtakes"].explanation == "6 overtakes: +6"
    assert result.of("piastri")["places"].explanation == "1 place lost, grid 3 to 4: -1"
    assert result.of("hadjar")["places"].explanation == "no place gained or lost, grid 9 to 9: 0"


def test_rule_8_boost_multiplies_a_whole_weekend_so_every_session_has_rows_of_its_own(
    car: MakeCar, scored: Score
) -> None:
    cars = [car("mclaren/norris", 1, grid=1, q1="1:20.0")]
    sessions = {row.session for kind in (Q, S, R) for row in scored(kind, cars).rows}
    assert sessions == {Q, S, R}


def test_rule_9_no_negative_can_floor_each_row_of_an_asset(car: MakeCar, scored: Score) -> None:
    cars = [car("alpine/gasly", 11, grid=9), car("alpine/doohan", 20, DNF, grid=14)]
    facts = Facts(overtakes={"gasly": 1}, stops=[], driver_of_the_day="gasly")
    rows = scored(R, cars, facts).of("alpine").values()
    assert sorted(row.points for row in rows if not row.missing) == [-20, -2, 0, 0, 1]
    assert sum(max(0, row.points) for row in rows) == 1


def test_rule_10_no_penalty_where_the_session_let_nobody_set_a_time(car: MakeCar, scored: Score) -> None:
    slow, quick = car("haas/bearman", 2), car("haas/ocon", 1, q1="1:20.0")
    assert scored(Q, [quick, slow]).points("bearman") == {"no_time": -5}
    assert scored(Q, [quick, slow], Facts(no_time_possible=True)).points("bearman") == {"no_time": 0}
    assert scored(Q, [slow]).points("bearman") == {"no_time": 0}


@pytest.mark.parametrize(("session", "points"), [(Q, -5), (S, -20), (R, -20)])
def test_rule_11_a_driver_who_does_not_run_is_punished(
    car: MakeCar, scored: Score, session: SessionKind, points: int
) -> None:
    cars = [car("alpine/gasly", 1, grid=1, q1="1:20.0"), car("alpine/colapinto", 2, grid=2, q1="1:20.1")]
    result = scored(session, cars, absent=absentees(cars, {"gasly": "alpine"}, ["gasly", "doohan"]))
    assert result.points("doohan") == {"absent": points}
    assert "absent" not in result.of("alpine")


def test_rule_11_an_entered_driver_whose_seat_stays_empty_counts_for_his_constructor(
    car: MakeCar, scored: Score
) -> None:
    cars = [car("aston_martin/alonso", 9, grid=10)]
    result = scored(R, cars, absent=absentees(cars, {"alonso": "aston_martin", "stroll": "aston_martin"}, []))
    assert result.points("stroll") == {"absent": -20}
    assert result.points("aston_martin") == {"position": 2, "places": 1, "absent": -20}


def test_rule_11_a_driver_replaced_after_qualifying_does_not_count_for_the_constructor(car: MakeCar) -> None:
    cars = [car("alpine/gasly", 1), car("alpine/colapinto", 2)]
    assert absentees(cars, {"gasly": "alpine", "doohan": "alpine"}, []) == [Absentee(driver_id="doohan")]


def test_rule_12_reaching_q3_counts_without_a_time_in_q3(car: MakeCar, scored: Score) -> None:
    cars = [car("mclaren/norris", 10, q1="1:20.0", q2="1:19.0"), car("mclaren/piastri", 2, q1="1:20.0", q3="1:18.0")]
    assert scored(Q, cars).points("mclaren") == {"position": 10, "qualifying_tier": 10}


def test_rule_13_a_driver_disqualified_from_qualifying_has_reached_nothing(car: MakeCar, scored: Score) -> None:
    cars = [car("williams/albon", 4, DSQ, q1="1:20.0", q3="1:18.0"), car("williams/sainz", 12, DSQ, q2="1:19.0")]
    result = scored(Q, cars)
    assert result.points("albon") == {"dsq": -5}
    assert result.points("williams") == {"dsq": -10, "qualifying_tier": -1, "dsq_cars": -10}


def test_rule_14_rows_name_the_version_of_the_result_and_of_the_rules(car: MakeCar, scored: Score) -> None:
    rows = scored(R, [car("mclaren/norris", 1, grid=1)]).rows
    assert {(row.result_version, row.rule_set, len(row.rule_hash)) for row in rows} == {(3, "official-2025", 64)}


def test_rule_15_the_fastest_stop_decides_and_never_the_sum_of_stops(car: MakeCar, scored: Score) -> None:
    cars = [car("haas/ocon", 1, grid=1), car("haas/bearman", 2, grid=2), car("rb/hadjar", 3, grid=3)]
    stops = [stop("haas/ocon", 2.31), stop("haas/bearman", 2.45), stop("haas/ocon", 2.6), stop("rb/hadjar", 2.0)]
    result = scored(R, cars, Facts(stops=stops))
    assert result.of("haas")["pit_stop"].points == 5
    assert result.of("haas")["pit_stop"].explanation == "fastest pit stop 2.31 s: +5"
    assert "fastest_pit_stop" not in result.of("haas")
    assert (result.of("rb")["pit_stop"].points, result.of("rb")["fastest_pit_stop"].points) == (10, 5)
