"""What users do with their endpoints, and every way to be refused."""

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from common.contracts.leagues import LeagueCreated, LeagueJoined
from common.contracts.samples import SAMPLES
from devstack.testing import eventually

if TYPE_CHECKING:
    from services.webhooks.tests.integration.conftest import Answer, Receiver, Start, Subscriber, World

URL = "http://127.0.0.1:9/hook"
UNKNOWN = "3d594650-3436-4c9c-8f5d-5ad9f7c1b2aa"
ALL_OF_ONE = [
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/secret"),
    ("POST", "/enable"),
    ("POST", "/disable"),
    ("POST", "/test"),
    ("GET", "/deliveries"),
    ("GET", f"/deliveries/{UNKNOWN}"),
    ("POST", f"/deliveries/{UNKNOWN}/redeliver"),
]


def code(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json", response.text
    return response.status_code, response.json()["code"]


@pytest.fixture
async def ann(world: "World", start: "Start") -> "Subscriber":
    return world.subscriber(await start())


async def test_an_endpoint_is_shown_with_its_secret_once(ann: "Subscriber") -> None:
    endpoint = await ann.register(URL, "race.finished", "prices.changed", description="  my pit wall ")
    assert endpoint.pop("secret").startswith("whsec_")
    assert (endpoint["description"], endpoint["enabled"], endpoint["format"]) == ("my pit wall", True, "cloudevents")
    assert await ann.read(endpoint) == endpoint
    assert (await ann.call("GET")).json() == {"items": [endpoint]}


async def test_a_secret_is_sealed_in_the_database(ann: "Subscriber", world: "World") -> None:
    await ann.register(URL)
    ((sealed,),) = await world.rows("SELECT secret_sealed FROM endpoints")
    assert len(sealed) == 12 + 32 + 16


async def test_a_patch_changes_what_it_names(ann: "Subscriber") -> None:
    endpoint = await ann.register(URL, "race.finished", description="old")
    path = f"/{endpoint['endpoint_id']}"
    changed = (await ann.call("PATCH", path, {"format": "slack", "subjects": ["race.scored"]})).json()
    del endpoint["secret"]
    assert changed == endpoint | {"format": "slack", "subjects": ["race.scored"]}
    changed = (await ann.call("PATCH", path, {"url": URL + "2", "description": ""})).json()
    assert (changed["url"], changed["description"], changed["format"]) == (URL + "2", "", "slack")
    assert (await ann.call("PATCH", path, {})).json() == changed


async def test_a_removed_endpoint_is_gone_with_its_log(ann: "Subscriber", world: "World") -> None:
    endpoint = await ann.register(URL)
    await world.happen()
    assert (await ann.call("DELETE", f"/{endpoint['endpoint_id']}")).status_code == 204
    assert code(await ann.call("GET", f"/{endpoint['endpoint_id']}")) == (404, "unknown_endpoint")
    assert await world.rows("SELECT 1 FROM deliveries") == []


@pytest.mark.parametrize(("method", "path"), ALL_OF_ONE)
async def test_somebody_elses_endpoint_does_not_exist(
    ann: "Subscriber", world: "World", method: str, path: str
) -> None:
    endpoint = await ann.register(URL)
    bob = world.subscriber(ann.http)
    body: Any = {} if method == "PATCH" else None
    assert code(await bob.call(method, f"/{endpoint['endpoint_id']}{path}", body)) == (404, "unknown_endpoint")
    assert code(await bob.call(method, f"/{UNKNOWN}{path}", body)) == (404, "unknown_endpoint")
    assert (await bob.call("GET")).json() == {"items": []}


@pytest.mark.parametrize(
    ("method", "path"), [("POST", ""), ("GET", ""), *((m, f"/{UNKNOWN}{p}") for m, p in ALL_OF_ONE)]
)
async def test_nothing_is_done_without_a_token(ann: "Subscriber", method: str, path: str) -> None:
    response = await ann.http.request(
        method, f"/api/v1/webhooks{path}", json={} if method in {"POST", "PATCH"} else None
    )
    assert response.status_code == 401


@pytest.mark.parametrize(
    ("change", "status", "expected"),
    [
        ({"subjects": []}, 422, "invalid_request"),
        ({"subjects": ["user.registered"]}, 422, "invalid_request"),
        ({"subjects": ["league.joined"]}, 422, "invalid_request"),
        ({"subjects": ["team.created"]}, 422, "invalid_request"),
        ({"subjects": ["lineup.submitted"]}, 422, "invalid_request"),
        ({"subjects": ["*"]}, 422, "invalid_request"),
        ({"subjects": ["race.finished"] * 2}, 422, "duplicate_subject"),
        ({"subjects": "race.finished"}, 422, "invalid_request"),
        ({"url": ""}, 422, "invalid_request"),
        ({"url": "https://" + "x" * 3000}, 422, "invalid_request"),
        ({"url": "ftp://127.0.0.1/"}, 422, "url_refused"),
        ({"url": "http://user:secret@127.0.0.1/"}, 422, "url_refused"),
        ({"url": "http://169.254.169.254/latest/meta-data"}, 422, "url_refused"),
        ({"url": "http://nobody.invalid/"}, 422, "url_refused"),
        ({"url": 7}, 422, "invalid_request"),
        ({"format": "teams"}, 422, "invalid_request"),
        ({"description": "x" * 201}, 422, "invalid_request"),
        ({"description": "nul\x00"}, 422, "invalid_value"),
        ({"league_id": UNKNOWN}, 422, "league_without_leaderboard"),
        ({"league_id": UNKNOWN, "subjects": ["leaderboard.updated"]}, 404, "unknown_league"),
        ({"league_id": "mine", "subjects": ["leaderboard.updated"]}, 422, "invalid_request"),
        ({"secret": "whsec_mine"}, 422, "invalid_request"),
        ({"user_id": UNKNOWN}, 422, "invalid_request"),
    ],
)
async def test_what_cannot_be_registered_cannot_be_changed_to_either(
    ann: "Subscriber", world: "World", change: dict[str, Any], status: int, expected: str
) -> None:
    assert code(await ann.call("POST", "", {"url": URL, "subjects": ["race.finished"]} | change)) == (status, expected)
    assert await world.rows("SELECT 1 FROM endpoints") == []
    endpoint = await ann.register(URL)
    before = await ann.read(endpoint)
    assert code(await ann.call("PATCH", f"/{endpoint['endpoint_id']}", change)) == (status, expected)
    assert await ann.read(endpoint) == before


@pytest.mark.parametrize(
    ("body", "status", "expected"),
    [
        (b"", 422, "invalid_request"),
        (b"{", 400, "malformed_request"),
        (b"\xff\xfe", 400, "malformed_request"),
        (b"null", 422, "invalid_request"),
        (b"[" * 100_000, 400, "malformed_request"),
        (b'{"url": "' + b"x" * 2_000_000 + b'"}', 413, "body_too_large"),
    ],
)
async def test_a_body_that_is_none_is_a_problem(ann: "Subscriber", body: bytes, status: int, expected: str) -> None:
    headers = ann.headers | {"Content-Type": "application/json"}
    assert code(await ann.http.post("/api/v1/webhooks", content=body, headers=headers)) == (status, expected)


async def test_a_user_has_ten_endpoints_however_fast_he_is(ann: "Subscriber", world: "World") -> None:
    async def register() -> int:
        return (await ann.call("POST", "", {"url": URL, "subjects": ["race.finished"]})).status_code

    statuses = await asyncio.gather(*(register() for _ in range(16)))
    assert sorted(statuses) == [201] * 10 + [409] * 6
    assert code(await ann.call("POST", "", {"url": URL, "subjects": ["race.finished"]})) == (409, "too_many_endpoints")
    bob = world.subscriber(ann.http)
    await bob.register(URL)


async def test_the_leaderboard_of_a_private_league_is_for_its_members(ann: "Subscriber", world: "World") -> None:
    bob, league_id = world.subscriber(ann.http), uuid4()
    created = next(sample for sample in SAMPLES if isinstance(sample, LeagueCreated))
    joined = next(sample for sample in SAMPLES if isinstance(sample, LeagueJoined))
    body = {"url": URL, "subjects": ["leaderboard.updated"], "league_id": str(league_id)}
    await world.happen(_with(joined, league_id=league_id, user_id=ann.id))
    await world.happen(_with(created, league_id=league_id, private=True))
    assert (await ann.call("POST", "", body)).status_code == 201
    assert code(await bob.call("POST", "", body)) == (404, "unknown_league")
    endpoint = await bob.register(URL, "leaderboard.updated")
    path = f"/{endpoint['endpoint_id']}"
    assert code(await bob.call("PATCH", path, {"league_id": str(league_id)})) == (404, "unknown_league")
    await world.happen(_with(joined, league_id=league_id, user_id=bob.id))
    assert (await bob.call("PATCH", path, {"league_id": str(league_id)})).json()["league_id"] == str(league_id)
    assert (await bob.call("PATCH", path, {"league_id": None})).json()["league_id"] is None


def _with(event: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(event, **changes)


async def test_a_test_event_shows_what_the_receiver_answers(ann: "Subscriber", receiver: "Receiver") -> None:
    endpoint = await ann.register(receiver.url)
    sent = await ann.call("POST", f"/{endpoint['endpoint_id']}/test")
    assert (sent.status_code, sent.json()["status"]) == (202, "pending")
    (request,) = await receiver.heard(1)
    assert b"paddock.webhook.test.v1" in request.body
    (delivery,) = await ann.ended(endpoint)
    assert (delivery["subject"], delivery["status"]) == ("webhook.test", "delivered")
    path = f"/{endpoint['endpoint_id']}/deliveries/{delivery['delivery_id']}"
    assert (await ann.call("GET", path)).json() == delivery
    assert delivery["delivery_id"] == sent.json()["delivery_id"]


async def test_tests_are_limited(world: "World", start: "Start") -> None:
    ann = world.subscriber(await start(tests_per_hour=2))
    endpoint = await ann.register(URL)
    path = f"/{endpoint['endpoint_id']}/test"
    assert [(await ann.call("POST", path)).status_code for _ in range(2)] == [202, 202]
    refused = await ann.call("POST", path)
    assert code(refused) == (429, "too_many_tests")
    assert int(refused.headers["retry-after"]) > 0


async def test_a_disabled_endpoint_gets_nothing_until_it_is_enabled(
    ann: "Subscriber", world: "World", receiver: "Receiver"
) -> None:
    endpoint = await ann.register(receiver.url)
    path = f"/{endpoint['endpoint_id']}"
    await world.happen()
    (delivery,) = await ann.ended(endpoint)
    disabled = (await ann.call("POST", f"{path}/disable")).json()
    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "owner")
    assert (await ann.call("POST", f"{path}/disable")).json() == disabled
    redeliver = f"{path}/deliveries/{delivery['delivery_id']}/redeliver"
    assert code(await ann.call("POST", f"{path}/test")) == (409, "endpoint_disabled")
    assert code(await ann.call("POST", redeliver)) == (409, "endpoint_disabled")
    await world.happen()
    assert (await ann.call("POST", f"{path}/enable")).json()["enabled"]
    assert len(await ann.log(endpoint)) == 1
    assert (await ann.call("POST", redeliver)).status_code == 202
    await receiver.heard(2)


async def test_what_has_not_ended_cannot_be_delivered_again(
    ann: "Subscriber", world: "World", receiver: "Receiver", answer: "type[Answer]"
) -> None:
    receiver.behave = lambda _: answer(status=500)
    endpoint = await ann.register(receiver.url)
    await world.happen()
    await receiver.heard(1)
    (delivery,) = await ann.log(endpoint)
    path = f"/{endpoint['endpoint_id']}/deliveries"
    refused = await ann.call("POST", f"{path}/{delivery['delivery_id']}/redeliver")
    assert code(refused) == (409, "delivery_pending")
    assert code(await ann.call("GET", f"{path}/{UNKNOWN}")) == (404, "unknown_delivery")
    assert code(await ann.call("POST", f"{path}/{UNKNOWN}/redeliver")) == (404, "unknown_delivery")


async def test_the_log_comes_in_pages_and_by_status(
    ann: "Subscriber", world: "World", receiver: "Receiver", answer: "type[Answer]"
) -> None:
    receiver.behave = lambda request: answer(status=500 if b"prices.changed" in request.body else 200)
    endpoint = await ann.register(receiver.url, "race.finished", "prices.changed")
    for subject in ("race.finished", "prices.changed", "race.finished"):
        await world.happen(subject)
    await ann.ended(endpoint, 2)
    path = f"/{endpoint['endpoint_id']}/deliveries"
    whole = (await ann.call("GET", path)).json()
    assert (whole["total"], whole["skip"], whole["limit"]) == (3, 0, 20)
    assert [item["subject"] for item in whole["items"]] == ["race.finished", "prices.changed", "race.finished"]
    second = (await ann.call("GET", path, skip=1, limit=1)).json()
    assert [item["delivery_id"] for item in second["items"]] == [whole["items"][1]["delivery_id"]]
    pending = (await ann.call("GET", path, status="pending")).json()
    assert [item["subject"] for item in pending["items"]] == ["prices.changed"]
    for query in ({"limit": 0}, {"limit": 101}, {"skip": -1}, {"status": "lost"}):
        assert code(await ann.call("GET", path, **query)) == (422, "invalid_request")


async def test_another_url_begins_without_the_failures_of_the_old_one(
    ann: "Subscriber", world: "World", receiver: "Receiver", another: "Receiver", answer: "type[Answer]"
) -> None:
    receiver.behave = lambda _: answer(status=500)
    endpoint = await ann.register(receiver.url)
    await world.happen()

    async def failed() -> bool:
        return bool((await ann.read(endpoint))["failures"])

    await eventually(failed, what="a failure")
    changed = (await ann.call("PATCH", f"/{endpoint['endpoint_id']}", {"url": another.url})).json()
    assert (changed["failures"], changed["failing_since"]) == (0, None)
    await world.execute("UPDATE deliveries SET due_at = now()")
    assert (await another.heard(1))[0].path == "/hook"
