import json
from typing import Any

import pytest

from trackside.testing import Client, Hands, Serve

RESULTS = "/ergast/f1/2026/1/results.json"


def order(client: Client, **fault: Any) -> None:
    answer = client.post("/control/faults", json=fault)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("kind", "status", "media_type"),
    [
        ("429", 429, "application/json"),
        ("500", 500, "text/html"),
        ("503", 503, "text/html"),
        ("html404", 404, "text/html"),
    ],
)
def test_a_refusal_has_the_status_and_form_of_the_real_one(
    client: Client, kind: str, status: int, media_type: str
) -> None:
    order(client, kind=kind)
    answer = client.get(RESULTS)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith(media_type)
    assert "retry-after" not in answer.headers
    assert client.get(RESULTS).status_code == 200


def test_a_throttled_answer_is_in_the_words_of_the_real_server(client: Client) -> None:
    order(client, kind="429")
    assert client.get(RESULTS).json() == {"detail": "Request was throttled."}


def test_a_fault_happens_as_often_as_it_was_ordered(client: Client) -> None:
    order(client, kind="500", times=3)
    assert [client.get(RESULTS).status_code for _ in range(4)] == [500, 500, 500, 200]


def test_a_fault_meets_only_the_paths_it_names(client: Client) -> None:
    order(client, kind="500", path=r"/1/results")
    assert client.get("/ergast/f1/2026/2/results.json").status_code == 200
    assert client.get(RESULTS).status_code == 500


def test_faults_come_in_the_order_they_were_asked_for(client: Client) -> None:
    order(client, kind="429")
    order(client, kind="503")
    assert [client.get(RESULTS).status_code for _ in range(3)] == [429, 503, 200]


def test_a_truncated_body_breaks_off_in_the_middle(client: Client) -> None:
    whole = client.get(RESULTS).content
    order(client, kind="truncated")
    answer = client.get(RESULTS)
    assert answer.status_code == 200
    assert whole.startswith(answer.content)
    with pytest.raises(json.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize("path", [RESULTS, "/ergast/f1/2026/results?limit=30&offset=12", "/ergast/f1/2026/drivers"])
def test_a_short_page_lacks_its_last_row_and_goes_on_counting_it(client: Client, path: str) -> None:
    whole = client.get(path).json()["MRData"]
    order(client, kind="short")
    short = client.get(path).json()["MRData"]
    assert (short["total"], short["limit"], short["offset"]) == (whole["total"], whole["limit"], whole["offset"])

    def rows(data: dict[str, Any]) -> list[Any]:
        if "DriverTable" in data:
            return list(data["DriverTable"]["Drivers"])
        return [row for race in data["RaceTable"]["Races"] for row in race["Results"]]

    assert rows(short) == rows(whole)[:-1]


def test_a_malformed_body_is_json_of_another_shape(client: Client) -> None:
    order(client, kind="malformed")
    answer = client.get(RESULTS)
    assert answer.status_code == 200
    assert answer.json()["MRData"]["total"] == "many"


def test_a_slow_answer_is_held_back_and_then_whole(client: Client) -> None:
    whole = client.get(RESULTS).content
    order(client, kind="slow", seconds=0.2)
    answer = client.get(RESULTS)
    assert answer.elapsed.total_seconds() >= 0.2
    assert answer.content == whole


def test_faults_in_force_are_shown_and_can_be_lifted(client: Client) -> None:
    order(client, kind="500", path="results", times=5)
    client.get(RESULTS)
    (fault,) = client.get("/control/state").json()["faults"]
    assert (fault["kind"], fault["path"], fault["times"], fault["left"]) == ("500", "results", 5, 4)
    assert client.delete("/control/faults").status_code == 204
    assert client.get(RESULTS).status_code == 200


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "418"},
        {"kind": "500", "times": 0},
        {"kind": "slow", "seconds": -1},
        {"kind": "500", "path": "("},
        {"kind": "500", "often": 3},
        {},
    ],
)
def test_an_order_that_makes_no_sense_is_refused(client: Client, fault: dict[str, Any]) -> None:
    assert client.post("/control/faults", json=fault).status_code == 400
    assert client.get("/control/state").json()["faults"] == []


def test_requests_are_counted_by_path(client: Client) -> None:
    client.get(RESULTS)
    client.get(RESULTS)
    client.get("/ergast/f1/2026/")
    assert client.get("/control/state").json()["requests"] == {RESULTS: 2, "/ergast/f1/2026": 1}


def test_the_throttle_refuses_what_is_above_its_limit_in_one_second(serve: Serve, clock: Hands) -> None:
    with serve(throttle=4) as client:
        assert [client.get(RESULTS).status_code for _ in range(6)] == [200, 200, 200, 200, 429, 429]
        clock.move(1)
        assert client.get(RESULTS).status_code == 200


def test_control_and_health_are_never_throttled(serve: Serve) -> None:
    with serve(throttle=1) as client:
        client.get(RESULTS)
        assert client.get("/control/state").status_code == 200
        assert client.get("/health/ready").status_code == 200
