from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackside import standings
from trackside.amendments import Amendment, AmendmentError, amend
from trackside.classification import Rows, millis_of, timed
from trackside.config import ConfigError
from trackside.season import Season
from trackside.testing import START, Client, Hands, Serve


def results(client: Client, path: str = "2026/1/results") -> list[dict[str, Any]]:
    race = client.get(f"/ergast/f1/{path}").json()["MRData"]["RaceTable"]["Races"][0]
    found: list[dict[str, Any]] = race.get("Results") or race.get("SprintResults") or race["QualifyingResults"]
    return found


def order(rows: list[dict[str, Any]]) -> list[str]:
    return [row["Driver"]["driverId"] for row in rows]


def decide(client: Client, driver: str, action: str, **more: Any) -> Any:
    decision = {"season": 2026, "round": 1, "session": "race", "driver_id": driver, "action": action, **more}
    return client.post("/control/amend", json=decision)


def names(rows: Rows) -> list[str]:
    return [row.driver.driver_id for row in rows]


def test_a_disqualified_winner_is_last_without_points_and_all_others_move_up(client: Client) -> None:
    before = results(client)
    winner = order(before)[0]
    assert decide(client, winner, "disqualify").status_code == 201
    after = results(client)
    assert order(after) == [*order(before)[1:], winner]
    assert [row["points"] for row in after[:11]] == ["25", "18", "15", "12", "10", "8", "6", "4", "2", "1", "0"]
    last = after[-1]
    assert (last["position"], last["positionText"], last["status"], last["points"]) == ("22", "D", "Disqualified", "0")
    assert "Time" not in last
    assert "FastestLap" not in last
    assert not after[0]["Time"]["time"].startswith("+")


def test_the_standings_follow_an_amendment(client: Client) -> None:
    winner = order(results(client))[0]
    decide(client, winner, "disqualify")
    standings_list = client.get("/ergast/f1/2026/1/driverstandings").json()["MRData"]["StandingsTable"][
        "StandingsLists"
    ][0]
    points = {row["Driver"]["driverId"]: row["points"] for row in standings_list["DriverStandings"]}
    assert points == {row["Driver"]["driverId"]: row["points"] for row in results(client)}
    assert points[winner] == "0"


def test_a_time_penalty_costs_the_places_it_is_worth(client: Client) -> None:
    before = results(client)
    winner = order(before)[0]
    millis = int(before[0]["Time"]["millis"])
    lead_lap = [row for row in before if row["laps"] == before[0]["laps"] and "Time" in row]
    lost = sum(1 for row in lead_lap[1:] if int(row["Time"]["millis"]) < millis + 30_000)
    decide(client, winner, "time_penalty", seconds=30)
    after = results(client)
    assert lost > 0
    assert order(after).index(winner) == lost
    row = after[lost]
    assert int(row["Time"]["millis"]) == millis + 30_000
    assert row["positionText"] == str(lost + 1)
    gap = millis + 30_000 - int(after[0]["Time"]["millis"])
    assert row["Time"]["time"] == f"+{gap // 1000}.{gap % 1000:03d}"


def test_a_huge_time_penalty_does_not_cost_a_lap(client: Client) -> None:
    before = results(client)
    decide(client, order(before)[0], "time_penalty", seconds=3600)
    after = results(client)
    laps = [int(row["laps"]) for row in after if row["positionText"].isdigit()]
    assert laps == sorted(laps, reverse=True)


def test_two_cars_can_be_swapped(client: Client) -> None:
    before = results(client)
    first, second = order(before)[:2]
    decide(client, first, "swap", other_driver_id=second)
    after = results(client)
    assert order(after)[:2] == [second, first]
    assert [row["points"] for row in after[:2]] == ["25", "18"]
    assert [row["Time"] for row in after[:2]] == [row["Time"] for row in before[:2]]


def test_sprint_and_qualifying_can_be_amended(client: Client) -> None:
    sprint = order(results(client, "2026/2/sprint"))
    decide(client, sprint[0], "disqualify", round=2, session="sprint")
    amended = results(client, "2026/2/sprint")
    assert order(amended) == [*sprint[1:], sprint[0]]
    assert [row["points"] for row in amended[:9]] == ["8", "7", "6", "5", "4", "3", "2", "1", "0"]
    grid = order(results(client, "2026/2/qualifying"))
    decide(client, grid[0], "disqualify", round=2, session="qualifying")
    assert order(results(client, "2026/2/qualifying")) == [*grid[1:], grid[0]]


def test_a_car_disqualified_from_qualifying_is_last_and_keeps_its_times(client: Client) -> None:
    before = results(client, "2026/1/qualifying")
    decide(client, order(before)[0], "disqualify", session="qualifying")
    after = results(client, "2026/1/qualifying")
    assert after[-1] == before[0] | {"position": "22"}
    assert after[-1]["Q3"]
    assert after[:-1] == [row | {"position": str(place)} for place, row in enumerate(before[1:], start=1)]


def test_cars_swapped_in_qualifying_take_over_the_times_of_their_places(client: Client) -> None:
    before = results(client, "2026/1/qualifying")
    first, last = order(before)[0], order(before)[-1]
    decide(client, first, "swap", session="qualifying", other_driver_id=last)
    after = results(client, "2026/1/qualifying")
    assert order(after) == [last, *order(before)[1:-1], first]

    def times(rows: list[dict[str, Any]]) -> list[list[str | None]]:
        return [[row.get(segment) for segment in ("Q1", "Q2", "Q3")] for row in rows]

    assert times(after) == times(before)


def test_an_amendment_can_be_taken_back(client: Client) -> None:
    before = results(client)
    number = decide(client, order(before)[0], "disqualify").json()["id"]
    assert client.delete(f"/control/amend/{number}").status_code == 204
    assert results(client) == before
    assert client.delete(f"/control/amend/{number}").status_code == 404


