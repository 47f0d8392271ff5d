"""Which race a round is, who was entered, and what a round's sessions give together."""

from datetime import UTC, datetime

from common.contracts.ingest import Car, CarStatus, Race, Session, SessionKind, Stint
from common.contracts.scoring import AssetKind
from scoring.engine import asset_points
from scoring.rules import rule_set
from scoring.weekend import Entries, Result, first_change, race_of_round, round_ledger, scoring_sessions

RULES = rule_set("official-2025")


def stint(driver: str, first: int, last: int | None = None, team: str = "team") -> Stint:
    return Stint(driver_id=driver, constructor_id=team, from_round=first, to_round=last)


def car(driver: str, position: int, team: str = "team") -> Car:
    return Car(
        driver_id=driver,
        constructor_id=team,
        number=None,
        position=position,
        status=CarStatus.FINISHED,
        status_text="",
        grid=position,
        q1="1:20.0",
    )


def result(session: SessionKind, *drivers: str) -> Result:
    cars = [car(driver, place) for place, driver in enumerate(drivers, start=1)]
    return Result(session=session, result_version=1, classification=cars)


def test_the_calendar_goes_before_what_a_result_said() -> None:
    assert race_of_round({"a": 1, "b": 2}, [("a", 1), ("b", 3)]) == {1: "a", 2: "b"}


def test_a_race_that_the_calendar_does_not_know_keeps_its_round() -> None:
    assert race_of_round({}, [("a", 4)]) == {4: "a"}


def test_of_two_claims_to_a_round_the_calendars_wins() -> None:
    assert race_of_round({"b": 4}, [("a", 4), ("b", 5)]) == {4: "b"}


def test_a_seat_lasts_from_its_first_to_its_last_round() -> None:
    entries = Entries(stints=[stint("old", 1, 2), stint("new", 3), stint("other", 1, None, "elsewhere")])
    assert entries.seats(2) == {"old": "team", "other": "elsewhere"}
    assert entries.seats(3) == {"new": "team", "other": "elsewhere"}


def test_a_driver_who_left_stays_in_the_game_and_one_who_comes_is_not_yet_in_it() -> None:
    entries = Entries(stints=[stint("old", 1, 2), stint("new", 3)])
    assert entries.roster(2) == {"old"}
    assert entries.roster(3) == {"old", "new"}


def test_the_first_round_that_a_change_of_seats_touches_is_found() -> None:
    old = Entries(stints=[stint("a", 1)])
    assert first_change(old, old, 24) is None
    assert first_change(old, Entries(stints=[stint("a", 1), stint("b", 5)]), 24) == 5
    assert first_change(old, Entries(stints=[stint("a", 1, 6)]), 24) == 7
    assert first_change(Entries(), old, 24) == 1


def test_only_sessions_that_score_count_and_in_order_of_their_starts() -> None:
    kinds = (SessionKind.RACE, SessionKind.SPRINT, SessionKind.QUALIFYING, SessionKind.FP1)
    hours = (14, 10, 12, 8)
    race = Race(
        race_id="r",
        round=1,
        name="r",
        circuit_id="c",
        circuit_name="c",
        locality="l",
        country="c",
        sprint=True,
        sessions=[
            Session(kind=kind, starts_at=datetime(2026, 3, 1, hour, tzinfo=UTC))
            for kind, hour in zip(kinds, hours, strict=True)
        ],
    )
    assert scoring_sessions(race) == [SessionKind.SPRINT, SessionKind.QUALIFYING, SessionKind.RACE]


def test_who_qualified_and_did_not_start_is_missed_in_the_race() -> None:
    results = [result(SessionKind.QUALIFYING, "a", "b"), result(SessionKind.RACE, "a")]
    points = asset_points(round_ledger(2025, 1, results, Entries(), RULES))
    race_only = asset_points(round_ledger(2025, 1, results[:1], Entries(), RULES))
    assert points[AssetKind.DRIVER, "b"] - race_only[AssetKind.DRIVER, "b"] == -20
    assert points[AssetKind.CONSTRUCTOR, "team"] - race_only[AssetKind.CONSTRUCTOR, "team"] == 25 - 20


def test_the_order_of_sessions_decides_who_is_missed() -> None:
    results = [result(SessionKind.SPRINT, "a", "b"), result(SessionKind.QUALIFYING, "a", "c")]
    sprint_first = round_ledger(2025, 1, results, Entries(), RULES)
    qualifying_first = round_ledger(2025, 1, results, Entries(), RULES, [SessionKind.QUALIFYING, SessionKind.SPRINT])
    assert (SessionKind.QUALIFYING, "b") in {(row.session, row.asset_id) for row in sprint_first}
    assert (SessionKind.SPRINT, "c") in {(row.session, row.asset_id) for row in qualifying_first}


def test_a_session_without_any_car_scores_nothing_and_misses_nobody() -> None:
    entries = Entries(stints=[stint("a", 1)])
    assert round_ledger(2025, 1, [result(SessionKind.RACE)], entries, RULES) == []
