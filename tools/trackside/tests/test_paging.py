from typing import Any

import pytest

from trackside.testing import Client


def body(client: Client, path: str) -> dict[str, Any]:
    answer = client.get(f"/ergast/f1/{path}")
    assert answer.status_code == 200
    data: dict[str, Any] = answer.json()["MRData"]
    return data


@pytest.mark.parametrize("path", ["2026", "2026/", "2026.json", "2026/races", "2026/races/", "2026/races.json"])
def test_an_address_is_the_same_with_and_without_json_and_slash(client: Client, path: str) -> None:
    data = body(client, path)
    assert data["total"] == "24"
    assert len(data["RaceTable"]["Races"]) == 24


def test_the_envelope_has_strings_where_numbers_are_meant(client: Client) -> None:
    data = body(client, "2026/drivers")
    assert (data["limit"], data["offset"], data["total"], data["series"]) == ("30", "0", "22", "f1")
    assert data["simulated"] == "true"
    assert data["DriverTable"]["season"] == "2026"


def test_a_limit_above_100_is_100_without_a_word(client: Client) -> None:
    assert body(client, "2026/results?limit=1000")["limit"] == "100"


def test_pages_count_rows_so_a_race_is_split_over_two(client: Client) -> None:
    data = body(client, "2026/results?limit=30&offset=0")
    races = data["RaceTable"]["Races"]
    assert data["total"] == str(24 * 22)
    assert [(race["round"], len(race["Results"])) for race in races] == [("1", 22), ("2", 8)]
    following = body(client, "2026/results?limit=30&offset=30")["RaceTable"]["Races"]
    assert [(race["round"], len(race["Results"])) for race in following] == [("2", 14), ("3", 16)]
    assert following[0]["Results"][0]["position"] == "9"


@pytest.mark.parametrize("limit", [1, 7, 22, 30, 100])
@pytest.mark.parametrize(("kind", "rows"), [("results", "Results"), ("qualifying", "QualifyingResults")])
def test_all_pages_together_are_the_whole_season(client: Client, limit: int, kind: str, rows: str) -> None:
    total = 24 * 22
    seen: list[tuple[str, str]] = []
    pages = range(0, total, limit) if limit > 1 else range(40)
    for offset in pages:
        for race in body(client, f"2026/{kind}?limit={limit}&offset={offset}")["RaceTable"]["Races"]:
            seen += [(race["round"], row["position"]) for row in race[rows]]
    expected = [(str(number), str(place)) for number in range(1, 25) for place in range(1, 23)]
    assert seen == expected[: len(seen)]
    assert len(seen) == (total if limit > 1 else 40)


def test_a_lap_is_split_over_two_pages_too(client: Client) -> None:
    first = body(client, "2026/1/laps?limit=25")["RaceTable"]["Races"][0]["Laps"]
    second = body(client, "2026/1/laps?limit=25&offset=25")["RaceTable"]["Races"][0]["Laps"]
    assert first[-1]["number"] == second[0]["number"]
    assert not {row["driverId"] for row in first[-1]["Timings"]} & {row["driverId"] for row in second[0]["Timings"]}


def test_one_lap_can_be_asked_for(client: Client) -> None:
    race = body(client, "2026/1/laps/3.json")["RaceTable"]["Races"][0]
    assert [lap["number"] for lap in race["Laps"]] == ["3"]
    assert [row["position"] for row in race["Laps"][0]["Timings"][:2]] == ["1", "2"]


def test_an_offset_past_the_end_is_an_empty_page_that_still_knows_the_total(client: Client) -> None:
    data = body(client, "2026/1/results?offset=22")
    assert data["RaceTable"] == {"season": "2026", "round": "1", "Races": []}
    assert data["total"] == "22"


@pytest.mark.parametrize(
    ("path", "table", "rows"),
    [
        ("2026/99/results", "RaceTable", "Races"),
        ("2026/99", "RaceTable", "Races"),
        ("1999/results", "RaceTable", "Races"),
        ("1999", "RaceTable", "Races"),
        ("2026/1/sprint", "RaceTable", "Races"),
        ("2026/99/driverstandings", "StandingsTable", "StandingsLists"),
        ("1999/constructorstandings", "StandingsTable", "StandingsLists"),
        ("1999/drivers", "DriverTable", "Drivers"),
        ("2026/99/laps/1", "RaceTable", "Races"),
    ],
)
def test_what_is_unknown_is_an_empty_list(client: Client, path: str, table: str, rows: str) -> None:
    data = body(client, path)
    assert data[table][rows] == []
    assert data["total"] == "0"


def test_current_is_the_served_season_and_last_its_last_race(client: Client) -> None:
    assert body(client, "current")["RaceTable"]["season"] == "2026"
    assert body(client, "current/last/results")["RaceTable"]["round"] == "24"


def test_standings_of_a_season_are_those_after_its_last_race(client: Client) -> None:
    table = body(client, "2026/driverstandings")["StandingsTable"]
    assert table["round"] == "24"
    assert table == body(client, "2026/24/driverStandings")["StandingsTable"]


def test_who_drives_for_whom_can_be_asked_both_ways(client: Client) -> None:
    drivers = body(client, "2026/constructors/audi/drivers")["DriverTable"]
    assert drivers["constructorId"] == "audi"
    assert [driver["driverId"] for driver in drivers["Drivers"]] == ["bortoleto", "hulkenberg"]
    constructors = body(client, "2026/1/drivers/bottas/constructors")["ConstructorTable"]["Constructors"]
    assert [constructor["constructorId"] for constructor in constructors] == ["cadillac"]
    results = body(client, "2026/drivers/bottas/results")
    assert results["total"] == "24"


def test_a_round_has_its_drivers_and_constructors(client: Client) -> None:
    assert body(client, "2026/5/drivers")["total"] == "22"
    assert body(client, "2026/5/constructors")["total"] == "11"
    assert body(client, "2026/5/circuits")["CircuitTable"]["Circuits"][0]["circuitId"] == "jeddah"


def test_statuses_are_counted(client: Client) -> None:
    rows = body(client, "2026/1/status")["StatusTable"]["Status"]
    assert sum(int(row["count"]) for row in rows) == 22


@pytest.mark.parametrize("path", ["2026/laps", "2026/pitstops", "2026/laps/1"])
def test_laps_and_pit_stops_of_a_whole_season_are_a_bad_request(client: Client, path: str) -> None:
    answer = client.get(f"/ergast/f1/{path}")
    assert answer.status_code == 400
    assert "Missing one of the required parameters" in answer.json()["detail"]


@pytest.mark.parametrize("query", ["limit=x", "limit=0", "limit=-1", "offset=-1", "offset=1.5", "limit="])
def test_a_bad_limit_or_offset_is_a_bad_request(client: Client, query: str) -> None:
    assert client.get(f"/ergast/f1/2026/results?{query}").status_code == 400


@pytest.mark.parametrize("path", ["nonsense", "2026/nonsense", "2026/1/nonsense/", "20266", "2026/1/results/a/b", ""])
def test_an_unknown_address_is_a_page_of_html(client: Client, path: str) -> None:
    answer = client.get(f"/ergast/f1/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


def test_answers_carry_the_headers_of_the_real_server_and_a_label(client: Client) -> None:
    answer = client.get("/ergast/f1/2026/1/results.json")
    assert answer.headers["cache-control"] == "max-age=600"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-trackside"] == "simulated"


def test_health_is_ready(client: Client) -> None:
    assert client.get("/health/ready").status_code == 200
