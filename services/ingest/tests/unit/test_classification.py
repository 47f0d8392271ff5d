"""How a car's session ended, by the words of the upstream."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from common.contracts.ingest import Car, CarStatus
from ingest import upstream
from ingest.classification import points, qualifying_cars, race_cars, whole
from ingest.domain import UnexpectedError, content_hash

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("text", "status", "laps", "expected"),
    [
        ("1", "Finished", 57, CarStatus.FINISHED),
        ("12", "Lapped", 56, CarStatus.LAPPED),
        ("12", "+1 Lap", 56, CarStatus.LAPPED),
        ("17", "+5 Laps", 52, CarStatus.LAPPED),
        ("17", "Retired", 55, CarStatus.LAPPED),
        ("9", "Collision damage", 57, CarStatus.FINISHED),
        ("R", "Retired", 3, CarStatus.DNF),
        ("R", "Gearbox", 3, CarStatus.DNF),
        ("R", "Lapped", 50, CarStatus.DNF),
        ("D", "Disqualified", 57, CarStatus.DISQUALIFIED),
        ("E", "Excluded", 57, CarStatus.DISQUALIFIED),
        ("W", "Withdrew", 0, CarStatus.DNS),
        ("W", "Brakes", 0, CarStatus.DNS),
        ("W", "Did not start", 0, CarStatus.DNS),
        ("R", "Did not start", 0, CarStatus.DNS),
        ("F", "Did not qualify", 0, CarStatus.DNS),
        ("N", "Not classified", 30, CarStatus.NOT_CLASSIFIED),
        ("N", "+20 Laps", 37, CarStatus.NOT_CLASSIFIED),
    ],
)
def test_position_text_and_status_tell_how_it_ended(
    rows: Make, result_row: Make, text: str, status: str, laps: int, expected: CarStatus
) -> None:
    winner = result_row("winner")
    other = result_row("other", position="12", positionText=text, status=status, laps=str(laps))
    assert race_cars(rows(winner, other))[1].status is expected


def test_a_position_text_nobody_knows_is_refused(rows: Make, result_row: Make) -> None:
    with pytest.raises(UnexpectedError, match="'X'"):
        race_cars(rows(result_row(positionText="X")))


def test_the_distance_is_the_winner_s_even_when_a_disqualified_car_went_further(rows: Make, result_row: Make) -> None:
    cars = race_cars(
        rows(
            result_row("winner", laps="56"),
            result_row("retired", positionText="2", status="Retired", laps="56"),
            result_row("out", positionText="D", status="Disqualified", laps="57"),
        )
    )
    assert [car.status for car in cars] == [CarStatus.FINISHED, CarStatus.FINISHED, CarStatus.DISQUALIFIED]


def test_a_row_is_translated_field_by_field(rows: Make, result_row: Make) -> None:
    [car] = race_cars(
        rows(
            result_row(
                grid="3",
                points="26",
                Time={"millis": "6126304", "time": "1:42:06.304"},
                FastestLap={"rank": "1", "lap": "43", "Time": {"time": "1:22.167"}},
            )
        )
    )
    assert (car.driver_id, car.constructor_id, car.number) == ("lauda", "ferrari", 12)
    assert (car.position, car.grid, car.laps, car.points) == (1, 3, 57, Decimal(26))
    assert (car.time_millis, car.fastest_lap_rank, car.status_text) == (6_126_304, 1, "Finished")


def test_a_start_from_the_pit_lane_is_the_row_the_upstream_lists(rows: Make, result_row: Make) -> None:
    assert race_cars(rows(result_row(grid="0")))[0].grid == 0
    assert race_cars(rows(result_row(grid="20")))[0].grid == 20


def qualifying(**times: str) -> upstream.QualifyingRow:
    driver = {"driverId": "lauda", "givenName": "Niki", "familyName": "Lauda"}
    team = {"constructorId": "ferrari", "name": "Ferrari"}
    row = {"number": "12", "position": "4", "Driver": driver, "Constructor": team, **times}
    return msgspec.convert(row, upstream.QualifyingRow, strict=False)


def test_a_segment_without_a_time_and_one_not_reached_are_both_no_time() -> None:
    [car] = qualifying_cars([qualifying(Q1="1:22.167", Q2="")])
    assert (car.q1, car.q2, car.q3, car.status) == ("1:22.167", None, None, CarStatus.FINISHED)


def test_a_car_without_any_time_is_not_classified_in_qualifying() -> None:
    assert qualifying_cars([qualifying(Q1="")])[0].status is CarStatus.NOT_CLASSIFIED


IN_Q1, IN_Q2, IN_Q3 = {"Q1": "1:12"}, {"Q1": "1:12", "Q2": "1:11"}, {"Q1": "1:12", "Q2": "1:11", "Q3": "1:10"}
IDLE_IN_Q2, IDLE_IN_Q3, NO_TIME = {**IN_Q1, "Q2": ""}, {**IN_Q2, "Q3": ""}, {"Q1": ""}


@pytest.mark.parametrize(
    ("order", "disqualified"),
    [
        ([IN_Q3, IN_Q2, IN_Q1], []),
        ([IN_Q3, IN_Q2, IN_Q1, IN_Q3], [3]),
        ([IN_Q3, IN_Q2, IN_Q1, IN_Q2], [3]),
        ([IN_Q3, IN_Q2, IN_Q1, IDLE_IN_Q3], [3]),
        ([IN_Q3, IN_Q2, IN_Q1, IN_Q2, IN_Q3], [3, 4]),
        ([IN_Q3, IN_Q2, IN_Q1, IN_Q3, IN_Q2], [3, 4]),
        ([IN_Q3, IN_Q2, IN_Q3], [2]),
        ([IN_Q3, IN_Q2, NO_TIME, IN_Q2], [3]),
        ([{}, IN_Q2], [1]),
    ],
)
def test_a_car_behind_one_that_was_knocked_out_before_it_is_disqualified(
    order: list[dict[str, str]], disqualified: list[int]
) -> None:
    cars = qualifying_cars([qualifying(**times) for times in order])
    out = [index for index, car in enumerate(cars) if car.status is CarStatus.DISQUALIFIED]
    assert out == disqualified
    assert [index for index, car in enumerate(cars) if car.status_text == "Disqualified (inferred)"] == disqualified
    assert {car.status_text for index, car in enumerate(cars) if index not in disqualified} <= {""}


def test_a_segment_reached_without_a_time_makes_nobody_behind_it_disqualified() -> None:
    order = [IN_Q3, IDLE_IN_Q3, IN_Q3, IN_Q2, IDLE_IN_Q2, IN_Q2, IN_Q1]
    assert {car.status for car in qualifying_cars([qualifying(**times) for times in order])} == {CarStatus.FINISHED}


def test_a_disqualification_without_a_time_after_q1_cannot_be_told() -> None:
    cars = qualifying_cars([qualifying(**times) for times in (IN_Q3, IN_Q2, IN_Q1, IN_Q1, IDLE_IN_Q2, NO_TIME)])
    assert [car.status for car in cars[-3:]] == [CarStatus.FINISHED, CarStatus.FINISHED, CarStatus.NOT_CLASSIFIED]


def test_a_body_with_a_disqualified_car_says_so_in_the_published_language(body: Make, race_body: Make) -> None:
    def written(position: int, driver_id: str, times: dict[str, str]) -> dict[str, Any]:
        driver = {"driverId": driver_id, "givenName": "A", "familyName": driver_id.title()}
        team = {"constructorId": "haas", "name": "Haas"}
        return {"number": "27", "position": str(position), "Driver": driver, "Constructor": team, **times}

    found = [written(1, "pole", IN_Q3), written(2, "slow", IN_Q1), written(3, "struck", IN_Q2)]
    content = {"RaceTable": {"season": "2024", "round": "8", "Races": [race_body(QualifyingResults=found)]}}
    data = upstream.decode(body(content, total=3))
    assert data.races is not None
    told = msgspec.json.encode(qualifying_cars(data.races.races[0].qualifying_results))
    struck = msgspec.json.decode(told)[-1]
    assert (struck["status"], struck["status_text"]) == ("dsq", "Disqualified (inferred)")
    assert (struck["position"], struck["q1"], struck["q2"], struck["q3"]) == (3, "1:12", "1:11", None)
    assert msgspec.json.decode(told, type=list[Car])[-1].status is CarStatus.DISQUALIFIED


def test_the_recorded_disqualifications_are_inferred_and_no_others(recorded: Path) -> None:
    found = set()
    for path in [*recorded.glob("2024/qualifying/*.json"), *recorded.glob("2025/qualifying/*.json")]:
        data = upstream.decode(path.read_bytes())
        assert data.races is not None
        for race in data.races.races:
            cars = qualifying_cars(race.qualifying_results)
            out = [car for car in cars if car.status is CarStatus.DISQUALIFIED]
            found |= {(race.season, race.round, car.driver_id) for car in out}
    assert found == {(2024, 8, "hulkenberg"), (2024, 8, "kevin_magnussen")}


def test_the_same_points_are_the_same_content_however_they_are_written(rows: Make, result_row: Make) -> None:
    written = [race_cars(rows(result_row(points=text))) for text in ("10", "10.0", "10.00")]
    assert len({content_hash(cars) for cars in written}) == 1
    assert content_hash(race_cars(rows(result_row(points="10.5")))) != content_hash(written[0])
    assert str(points(Decimal("12.50"))) == "12.5"


def test_the_order_of_the_cars_is_content(rows: Make, result_row: Make) -> None:
    cars = race_cars(rows(result_row("a"), result_row("b")))
    assert content_hash(cars) != content_hash(list(reversed(cars)))


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("", None), (None, None), ("\\N", None)])
def test_a_number_can_be_missing_or_empty(text: str | None, number: int | None) -> None:
    assert whole(text) == number
