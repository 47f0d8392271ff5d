"""Reading bodies: every shape that really occurs, and nothing else."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingest import classification, upstream, weekends

Make = Callable[..., Any]


def results_of(body: bytes) -> tuple[upstream.ResultRow, ...]:
    data = upstream.decode(body)
    assert data.races is not None
    return tuple(row for race in data.races.races for row in (*race.results, *race.sprint_results))


def test_numbers_are_strings_and_points_can_be_halves(body: Make, race_body: Make, result_row: Make) -> None:
    content = {"RaceTable": {"season": "2021", "Races": [race_body([result_row(points="12.5", grid="0")])]}}
    [row] = results_of(body(content, total=1))
    assert (row.position, row.points, row.grid, row.laps) == (1, Decimal("12.5"), 0, 57)


def test_what_the_upstream_does_not_know_is_missing(body: Make, race_body: Make, result_row: Make) -> None:
    content = {"RaceTable": {"Races": [race_body([result_row(number=None)])]}}
    [row] = results_of(body(content, total=1))
    assert (row.number, row.time, row.fastest_lap, row.driver.code) == (None, None, None, None)


def test_fields_nobody_knows_are_ignored(body: Make, race_body: Make, result_row: Make) -> None:
    content = {"RaceTable": {"Races": [race_body([result_row(tyres="soft")], weather="dry")], "page": "1"}, "v": "2"}
    assert len(results_of(body(content, total=1))) == 1


def test_only_a_simulator_says_that_it_is_one(body: Make) -> None:
    assert upstream.decode(body({}, total=0)).simulated is False
    assert upstream.decode(body({"simulated": "true"}, total=0)).simulated is True


@pytest.mark.parametrize(
    "changes",
    [
        {"position": None},
        {"positionText": None},
        {"points": "many"},
        {"laps": ""},
        {"status": None},
        {"Driver": {"givenName": "A", "familyName": "B"}},
        {"Constructor": "ferrari"},
    ],
)
def test_a_row_without_what_a_rule_needs_makes_the_body_unreadable(
    body: Make, race_body: Make, result_row: Make, changes: dict[str, Any]
) -> None:
    content = {"RaceTable": {"Races": [race_body([result_row(**changes)])]}}
    with pytest.raises(msgspec.ValidationError):
        upstream.decode(body(content, total=1))


@pytest.mark.parametrize("text", [b"", b"<html></html>", b'{"detail":"Request was throttled."}', b'{"MRData":{', b"[]"])
def test_what_is_no_body_is_refused(text: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        upstream.decode(text)


def test_every_recorded_result_is_understood(recorded: Path) -> None:
    bodies = sorted([*recorded.glob("*/results/*.json"), *recorded.glob("*/sprint/*.json")])
    cars = sum(len(classification.race_cars(results_of(path.read_bytes()))) for path in bodies)
    assert len(bodies) == 44
    assert cars == sum(upstream.decode(path.read_bytes()).total for path in bodies)


def test_every_recorded_qualifying_is_understood(recorded: Path) -> None:
    for path in sorted(recorded.glob("*/qualifying/*.json")):
        data = upstream.decode(path.read_bytes())
        assert data.races is not None
        [race] = data.races.races
        cars = classification.qualifying_cars(race.qualifying_results)
        assert len(cars) == data.total
        assert [car.position for car in cars] == list(range(1, len(cars) + 1))


def test_every_recorded_calendar_is_understood(recorded: Path) -> None:
    for path in sorted(recorded.glob("*/races.json")):
        data = upstream.decode(path.read_bytes())
        assert data.races is not None
        calendar = weekends.calendar(data.races.races, [])
        assert [race.round for race in calendar] == list(range(1, 25))
        assert {len(race.sessions) for race in calendar} == {5}
        assert sum(race.sprint for race in calendar) == 6


def test_every_live_answer_is_understood(live_samples: Path) -> None:
    seasons, cars = 0, 0
    for path in sorted(live_samples.glob("[12]*")):
        data = upstream.decode(path.read_bytes())
        if data.races is None:
            continue
        if "@" not in path.name:
            weekends.calendar(data.races.races, [])
            seasons += 1
        for race in data.races.races:
            cars += len(classification.race_cars((*race.results, *race.sprint_results)))
            classification.qualifying_cars(race.qualifying_results)
    assert (seasons, cars > 400) == (6, True)
