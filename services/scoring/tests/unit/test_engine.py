"""The tables of the official 2025 rules, cell by cell, and what the engine refuses."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import msgspec
import pytest

from common.contracts.ingest import Car, CarStatus, SessionKind
from common.errors import PoisonError
from scoring.domain import Absentee, Facts, StationaryStop

Q, S, R = SessionKind.QUALIFYING, SessionKind.SPRINT, SessionKind.RACE
DNF = CarStatus.DNF

MakeCar = Callable[..., Car]
Score = Callable[..., Any]


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        (Q, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]),
        (S, [8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0]),
        (R, [25, 18, 15, 12, 10, 8, 6, 4, 2, 1, 0, 0]),
    ],
)
def test_each_place_scores_its_points(car: MakeCar, scored: Score, session: SessionKind, expected: list[int]) -> None:
    cars = [car(f"team/d{place}", place, grid=place, q1="1:20.0") for place in range(1, 13)]
    result = scored(session, cars)
    assert [result.of(f"d{place}")["position"].points for place in range(1, 13)] == expected


@pytest.mark.parametrize(
    ("field", "places", "points", "sentence"),
    [
        (20, (16, 20), -1, "no car in Q2, best tier only: -1"),
        (20, (15, 16), 1, "one car in Q2, best tier only: +1"),
        (20, (11, 15), 3, "both cars in Q2, best tier only: +3"),
        (20, (10, 15), 5, "one car in Q3, best tier only: +5"),
        (20, (10, 20), 5, "one car in Q3, best tier only: +5"),
        (20, (1, 10), 10, "both cars in Q3, best tier only: +10"),
        (22, (16, 17), 1, "one car in Q2, best tier only: +1"),
        (22, (17, 22), -1, "no car in Q2, best tier only: -1"),
    ],
)
def test_only_the_best_qualifying_tier_counts(
    car: MakeCar, scored: Score, field: int, places: tuple[int, int], points: int, sentence: str
) -> None:
    cars = [
        car(f"{'haas' if place in places else f'team{place}'}/d{place}", place, q1="1:20.0")
        for place in range(1, field + 1)
    ]
    row = scored(Q, cars).of("haas")["qualifying_tier"]
    assert (row.points, row.explanation) == (points, sentence)


def test_an_entered_car_that_is_not_in_qualifying_still_counts_for_the_size_of_the_field(
    car: MakeCar, scored: Score
) -> None:
    cars = [car(f"team{place}/d{place}", place, q1="1:20.0") for place in range(1, 21)]
    gone = [Absentee(driver_id="x", constructor_id="haas"), Absentee(driver_id="y", constructor_id="haas")]
    assert scored(Q, cars).points("team16")["qualifying_tier"] == -1
    assert scored(Q, cars, absent=gone).points("team16")["qualifying_tier"] == 1


@pytest.mark.parametrize("status", [CarStatus.NOT_CLASSIFIED, CarStatus.DNS, CarStatus.FINISHED, DNF])
def test_a_car_without_a_time_in_qualifying_has_reached_nothing(car: MakeCar, scored: Score, status: CarStatus) -> None:
    cars = [car("haas/ocon", 14, status), car("rb/hadjar", 1, q1="1:20.0")]
    assert scored(Q, cars).points("haas") == {"no_time": -5, "qualifying_tier": -1}


def test_a_car_that_crashed_after_its_time_in_qualifying_keeps_its_place(car: MakeCar, scored: Score) -> None:
    assert scored(Q, [car("haas/ocon", 8, DNF, q1="1:20.0")]).points("ocon") == {"position": 3}


@pytest.mark.parametrize(
    ("session", "status", "sentence"),
    [
        (Q, CarStatus.FINISHED, "qualified P2: +9"),
        (Q, CarStatus.NOT_CLASSIFIED, "not classified in qualifying: -5"),
        (Q, CarStatus.DISQUALIFIED, "disqualified from qualifying: -5"),
        (R, DNF, "retired: -20"),
        (R, CarStatus.NOT_CLASSIFIED, "not classified: -20"),
        (R, CarStatus.DNS, "did not start: -20"),
        (R, CarStatus.DISQUALIFIED, "disqualified: -20"),
    ],
)
def test_each_way_to_end_a_session_has_its_sentence(
    car: MakeCar, scored: Score, session: SessionKind, status: CarStatus, sentence: str
) -> None:
    first = scored(session, [car("haas/ocon", 2, status, grid=2, q1="1:20.0")]).of("ocon").values()
    assert next(iter(first)).explanation == sentence


def test_not_taking_part_and_having_no_time_have_their_sentences(car: MakeCar, scored: Score) -> None:
    cars = [car("haas/ocon", 1, q2="1:20.0"), car("haas/bearman", 2)]
    result = scored(Q, cars, absent=[Absentee(driver_id="doohan")])
    assert result.of("doohan")["absent"].explanation == "did not take part: -5"
    assert result.of("bearman")["no_time"].explanation == "no time set in qualifying: -5"
    assert result.points("ocon") == {"position": 10}


def test_quantities_count_what_the_component_is_about(car: MakeCar, scored: Score) -> None:
    qualifying = scored(Q, [car(f"haas/d{place}", place, q1="1:20.0") for place in (9, 12)])
    race = scored(R, [car("haas/d1", 9, grid=9), car("haas/d2", 14, grid=11)], Facts(overtakes={"d1": 2, "d2": 3}))
    assert qualifying.of("haas")["qualifying_tier"].quantity == 1
    assert qualifying.of("d9")["position"].quantity == 9
    assert (race.of("haas")["places"].quantity, race.of("haas")["overtakes"].quantity) == (-3, 5)
    assert (race.of("d1")["places"].quantity, race.of("d1")["places"].points) == (0, 0)
    assert race.of("haas")["position"].quantity == 2


def test_a_sum_is_missing_as_soon_as_one_of_its_parts_is(car: MakeCar, scored: Score) -> None:
    row = scored(R, [car("haas/d1", 9, grid=0), car("haas/d2", 14, grid=15)]).of("haas")["places"]
    assert (row.missing, row.points) == (True, 1)
    assert row.explanation == (
        "d1 the place on the grid is not known: 0 for now; d2 1 place gained, grid 15 to 14: +1; sum +1"
    )


def test_a_constructor_gets_the_sum_of_its_drivers_without_the_driver_of_the_day(car: MakeCar, scored: Score) -> None:
    cars = [car("mclaren/norris", 1, grid=3, fastest_lap_rank=1), car("mclaren/piastri", 4, grid=2)]
    result = scored(R, cars, Facts(overtakes={"norris": 4}, driver_of_the_day="norris", stops=[]))
    assert result.points("norris") == {
        "position": 25,
        "places": 2,
        "overtakes": 4,
        "fastest_lap": 10,
        "driver_of_the_day": 10,
    }
    assert result.points("mclaren") == {"position": 37, "places": 0, "overtakes": 4, "fastest_lap": 10, "pit_stop": 0}
    sentence = result.of("mclaren")["position"].explanation
    assert sentence == "norris finished P1: +25; piastri finished P4: +12; sum +37"


def test_the_constructor_of_a_car_is_the_one_it_ran_for(car: MakeCar, scored: Score) -> None:
    result = scored(R, [car("red_bull/tsunoda", 12, grid=14), car("rb/lawson", 17, grid=13)])
    assert result.points("red_bull") == {"position": 0, "places": 2}
    assert result.points("rb") == {"position": 0, "places": -4}


@pytest.mark.parametrize("session", [S, R])
def test_what_is_not_known_is_a_missing_row_with_no_points_and_a_sentence(
    car: MakeCar, scored: Score, session: SessionKind
) -> None:
    result = scored(session, [car("mclaren/norris", 1, grid=3)])
    both = {"overtakes", "fastest_lap"}
    driver = both | {"driver_of_the_day"} if session is R else both
    constructor = both | {"pit_stop"} if session is R else both
    for asset, names in (("norris", driver), ("mclaren", constructor)):
        missing = {name: row for name, row in result.of(asset).items() if row.missing}
        assert set(missing) == names
        assert {row.points for row in missing.values()} == {0}
        assert all("not known" in row.explanation for row in missing.values())


def test_in_2026_lost_places_of_a_sprint_cost_ten_at_most_and_retiring_costs_ten(car: MakeCar, scored: Score) -> None:
    cars = [car("red_bull/max_verstappen", 17, grid=4), car("haas/ocon", 14, grid=4), car("rb/lawson", 20, DNF, grid=1)]
    now, before = scored(S, cars, rules="official-2026"), scored(S, cars)
    sentence = "13 places lost, grid 4 to 17, no lower than the limit: -10"
    assert now.of("max_verstappen")["places"].explanation == sentence
    assert now.of("max_verstappen")["places"].quantity == -13
    assert before.points("max_verstappen") == {"position": 0, "places": -13}
    assert now.of("ocon")["places"].explanation == "10 places lost, grid 4 to 14: -10"
    assert (now.points("lawson"), before.points("lawson")) == ({"dnf": -10}, {"dnf": -20})
    assert scored(R, cars, rules="official-2026").points("max_verstappen") == {"position": 0, "places": -13}


def test_the_fastest_lap_of_the_official_feed_goes_before_that_of_the_classification(
    car: MakeCar, scored: Score
) -> None:
    cars = [car("mclaren/norris", 1, grid=1, fastest_lap_rank=1), car("ferrari/leclerc", 2, grid=2, fastest_lap_rank=2)]
    result = scored(S, cars, Facts(fastest_lap="leclerc"))
    assert "fastest_lap" not in result.of("norris")
    assert result.of("leclerc")["fastest_lap"].points == 5


@pytest.mark.parametrize("session", [SessionKind.FP1, SessionKind.FP2, SessionKind.FP3, SessionKind.SPRINT_QUALIFYING])
def test_practice_and_sprint_qualifying_are_not_scored(car: MakeCar, scored: Score, session: SessionKind) -> None:
    assert scored(session, [car("mclaren/norris", 1, q1="1:20.0")]).rows == []


@pytest.mark.parametrize("session", [Q, S, R])
def test_a_status_that_no_rule_knows_is_an_error_and_not_zero(
    car: MakeCar, scored: Score, session: SessionKind
) -> None:
    with pytest.raises(PoisonError, match="unknown_car_status"):
        scored(session, [car("mclaren/norris", 1, "exploded", grid=1, q1="1:20.0")])


def test_a_driver_who_is_named_twice_is_an_error(car: MakeCar, scored: Score) -> None:
    with pytest.raises(PoisonError, match="norris"):
        scored(R, [car("mclaren/norris", 1), car("mclaren/norris", 2)])
    with pytest.raises(PoisonError, match="norris"):
        scored(R, [car("mclaren/norris", 1)], absent=[Absentee(driver_id="norris")])


@pytest.mark.parametrize(
    "facts",
    [
        Facts(overtakes={"senna": 1}),
        Facts(driver_of_the_day="senna"),
        Facts(fastest_lap="senna"),
        Facts(stops=[StationaryStop(driver_id="senna", constructor_id="mclaren", millis=2000)]),
    ],
)
def test_a_fact_about_somebody_who_is_not_there_is_an_error(car: MakeCar, scored: Score, facts: Facts) -> None:
    with pytest.raises(PoisonError, match="senna"):
        scored(R, [car("mclaren/norris", 1, grid=1)], facts)


@pytest.mark.parametrize("body", [b'{"overtakes":{"norris":-1}}', b'{"overtakes":{"norris":1.5}}', b'{"takeovers":{}}'])
def test_facts_of_the_wrong_shape_are_refused(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=Facts)


@pytest.mark.parametrize("session", [Q, S, R])
def test_a_session_is_scored_in_under_five_milliseconds(car: MakeCar, scored: Score, session: SessionKind) -> None:
    cars = [
        car(f"team{place // 2}/d{place}", place, grid=23 - place, q1="1:20.0", fastest_lap_rank=place)
        for place in range(1, 23)
    ]
    stops = [
        StationaryStop(driver_id=one.driver_id, constructor_id=one.constructor_id, millis=2000 + one.position)
        for one in cars
    ]
    facts = Facts(overtakes={one.driver_id: 3 for one in cars}, driver_of_the_day="d1", stops=stops)
    fastest = float("inf")
    for _ in range(20):
        start = perf_counter()
        scored(session, cars, facts)
        fastest = min(fastest, perf_counter() - start)
    assert fastest < 0.005
