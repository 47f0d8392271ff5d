import pytest
from msgspec import UNSET
from msgspec.structs import replace

from trackside import standings
from trackside.bodies import Constructor, Driver, FastestLap, LapTime, ResultRow
from trackside.lap_times import gap_text, lap_millis, lap_text, race_text
from trackside.points import points_of, race_points, sprint_points
from trackside.season import Season, Weekend


def row(name: str, place: int, points: str = "0", *, text: str = "", team: str = "") -> ResultRow:
    return ResultRow(
        number="1",
        position=str(place),
        position_text=text or str(place),
        points=points,
        driver=Driver(driver_id=name, given_name=name, family_name=name),
        constructor=Constructor(constructor_id=team or f"team of {name}", name=team),
        grid="1",
        laps="50",
        status="Finished",
    )


@pytest.fixture
def weekend(season: Season) -> Weekend:
    """A weekend to put results into."""
    return Weekend(race=season.weekends[0].race)


def order(*weekends: Weekend) -> list[tuple[str, str, str]]:
    return [(line.driver.driver_id, line.position_text, line.points) for line in standings.driver_standings(weekends)]


def test_equal_points_are_told_apart_by_the_better_finish(weekend: Weekend) -> None:
    first = replace(weekend, results=(row("a", 5, "10"), row("b", 4, "12"), row("c", 9, "2")))
    second = replace(weekend, results=(row("b", 9, "2"), row("a", 7, "6"), row("c", 8, "4")))
    third = replace(weekend, results=(row("c", 6, "8"), row("a", 12), row("b", 11)))
    assert order(first, second, third) == [("a", "1", "16"), ("b", "2", "14"), ("c", "3", "14")]


def test_a_sprint_gives_points_but_no_finish_and_no_win(weekend: Weekend) -> None:
    held = replace(weekend, sprint=(row("a", 1, "8"), row("b", 2)), results=(row("b", 6, "8"), row("a", 7)))
    assert order(held) == [("b", "1", "8"), ("a", "2", "8")]
    assert [line.wins for line in standings.driver_standings([held])] == ["0", "0"]


def test_a_retirement_is_no_finish(weekend: Weekend) -> None:
    held = replace(weekend, results=(row("a", 20), row("b", 15, text="R")))
    assert order(held) == [("a", "1", "0"), ("b", "-", "0")]
    assert standings.driver_standings([held])[1].position is UNSET


def test_a_driver_of_two_constructors_has_both_in_the_order_he_drove_for_them(weekend: Weekend) -> None:
    first = replace(weekend, results=(row("a", 1, "25", team="z"),))
    second = replace(weekend, results=(row("a", 1, "25", team="b"),))
    (line,) = standings.driver_standings([first, second])
    assert [constructor.constructor_id for constructor in line.constructors] == ["z", "b"]
    teams = standings.constructor_standings([first, second])
    assert {line.constructor.constructor_id: (line.points, line.wins) for line in teams} == {
        "z": ("25", "1"),
        "b": ("25", "1"),
    }


@pytest.mark.parametrize(
    ("position", "year", "fastest", "expected"),
    [(1, 2026, True, 25), (1, 2024, True, 26), (10, 2024, True, 2), (11, 2024, True, 0), (10, 2018, True, 1)],
)
def test_race_points_know_when_the_fastest_lap_counted(position: int, year: int, fastest: bool, expected: int) -> None:  # noqa: FBT001 - a parameter
    assert race_points(position, year, fastest=fastest) == expected


def test_points_end_with_the_tenth_and_in_a_sprint_with_the_eighth() -> None:
    assert [race_points(place, 2026, fastest=False) for place in range(1, 12)] == [25, 18, 15, 12, 10, 8, 6, 4, 2, 1, 0]
    assert [sprint_points(place) for place in range(1, 10)] == [8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_a_car_without_a_place_has_no_points_whatever_its_number() -> None:
    lap = FastestLap(rank="1", lap="3", time=LapTime("1:20.000"))
    assert points_of(replace(row("a", 1, text="D"), fastest_lap=lap), 2024, sprint=False) == 0
    assert points_of(replace(row("a", 1), fastest_lap=lap), 2024, sprint=False) == 26
    assert points_of(replace(row("a", 1), fastest_lap=lap), 2024, sprint=True) == 8


@pytest.mark.parametrize("text", ["1:32.608", "58.003", "1:00.000", "40:56.330"])
def test_lap_times_read_as_they_are_written(text: str) -> None:
    assert lap_text(lap_millis(text)) == text


def test_race_times_and_gaps_are_written_as_on_the_screens() -> None:
    assert race_text(5_504_742) == "1:31:44.742"
    assert race_text(1_924_660) == "32:04.660"
    assert (gap_text(22_457), gap_text(63_588)) == ("+22.457", "+1:03.588")
