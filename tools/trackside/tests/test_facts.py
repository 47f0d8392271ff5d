import json
from datetime import timedelta
from pathlib import Path

from trackside import calendar, entries
from trackside.sessions import RACE

SPRINTS = ["shanghai", "miami", "villeneuve", "silverstone", "zandvoort", "marina_bay"]


def test_the_calendar_of_2026_has_24_rounds_and_six_sprints() -> None:
    facts = calendar.load(2026)
    assert facts is not None
    assert [weekend.round for weekend in facts.rounds] == list(range(1, 25))
    assert [weekend.circuit for weekend in facts.rounds if weekend.sprint] == SPRINTS
    assert {weekend.circuit for weekend in facts.rounds} == {track.circuit_id for track in facts.circuits}


def test_every_weekend_has_five_sessions_within_three_days_and_ends_with_the_race() -> None:
    facts = calendar.load(2026)
    assert facts is not None
    for weekend in facts.rounds:
        instants = sorted(weekend.sessions.values())
        assert len(instants) == 5
        assert instants[-1] == weekend.sessions[RACE]
        assert instants[-1] - instants[0] < timedelta(days=3)


def test_weekends_follow_each_other() -> None:
    facts = calendar.load(2026)
    assert facts is not None
    races = [weekend.sessions[RACE] for weekend in facts.rounds]
    assert races == sorted(races)


def test_eleven_teams_enter_two_drivers_each_with_their_own_numbers_and_codes() -> None:
    facts = entries.load(2026)
    assert facts is not None
    assert len(facts.constructors) == 11
    assert {"audi", "cadillac"} <= {constructor.constructor_id for constructor in facts.constructors}
    assert len(facts.cars) == len({car.driver.driver_id for car in facts.cars}) == 22
    assert len({driver.number for driver in facts.drivers}) == 22
    assert len({driver.code for driver in facts.drivers}) == 22


def test_there_are_no_facts_of_a_year_nobody_wrote_down() -> None:
    assert calendar.load(1987) is None
    assert entries.load(1987) is None


def test_the_ids_of_2026_are_those_of_recorded_jolpica_bodies(recorded_data: Path) -> None:
    body = recorded_data / "jolpica_live_samples" / "2026@2@results.json"
    race = json.loads(body.read_bytes())["MRData"]["RaceTable"]["Races"][0]
    facts = entries.load(2026)
    assert facts is not None
    shown = {car.driver.driver_id: (car.constructor.constructor_id, car.number) for car in facts.cars}
    there = {row["Driver"]["driverId"]: (row["Constructor"]["constructorId"], row["number"]) for row in race["Results"]}
    assert shown == there
