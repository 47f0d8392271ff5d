"""The served bodies of a recording are the recorded ones, and our rules give what is recorded."""

import json
from pathlib import Path
from typing import Any

import pytest

from trackside import recorded, standings
from trackside.classification import settle
from trackside.recorded import RecordingError
from trackside.testing import Client, Serve

BODIES = ["results", "qualifying", "sprint", "pitstops", "driverstandings", "constructorstandings"]
SEASONS = [2024, 2025]


def mr_data(body: bytes | str) -> dict[str, Any]:
    """A body without what depends on who asked: its address and its page."""
    data: dict[str, Any] = json.loads(body)["MRData"]
    return {name: value for name, value in data.items() if name not in {"url", "limit"}}


@pytest.mark.parametrize("year", SEASONS)
def test_every_recorded_body_is_served_as_it_was_recorded(recorded_data: Path, serve: Serve, year: int) -> None:
    root = recorded_data / "jolpica"
    compared = 0
    with serve(season=year, recorded=root) as client:
        for name in ("races", "drivers", "constructors", "circuits"):
            answer = client.get(f"/ergast/f1/{year}/{name}.json?limit=100")
            assert mr_data(answer.content) == mr_data((root / str(year) / f"{name}.json").read_bytes())
        for kind in BODIES:
            for body in (root / str(year) / kind).glob("*.json"):
                answer = client.get(f"/ergast/f1/{year}/{body.stem}/{kind}/?limit=100")
                assert mr_data(answer.content) == mr_data(body.read_bytes()), body
                compared += 1
    assert compared > 50


@pytest.mark.parametrize("year", SEASONS)
def test_laps_come_in_the_pages_they_were_recorded_in(recorded_data: Path, serve: Serve, year: int) -> None:
    root = recorded_data / "jolpica"
    with serve(season=year, recorded=root) as client:
        for body in (root / str(year) / "laps").glob("*/*.json"):
            answer = client.get(f"/ergast/f1/{year}/{body.parent.name}/laps.json?limit=100&offset={body.stem}")
            assert mr_data(answer.content) == mr_data(body.read_bytes()), body


def test_the_statuses_of_a_whole_season_are_counted_as_recorded(recorded_data: Path, serve: Serve) -> None:
    root = recorded_data / "jolpica"
    with serve(season=2024, recorded=root) as client:
        answer = client.get("/ergast/f1/2024/status/")
    ours, theirs = mr_data(answer.content), mr_data((root / "2024" / "status.json").read_bytes())

    def counted(data: dict[str, Any]) -> dict[str, tuple[str, str]]:
        return {row["status"]: (row["statusId"], row["count"]) for row in data["StatusTable"]["Status"]}

    assert counted(ours) == counted(theirs)


@pytest.mark.parametrize("year", SEASONS)
def test_computed_standings_are_the_recorded_ones_after_every_round(recorded_data: Path, year: int) -> None:
    season = recorded.load(recorded_data / "jolpica", year)
    raced = [weekend for weekend in season.weekends if weekend.results]
    for number, weekend in enumerate(raced, start=1):
        assert standings.driver_standings(raced[:number]) == weekend.driver_standings
        assert standings.constructor_standings(raced[:number]) == weekend.constructor_standings


@pytest.mark.parametrize("year", SEASONS)
def test_points_and_gaps_written_anew_are_the_recorded_ones(recorded_data: Path, year: int) -> None:
    for weekend in recorded.load(recorded_data / "jolpica", year).weekends:
        assert settle(weekend.results, year, sprint=False) == weekend.results
        assert settle(weekend.sprint, year, sprint=True) == weekend.sprint


def test_generated_rows_have_the_fields_of_recorded_ones(recorded_data: Path, serve: Serve) -> None:
    def fields(data: dict[str, Any]) -> set[str]:
        rows = data["RaceTable"]["Races"][0]["Results"]
        nested = {
            f"{name}.{inner}"
            for row in rows
            for name, value in row.items()
            if isinstance(value, dict)
            for inner in value
        }
        return nested | {name for row in rows for name in row}

    body = recorded_data / "jolpica_live_samples" / "2026@2@results.json"
    with serve() as client:
        ours = mr_data(client.get("/ergast/f1/2026/2/results.json").content)
    assert ours.pop("simulated") == "true"
    theirs = mr_data(body.read_bytes())
    assert fields(ours) == fields(theirs)
    assert list(ours) == list(theirs)
    assert list(ours["RaceTable"]["Races"][0]) == list(theirs["RaceTable"]["Races"][0])


def test_a_recording_is_labelled_as_one_and_not_as_simulated(recorded_data: Path, serve: Serve) -> None:
    with serve(season=2024, recorded=recorded_data / "jolpica") as client:
        answer = client.get("/ergast/f1/2024/1/results/")
    assert answer.headers["X-Trackside"] == "recorded"
    assert "simulated" not in answer.json()["MRData"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"there is no folder .*nowhere"):
        recorded.load(tmp_path / "nowhere", 2024)


def test_a_missing_season_names_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "2019").mkdir()
    (tmp_path / "2019" / "races.json").write_text("{}")
    with pytest.raises(RecordingError, match="seasons there: 2019"):
        recorded.load(tmp_path, 2024)


def test_a_file_that_is_no_body_is_named(tmp_path: Path) -> None:
    (tmp_path / "2024").mkdir()
    (tmp_path / "2024" / "races.json").write_text('{"MRData": {"RaceTable": {"Races": [{"round": 1}]}}}')
    with pytest.raises(RecordingError, match=r"races\.json is not a Jolpica body"):
        recorded.load(tmp_path, 2024)


def written_down(client: Client, root: Path) -> None:
    """Record a served season into a folder, body by body."""

    def keep(path: str, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(client.get(f"/ergast/f1/2026/{path}").content)

    for name in ("races", "drivers", "constructors", "circuits", "status"):
        keep(f"{name}?limit=100", root / "2026" / f"{name}.json")
    for number in range(1, 4):
        for kind in BODIES:
            keep(f"{number}/{kind}?limit=100", root / "2026" / kind / f"{number}.json")
        for offset in range(0, 1800, 100):
            keep(f"{number}/laps?limit=100&offset={offset}", root / "2026" / "laps" / str(number) / f"{offset}.json")


@pytest.mark.parametrize("rounds", [(1, 3), (2, 3)])
def test_a_season_written_down_and_served_as_a_recording_is_the_same(
    serve: Serve, tmp_path: Path, rounds: tuple[int, int]
) -> None:
    paths = [
        "2026/results?limit=50&offset=20",
        "2026/sprint",
        "2026/2/qualifying",
        "2026/3/laps?limit=30&offset=1000",
        "2026/3/pitstops",
        "2026/2/driverstandings",
        "2026/constructorstandings",
        "2026/status",
        "2026/3/drivers",
        "2026/constructors/audi/drivers",
    ]
    with serve(rounds=(1, 3)) as original:
        written_down(original, tmp_path)
    with serve(rounds=rounds) as original, serve(recorded=tmp_path, rounds=rounds) as copy:
        for path in paths:
            expected = mr_data(original.get(f"/ergast/f1/{path}").content)
            assert expected.pop("simulated") == "true"
            assert mr_data(copy.get(f"/ergast/f1/{path}").content) == expected, path