def test_reset_undoes_everything(client: Client) -> None:
    before = results(client)
    decide(client, order(before)[0], "disqualify")
    client.post("/control/faults", json={"kind": "500", "times": 9})
    assert client.post("/control/reset").status_code == 204
    assert results(client) == before
    state = client.get("/control/state").json()
    assert (state["amendments"], state["faults"], list(state["requests"].values())) == ([], [], [1])


def test_a_session_that_has_not_ended_cannot_be_amended(serve: Serve, clock: Hands) -> None:
    with serve(start=START, pace=100) as client:
        clock.move(84)
        assert decide(client, "norris", "disqualify").status_code == 409
        clock.move(85)
        assert decide(client, "norris", "disqualify").status_code == 201


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"round": 99}, 404),
        ({"season": 2025}, 404),
        ({"driver_id": "fangio"}, 409),
        ({"session": "sprint"}, 409),
        ({"action": "swap"}, 400),
        ({"action": "swap", "other_driver_id": "norris"}, 400),
        ({"action": "swap", "other_driver_id": "fangio"}, 409),
        ({"action": "time_penalty"}, 400),
        ({"action": "time_penalty", "seconds": -5}, 400),
        ({"action": "time_penalty", "seconds": 5, "session": "qualifying"}, 400),
        ({"action": "fine"}, 400),
        ({"session": "practice"}, 400),
        ({"reason": "plank"}, 400),
    ],
)
def test_a_decision_that_does_not_fit_is_refused_and_changes_nothing(
    client: Client, change: dict[str, Any], status: int
) -> None:
    before = results(client)
    decision = {"season": 2026, "round": 1, "session": "race", "driver_id": "norris", "action": "disqualify"}
    answer = client.post("/control/amend", json=decision | change)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
    assert results(client) == before


def test_a_state_file_keeps_amendments_over_a_restart(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    with serve(state=file) as client:
        decide(client, order(results(client))[0], "disqualify")
        amended = results(client)
    with serve(state=file) as client:
        assert results(client) == amended
        client.post("/control/reset")
    with serve(state=file) as client:
        assert results(client) != amended


def test_a_state_file_of_another_season_is_refused(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_text('{"season": 2024, "start": "2026-01-01T00:00:00Z"}')
    with pytest.raises(ConfigError, match="belongs to season 2024"):
        serve(state=file)
    file.write_text("not json")
    with pytest.raises(ConfigError, match="is not a state of trackside"):
        serve(state=file)


def test_an_amended_recording_says_so_and_recomputes_its_standings(recorded_data: Path, serve: Serve) -> None:
    with serve(season=2024, recorded=recorded_data / "jolpica") as client:
        before = client.get("/ergast/f1/2024/3/driverstandings").json()["MRData"]["StandingsTable"]
        untouched = client.get("/ergast/f1/2024/1/driverstandings").json()["MRData"]["StandingsTable"]
        decide(client, "leclerc", "disqualify", season=2024, round=2)
        second = client.get("/ergast/f1/2024/2/driverstandings").json()["MRData"]["StandingsTable"]
        answer = client.get("/ergast/f1/2024/3/driverstandings")
        after = answer.json()["MRData"]["StandingsTable"]
        same = client.get("/ergast/f1/2024/1/driverstandings").json()["MRData"]["StandingsTable"]

    def points(table: dict[str, Any]) -> dict[str, int]:
        rows = table["StandingsLists"][0]["DriverStandings"]
        return {row["Driver"]["driverId"]: int(row["points"]) for row in rows}

    assert answer.headers["X-Trackside"] == "recorded, amended"
    assert same == untouched
    assert points(second)["leclerc"] == points(untouched)["leclerc"]
    assert points(before)["leclerc"] - points(after)["leclerc"] == 16  # third place and the fastest lap
    assert points(after)["piastri"] - points(before)["piastri"] == 3  # third instead of fourth
    assert points(after)["max_verstappen"] == points(before)["max_verstappen"]


Action = Literal["time_penalty", "disqualify", "swap"]
actions: st.SearchStrategy[Action] = st.sampled_from(get_args(Action))


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_decision_keeps_a_classification_whole(season: Season, data: st.DataObject) -> None:
    weekend = data.draw(st.sampled_from(season.weekends))
    sprint = bool(weekend.sprint) and data.draw(st.booleans())
    before = weekend.sprint if sprint else weekend.results
    driver, other = data.draw(st.permutations(names(before)).map(lambda order: order[:2]))
    seconds = data.draw(st.floats(min_value=0.001, max_value=600))
    decision = Amendment(
        season=2026,
        round=weekend.round,
        session="sprint" if sprint else "race",
        driver_id=driver,
        action=data.draw(actions),
        seconds=seconds,
        other_driver_id=other,
    )
    try:
        amended = amend(weekend, decision)
    except AmendmentError:
        return
    after = amended.sprint if sprint else amended.results
    assert sorted(names(after)) == sorted(names(before))
    assert [row.position for row in after] == [str(place) for place in range(1, len(after) + 1)]
    classified = [row for row in after if row.classified]
    assert list(after[: len(classified)]) == classified
    assert [row.position_text for row in classified] == [row.position for row in classified]
    paid = sum(int(row.points) for row in after)
    assert paid == sum(int(row.points) for row in before)
    times = [(-int(row.laps), millis_of(row) or 0) for row in after if timed(row)]
    assert times == sorted(times)
    total = sum(int(row.points) for row in standings.driver_standings([amended]))
    assert total == sum(int(row.points) for row in (*amended.results, *amended.sprint))
