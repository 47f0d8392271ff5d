"""From an event to a receiver: signed, tried again, given up, and written down."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from common.contracts import encode
from common.contracts.samples import LEAGUE, SAMPLES
from common.contracts.scoring import LeaderboardUpdated
from devstack.testing import eventually

if TYPE_CHECKING:
    from services.webhooks.tests.integration.conftest import Answer, Receiver, Start, World

FAST = {"retry_factor": 0.001}
RACE = next(sample for sample in SAMPLES if sample.subject == "race.finished")


async def test_an_event_arrives_signed_as_a_cloudevent(world: "World", start: "Start", receiver: "Receiver") -> None:
    ann = world.subscriber(await start())
    endpoint = await ann.register(receiver.url)
    event_id = await world.happen("race.finished")
    (request,) = await receiver.heard(1)
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["webhook-id"] == str(event_id)
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    event = Webhook(endpoint["secret"]).verify(request.body, request.headers)
    assert (event["id"], event["type"], event["subject"]) == (str(event_id), "paddock.race.finished.v1", RACE.key())
    assert event["data"] == msgspec.json.decode(encode(RACE))
    (delivery,) = await ann.ended(endpoint)
    assert (delivery["status"], delivery["next_attempt_at"]) == ("delivered", None)
    assert delivery["event_id"] == str(event_id)
    (attempt,) = delivery["attempts"]
    assert (attempt["number"], attempt["status_code"], attempt["error"]) == (1, 204, None)
    assert 0 <= attempt["duration_ms"] < 20_000


async def test_only_those_who_asked_for_an_event_get_it(
    world: "World", start: "Start", receiver: "Receiver", another: "Receiver"
) -> None:
    http = await start()
    ann, bob = world.subscriber(http), world.subscriber(http)
    await ann.register(receiver.url, "prices.changed")
    await bob.register(another.url, "race.finished", "results.synced")
    for subject in ("prices.changed", "results.synced", "session.started"):
        await world.happen(subject)
    await receiver.heard(1)
    await another.heard(1)
    assert [request["type"] for request in map(decoded, receiver.requests)] == ["paddock.prices.changed.v1"]
    assert [request["type"] for request in map(decoded, another.requests)] == ["paddock.results.synced.v1"]
    assert await world.rows("SELECT 1 FROM messages WHERE subject = 'session.started'") == []


def decoded(request: Any) -> Any:
    return msgspec.json.decode(request.body)


async def test_a_receiver_that_fails_gets_the_same_event_again_under_the_same_id(
    world: "World", start: "Start", receiver: "Receiver", answer: "type[Answer]"
) -> None:
    ann = world.subscriber(await start(**FAST))
    receiver.behave = lambda _: answer(status=500 if len(receiver.requests) < 3 else 200, body=b"x" * 100_000)
    endpoint = await ann.register(receiver.url)
    await world.happen()
    (delivery,) = await ann.ended(endpoint)
    assert delivery["status"] == "delivered"
    assert [attempt["status_code"] for attempt in delivery["attempts"]] == [500, 500, 200]
    assert [attempt["error"] for attempt in delivery["attempts"]] == ["status", "status", None]
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
    assert len({request.body for request in receiver.requests}) == 1
    assert (await ann.read(endpoint))["failures"] == 0


async def test_an_answer_that_does_not_come_is_a_timeout(
    world: "World", start: "Start", receiver: "Receiver", answer: "type[Answer]"
) -> None:
    ann = world.subscriber(await start(request_seconds=0.3))
    receiver.behave = lambda _: answer(seconds=60)
    endpoint = await ann.register(receiver.url)
    await world.happen()

    async def tried() -> Any:
        (delivery,) = await ann.log(endpoint)
        return delivery if delivery["attempts"] else None

    delivery = await eventually(tried, what="an attempt")
    assert (delivery["attempts"][0]["error"], delivery["attempts"][0]["status_code"]) == ("timeout", None)
    assert delivery["status"] == "pending"
    assert delivery["next_attempt_at"] > delivery["attempts"][0]["attempted_at"]
    shown = await ann.read(endpoint)
    assert (shown["failures"], shown["enabled"]) == (1, True)
    assert shown["failing_since"] is not None


async def test_nobody_who_listens_and_no_http_are_told_apart(
    world: "World", start: "Start", receiver: "Receiver", answer: "type[Answer]"
) -> None:
    ann = world.subscriber(await start())
    deaf = await ann.register("http://127.0.0.1:1/")
    receiver.behave = lambda _: answer(headers={"Bad Header": "\x00"})
    mad = await ann.register(receiver.url)
    plain = await ann.register(receiver.url.replace("http://", "https://"))
    await world.happen()

    async def tried() -> list[str]:
        logs = [(await ann.log(endpoint))[0]["attempts"] for endpoint in (deaf, mad, plain)]
        return [attempts[0]["error"] for attempts in logs] if all(logs) else []

    assert await eventually(tried, what="three attempts") == ["connection", "protocol", "tls"]


async def test_a_delivery_fails_for_good_after_nine_attempts(
    world: "World", start: "Start", receiver: "Receiver", answer: "type[Answer]"
) -> None:
    ann = world.subscriber(await start(retry_factor=0.000_001))
    receiver.behave = lambda _: answer(status=503)
    endpoint = await ann.register(receiver.url)
    await world.happen()
    (delivery,) = await ann.ended(endpoint)
    assert (delivery["status"], delivery["next_attempt_at"]) == ("failed", None)
    assert [attempt["number"] for attempt in delivery["attempts"]] == list(range(1, 10))
    shown = await ann.read(endpoint)
    assert (shown["failures"], shown["enabled"]) == (9, True), "a day has not passed"


async def test_an_endpoint_that_fails_too_often_for_too_long_is_disabled_and_can_be_enabled_again(
    world: "World", start: "Start", receiver: "Receiver", answer: "type[Answer]"
) -> None:
    ann = world.subscriber(await start(retry_factor=0.000_001, disable_after_failures=4, disable_after_seconds=0))
    receiver.behave = lambda _: answer(status=500)
    endpoint = await ann.register(receiver.url)
    await world.happen()
    (delivery,) = await ann.ended(endpoint)
    assert [attempt["error"] for attempt in delivery["attempts"]] == ["status"] * 4 + ["endpoint_disabled"]
    assert len(receiver.requests) == 4
    shown = await ann.read(endpoint)
    assert (shown["enabled"], shown["disabled_reason"], shown["failures"]) == (False, "failing", 4)
    await world.happen()
    assert len(await ann.log(endpoint)) == 1, "what happens meanwhile is not for it"
    receiver.behave = lambda _: answer()
    path = f"/{endpoint['endpoint_id']}"
    enabled = (await ann.call("POST", f"{path}/enable")).json()
    assert (enabled["enabled"], enabled["failures"], enabled["failing_since"]) == (True, 0, None)
    again = await ann.call("POST", f"{path}/deliveries/{delivery['delivery_id']}/redeliver")
    assert again.status_code == 202
    (delivery,) = await ann.ended(endpoint)
    assert [attempt["number"] for attempt in delivery["attempts"]] == [1, 2, 3, 4, 5, 6]
    assert delivery["attempts"][-1]["status_code"] == 204


async def test_who_is_gone_is_disabled_at_once(
    world: "World", start: "Start", receiver: "Receiver", answer: "type[Answer]"
) -> None:
    ann = world.subscriber(await start())
    receiver.behave = lambda _: answer(status=410)
    endpoint = await ann.register(receiver.url)
    await world.happen()
    (delivery,) = await ann.ended(endpoint)
    assert (delivery["status"], len(delivery["attempts"])) == ("failed", 1)
    shown = await ann.read(endpoint)
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "gone")


async def test_a_receiver_may_ask_to_be_left_alone_for_a_while(
    world: "World", start: "Start", receiver: "Receiver", answer: "type[Answer]"
) -> None:
    ann = world.subscriber(await start(**FAST))
    receiver.behave = lambda _: answer(status=429, headers={"Retry-After": "600"})
    endpoint = await ann.register(receiver.url)
    await world.happen()
    await receiver.heard(1)

    async def put_off() -> bool:
        rows = await world.rows("SELECT extract(epoch FROM due_at - now()) FROM deliveries WHERE tries = 1")
        return bool(rows) and 590 < rows[0][0] < 601

    await eventually(put_off, what="a pause of ten minutes")
    assert (await ann.log(endpoint))[0]["status"] == "pending"


async def test_after_a_rotation_both_secrets_verify_until_the_day_is_over(
    world: "World", start: "Start", receiver: "Receiver"
) -> None:
    ann = world.subscriber(await start())
    endpoint = await ann.register(receiver.url)
    path = f"/{endpoint['endpoint_id']}"
    rotated = (await ann.call("POST", f"{path}/secret")).json()
    assert rotated["secret"] != endpoint["secret"]
    await world.happen()
    (request,) = await receiver.heard(1)
    for secret in (rotated["secret"], endpoint["secret"]):
        Webhook(secret).verify(request.body, request.headers)
    await world.execute("UPDATE endpoints SET old_secret_until = now() - interval '1 second'")
    await world.happen()
    request = (await receiver.heard(2))[1]
    Webhook(rotated["secret"]).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(endpoint["secret"]).verify(request.body, request.headers)


async def test_a_league_is_followed_instead_of_the_whole_game(
    world: "World", start: "Start", receiver: "Receiver", another: "Receiver"
) -> None:
    ann = world.subscriber(await start())
    await world.execute("INSERT INTO leagues VALUES (:league, false, :owner)", league=LEAGUE, owner=uuid4())
    await ann.register(receiver.url, "leaderboard.updated", "race.scored", league_id=str(LEAGUE))
    await ann.register(another.url, "leaderboard.updated")
    of_league = next(sample for sample in SAMPLES if isinstance(sample, LeaderboardUpdated))
    of_all = msgspec.structs.replace(of_league, league_id=None)
    of_another = msgspec.structs.replace(of_league, league_id=uuid4())
    for event in (of_another, of_all, of_league):
        await world.happen(event)
    await world.happen("race.scored")
    requests = [decoded(request) for request in await receiver.heard(2)]
    assert sorted(request["type"] for request in requests) == [
        "paddock.leaderboard.updated.v1",
        "paddock.race.scored.v1",
    ]
    assert [request["data"]["league_id"] for request in map(decoded, await another.heard(1))] == [None]
    assert (await world.rows("SELECT count(*) FROM deliveries"))[0][0] == 3


async def test_an_event_from_before_the_endpoint_is_not_sent_to_it(
    world: "World", start: "Start", receiver: "Receiver"
) -> None:
    ann = world.subscriber(await start())
    endpoint = await ann.register(receiver.url)
    await world.execute("UPDATE endpoints SET created_at = now() + interval '1 hour'")
    await world.happen()
    assert await ann.log(endpoint) == []


async def test_a_slow_endpoint_keeps_nobody_waiting(
    world: "World", start: "Start", receiver: "Receiver", another: "Receiver", answer: "type[Answer]"
) -> None:
    ann = world.subscriber(await start(concurrency=4, endpoint_concurrency=2, request_seconds=20.0, lease_seconds=30.0))
    receiver.behave = lambda _: answer(seconds=15)
    slow = await ann.register(receiver.url)
    for _ in range(20):
        await world.happen()
    await receiver.heard(2)
    await ann.register(another.url)
    for _ in range(20):
        await world.happen()
    await another.heard(20, seconds=10)
    assert receiver.connections == 2, "no more than two at once go to one endpoint"
    assert len(await ann.log(slow, status="pending", limit=100)) == 40


async def test_what_is_too_old_is_forgotten_with_its_attempts(
    world: "World", start: "Start", receiver: "Receiver"
) -> None:
    ann = world.subscriber(await start())
    endpoint = await ann.register(receiver.url)
    old, young = await world.happen(), await world.happen()
    await ann.ended(endpoint, 2)
    await world.execute("UPDATE messages SET received_at = now() - interval '31 days' WHERE event_id = :id", id=old)
    await start()

    async def forgotten() -> bool:
        return [item["event_id"] for item in await ann.log(endpoint)] == [str(young)]

    await eventually(forgotten, what="the old one's end")
    assert (await world.rows("SELECT count(*) FROM delivery_attempts"))[0][0] == 1
    assert (await world.rows("SELECT count(*) FROM messages"))[0][0] == 1
