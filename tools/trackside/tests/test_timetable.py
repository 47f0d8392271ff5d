from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from trackside.season import Season
from trackside.testing import START, Client, Hands, Serve
from trackside.timetable import lay, parse_start

PACE = 100.0
"""A hundred seconds a weekend: fractions are seconds."""


def table(client: Client, path: str) -> dict[str, Any]:
    data = client.get(f"/ergast/f1/{path}").json()["MRData"]
    found: dict[str, Any] = next(value for name, value in data.items() if name.endswith("Table"))
    return found


def rows(client: Client, path: str) -> int:
    return int(client.get(f"/ergast/f1/{path}").json()["MRData"]["total"])


def test_dates_are_rewritten_to_the_second(serve: Serve) -> None:
    with serve(start=START, pace=PACE) as client:
        first, second = table(client, "2026")["Races"][:2]
    assert first["FirstPractice"] == {"date": "2026-11-20", "time": "14:00:05Z"}
    assert first["Qualifying"] == {"date": "2026-11-20", "time": "14:00:50Z"}
    assert (first["date"], first["time"]) == ("2026-11-20", "14:01:10Z")
    assert second["FirstPractice"]["time"] == "14:01:45Z"
    assert second["SprintQualifying"]["time"] == "14:02:00Z"
    assert second["Sprint"]["time"] == "14:02:15Z"


def test_without_a_pace_dates_are_real_and_everything_is_there(client: Client) -> None:
    race = table(client, "2026/1")["Races"][0]
    assert (race["date"], race["time"]) == ("2026-03-08", "04:00:00Z")
    assert rows(client, "2026/24/results") == 22


@pytest.mark.parametrize(
    ("path", "ends_after"),
    [
        ("2026/1/qualifying", 60),
        ("2026/1/results", 85),
        ("2026/1/laps", 85),
        ("2026/1/pitstops", 85),
        ("2026/1/driverstandings", 85),
        ("2026/driverstandings", 85),
        ("2026/2/sprint", 145),
        ("2026/2/qualifying", 160),
        ("2026/2/constructorstandings", 185),
    ],
)
def test_a_result_is_there_when_its_session_ended_and_not_before(
    serve: Serve, clock: Hands, path: str, ends_after: float
) -> None:
    with serve(start=START, pace=PACE) as client:
        clock.move(ends_after - 0.001)
        assert rows(client, path) == 0
        clock.move(ends_after)
        assert rows(client, path) > 0


def test_a_sprint_counts_in_the_standings_only_with_its_race(serve: Serve, clock: Hands) -> None:
    with serve(start=START, pace=PACE) as client:
        clock.move(184)
        assert table(client, "2026/driverstandings")["round"] == "1"
        clock.move(185)
        assert table(client, "2026/driverstandings")["round"] == "2"


def test_last_and_next_follow_the_clock(serve: Serve, clock: Hands) -> None:
    with serve(start=START, pace=PACE) as client:
        clock.move(150)
        assert table(client, "current/last")["round"] == "1"
        assert table(client, "current/next")["round"] == "2"


def test_who_drives_for_whom_is_known_before_the_first_session(serve: Serve) -> None:
    with serve(start=START, pace=PACE) as client:
        assert rows(client, "2026/constructors/audi/drivers") == 2
        assert rows(client, "2026/1/drivers") == 0


def test_a_window_of_rounds_starts_with_its_first(serve: Serve) -> None:
    with serve(start=START, pace=PACE, rounds=(5, 6)) as client:
        races = table(client, "2026")["Races"]
    assert [race["round"] for race in races] == ["5", "6"]
    assert races[0]["FirstPractice"]["time"] == "14:00:05Z"


def test_rounds_before_the_window_count_in_the_standings(serve: Serve) -> None:
    with serve() as whole, serve(rounds=(5, 6)) as window:
        assert table(whole, "2026/5/driverstandings") == table(window, "2026/5/driverstandings")


def test_a_restart_with_the_same_start_continues_the_same_timetable(serve: Serve, clock: Hands) -> None:
    with serve(start=START, pace=PACE) as client:
        before = client.get("/control/state").json()
    clock.move(250)
    with serve(start=datetime.fromisoformat(before["start"]), pace=before["pace"]) as client:
        assert client.get("/control/state").json()["timetable"] == before["timetable"]


def test_a_state_file_remembers_the_start(serve: Serve, clock: Hands, tmp_path: Path) -> None:
    file = tmp_path / "kept" / "state.json"
    with serve(pace=PACE, state=file) as client:
        before = client.get("/control/state").json()["timetable"]
    clock.move(250)
    with serve(pace=PACE, state=file) as client:
        assert client.get("/control/state").json()["timetable"] == before


def test_sessions_start_on_whole_seconds_and_keep_their_order_at_any_pace(season: Season) -> None:
    for pace in (1.0, 2.5, 7.0, 60.0, 86_400.0):
        timetable = lay(season.weekends, START + timedelta(microseconds=1), pace)
        assert timetable.start == START + timedelta(seconds=1)
        starts = [slot.starts_at for slot in timetable.slots]
        assert starts == sorted(starts)
        assert all(slot.starts_at.microsecond == 0 and slot.starts_at < slot.ends_at for slot in timetable.slots)


def test_a_recorded_season_keeps_the_order_of_its_sessions(recorded_data: Path, serve: Serve, clock: Hands) -> None:
    with serve(season=2024, recorded=recorded_data / "jolpica", rounds=(4, 5), start=START, pace=PACE) as client:
        sessions = client.get("/control/state").json()["timetable"]
        assert [slot["session"] for slot in sessions if slot["round"] == 5] == [
            "FirstPractice",
            "SprintQualifying",
            "Sprint",
            "Qualifying",
            "Race",
        ]
        clock.move(84)
        assert table(client, "2024/driverstandings")["StandingsLists"] == []
        clock.move(85)
        assert table(client, "2024/driverstandings")["round"] == "4"


NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("now+10s", NOW + timedelta(seconds=10)),
        ("now-2h", NOW - timedelta(hours=2)),
        ("now+3m", NOW + timedelta(minutes=3)),
        ("2026-03-01T13:00:00Z", NOW + timedelta(hours=1)),
        ("2026-03-01T13:00:00", NOW + timedelta(hours=1)),
        ("2026-03-01T13:00:00+01:00", NOW),
    ],
)
def test_a_start_is_an_instant_or_relative_to_now(text: str, expected: datetime) -> None:
    assert parse_start(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "soon", "now+", "now 10s", "2026-13-01"])
def test_anything_else_is_not_a_start(text: str) -> None:
    with pytest.raises(ValueError, match="neither an ISO 8601 instant nor now"):
        parse_start(text, NOW)
