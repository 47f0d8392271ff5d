"""Which sessions a weekend has, and which race is which."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from common.contracts.ingest import SessionKind
from ingest import upstream
from ingest.domain import UnexpectedError
from ingest.weekends import KnownRace, calendar, is_same_race, sessions_of

Make = Callable[..., Any]
K = SessionKind


def day(number: int, hour: int | None = None) -> dict[str, str]:
    slot = {"date": f"2024-03-0{number}"}
    return slot if hour is None else {**slot, "time": f"{hour:02}:00:00Z"}


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        (
            {
                "FirstPractice": day(1, 10),
                "SecondPractice": day(1, 14),
                "ThirdPractice": day(2, 10),
                "Qualifying": day(2, 14),
            },
            [K.FP1, K.FP2, K.FP3, K.QUALIFYING, K.RACE],
        ),
        (
            {"FirstPractice": day(1), "Qualifying": day(1), "SecondPractice": day(2), "Sprint": day(2)},
            [K.FP1, K.QUALIFYING, K.FP2, K.SPRINT, K.RACE],
        ),
        (
            {
                "FirstPractice": day(1, 10),
                "Qualifying": day(1, 14),
                "SecondPractice": day(2, 10),
                "Sprint": day(2, 14),
            },
            [K.FP1, K.QUALIFYING, K.FP2, K.SPRINT, K.RACE],
        ),
        (
            {
                "FirstPractice": day(1, 10),
                "Qualifying": day(1, 14),
                "SprintShootout": day(2, 10),
                "Sprint": day(2, 14),
            },
            [K.FP1, K.QUALIFYING, K.SPRINT_QUALIFYING, K.SPRINT, K.RACE],
        ),
        (
            {
                "FirstPractice": day(1, 10),
                "SprintQualifying": day(1, 14),
                "Sprint": day(2, 10),
                "Qualifying": day(2, 14),
            },
            [K.FP1, K.SPRINT_QUALIFYING, K.SPRINT, K.QUALIFYING, K.RACE],
        ),
        ({}, [K.RACE]),
    ],
    ids=["ordinary", "sprint 2021", "sprint 2022", "sprint 2023", "sprint since 2024", "old"],
)
def test_every_format_has_its_sessions_in_order(race: Make, sessions: dict[str, Any], expected: list[K]) -> None:
    assert [held.kind for held in sessions_of(race(date="2024-03-03", **sessions))] == expected


def test_starts_are_instants_in_utc(race: Make) -> None:
    [held] = sessions_of(race(date="2024-11-24", time="06:00:00Z"))
    assert held.starts_at == datetime(2024, 11, 24, 6, tzinfo=UTC)


def test_where_only_the_day_is_known_the_start_is_its_first_instant(race: Make) -> None:
    [held] = sessions_of(race(date="1979-01-21", time=None))
    assert held.starts_at == datetime(1979, 1, 21, tzinfo=UTC)


def at(race: Make, number: int, circuit_id: str, when: str) -> upstream.Race:
    found: upstream.Race = race(
        season="2021", round=str(number), date=when, Circuit={"circuitId": circuit_id, "circuitName": circuit_id}
    )
    return found


def ids(races: list[upstream.Race], known: list[KnownRace]) -> dict[int, str]:
    return {race.round: race.race_id for race in calendar(races, known)}


def test_the_second_visit_to_a_circuit_is_told_apart_by_its_number(race: Make) -> None:
    races = [
        at(race, 8, "red_bull_ring", "2021-06-27"),
        at(race, 9, "red_bull_ring", "2021-07-04"),
        at(race, 10, "silverstone", "2021-07-18"),
    ]
    assert ids(races, []) == {8: "2021-red_bull_ring", 9: "2021-red_bull_ring-2", 10: "2021-silverstone"}


FIRST = KnownRace("2021-red_bull_ring", "red_bull_ring", date(2021, 6, 27))
SECOND = KnownRace("2021-red_bull_ring-2", "red_bull_ring", date(2021, 7, 4))


def test_a_race_keeps_its_id_when_rounds_shift(race: Make) -> None:
    races = [at(race, 7, "red_bull_ring", "2021-06-27"), at(race, 8, "red_bull_ring", "2021-07-04")]
    assert ids(races, [FIRST, SECOND]) == {7: FIRST.race_id, 8: SECOND.race_id}


def test_the_second_visit_keeps_its_id_when_the_first_is_cancelled(race: Make) -> None:
    assert ids([at(race, 8, "red_bull_ring", "2021-07-04")], [FIRST, SECOND]) == {8: SECOND.race_id}


def test_a_visit_added_before_a_known_one_gets_the_next_id(race: Make) -> None:
    races = [at(race, 8, "red_bull_ring", "2021-06-20"), at(race, 9, "red_bull_ring", "2021-06-27")]
    assert ids(races, [FIRST]) == {8: "2021-red_bull_ring-2", 9: FIRST.race_id}


def test_a_race_that_is_put_off_by_months_keeps_its_id(race: Make) -> None:
    assert ids([at(race, 20, "red_bull_ring", "2021-11-07")], [FIRST]) == {20: FIRST.race_id}


def test_a_calendar_of_two_seasons_or_of_none_is_refused(race: Make) -> None:
    with pytest.raises(UnexpectedError):
        calendar([race(season="2024"), race(season="2023", round="2")], [])
    with pytest.raises(UnexpectedError):
        calendar([], [])


def test_a_result_belongs_to_a_race_by_circuit_and_date(race: Make) -> None:
    assert is_same_race(at(race, 8, "red_bull_ring", "2021-06-28"), FIRST)
    assert not is_same_race(at(race, 8, "red_bull_ring", "2021-07-04"), FIRST)
    assert not is_same_race(at(race, 8, "silverstone", "2021-06-27"), FIRST)
