"""What each user of NATS may do and, act by act, what the server refuses it."""

import asyncio
import base64
import contextlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nkeys
import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

from common import denials, following, migrate, topology
from common.contracts import REGISTRY
from common.contracts.auth import SessionRevoked
from gateway import feed
from gateway.memory import TOPICS
from paddock import nats_users
from paddock.nats_authority import Authority
from paddock.nats_keys import from_credentials

USERS = [*migrate.SERVICES, "gateway"]
READERS = [service for service in migrate.SERVICES if nats_users.registry(service) is not None]
MINE: dict[str, set[str]] = {
    user: {subject for subject, kind in REGISTRY.items() if kind.source == user} for user in USERS
}

WRITES = [
    f"$JS.API.STREAM.{act}.{stream}"
    for act in ("CREATE", "UPDATE", "DELETE", "PURGE", "SNAPSHOT", "RESTORE", "MSG.DELETE", "MSG.GET")
    for stream in (topology.EVENTS, topology.DEAD_LETTERS, "KV_SUBSCRIBERS", "ANYTHING")
]
OTHERS = [
    "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.{theirs}",
    "$JS.API.CONSUMER.CREATE.EVENTS.{theirs}.{filter}",
    "$JS.API.CONSUMER.CREATE.EVENTS.{theirs}",
    "$JS.API.CONSUMER.DELETE.EVENTS.{theirs}",
    "$JS.API.CONSUMER.PAUSE.EVENTS.{theirs}",
    "$JS.API.CONSUMER.RESET.EVENTS.{theirs}",
    "$JS.API.CONSUMER.INFO.EVENTS.{theirs}",
    "$JS.API.CONSUMER.MSG.NEXT.EVENTS.{theirs}",
    "$JS.ACK.EVENTS.{theirs}.1.1.1.1.0",
    "$JS.ACK.D.A.EVENTS.{theirs}.1.1.1.1.0",
    "dlq.{theirs}.1",
]
NOBODY = [
    "$JS.API.CONSUMER.CREATE.EVENTS",  # unnamed in the subject, and any name in the body: it would reach every durable
    "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.mine",
    "$JS.API.CONSUMER.LIST.EVENTS",
    "$JS.API.DIRECT.GET.EVENTS",
    "$JS.API.DIRECT.GET.EVENTS.race.scored",
    "$JS.API.ACCOUNT.PURGE.PADDOCK",
    "$JS.API.META.LEADER.STEPDOWN",
    "$SYS.REQ.CLAIMS.UPDATE",
    "$SYS.REQ.ACCOUNT.PADDOCK.CONNZ",
    "$KV.SUBSCRIBERS.somebody",
    "audit.subscribers.add",
    "redrive.scoring.anything",
    "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.EVENTS.x",
    "_INBOX_paddock.forged",
]


def others_of(user: str) -> list[Any]:
    """The durables of everybody else."""
    registries = [nats_users.registry(service) for service in READERS if service != user]
    return [consumer for registry in registries if registry for consumer in registry.all]


@pytest.mark.parametrize("user", USERS)
async def test_a_user_cannot_touch_a_stream(access: Any, user: str) -> None:
    caller = await access.connect(user)
    assert [subject for subject in WRITES if not await caller.refused(subject, b"{}")] == []


@pytest.mark.parametrize("user", USERS)
async def test_a_user_publishes_only_events_of_its_own(access: Any, user: str) -> None:
    caller = await access.connect(user)
    assert [subject for subject in REGISTRY if subject not in MINE[user] and not await caller.refused(subject)] == []


@pytest.mark.parametrize("user", USERS)
async def test_a_user_cannot_reach_the_durable_of_another(access: Any, user: str) -> None:
    caller = await access.connect(user)
    subjects = [
        act.format(theirs=consumer.durable, filter=consumer.filters[0])
        for consumer in others_of(user)
        for act in OTHERS
    ]
    assert len(subjects) > len(OTHERS)
    assert [subject for subject in subjects if not await caller.refused(subject, b"{}")] == []


@pytest.mark.parametrize("user", USERS)
async def test_nobody_but_the_operator_may_do_what_is_the_operators(access: Any, user: str) -> None:
    caller = await access.connect(user)
    assert [subject for subject in NOBODY if not await caller.refused(subject, b"{}")] == []


@pytest.mark.parametrize("user", USERS)
async def test_a_user_hears_only_replies_to_itself(access: Any, user: str) -> None:
    caller = await access.connect(user)
    for subject in (">", "*.>", "_INBOX.>", "_INBOX_paddock.>", "race.scored", "user.>", "$JS.>", "$SYS.>", "dlq.>"):
        assert await caller.deaf(subject), subject
    assert not await caller.deaf(f"_INBOX_{user}.anything")


@pytest.mark.parametrize("service", migrate.SERVICES)
async def test_a_service_publishes_its_events(access: Any, service: str) -> None:
    js = (await access.connect(service)).client.jetstream()
    for subject in MINE[service]:
        assert (await js.publish(subject, b"{}", stream=topology.EVENTS)).stream == topology.EVENTS


@pytest.mark.parametrize("service", READERS)
async def test_a_service_makes_reads_and_acknowledges_its_consumers(access: Any, service: str) -> None:
    caller = await access.connect(service)
    operator = (await access.connect("paddock")).client.jetstream()
    registry = nats_users.registry(service)
    assert registry is not None
    for consumer in registry.durables():
        if consumer.stream != topology.EVENTS:
            continue  # the stream of redriven letters is exercised with the dead letters
        js = caller.client.jetstream()
        for name in consumer.names():
            await js.add_consumer(consumer.stream, consumer.config().evolve(name=name, durable_name=name))
            await operator.publish(consumer.filters[0], b"{}", stream=topology.EVENTS)
            reader = await js.pull_subscribe_bind(consumer=name, stream=consumer.stream)
            (message,) = await reader.fetch(1, timeout=5)
            await message.in_progress()
            await message.ack_sync()
            assert (await reader.consumer_info()).ack_floor.stream_seq == message.metadata.sequence.stream
        assert not await caller.refused(f"dlq.{consumer.durable}.1")
    assert not caller.complaints


@pytest.mark.parametrize("service", READERS)
async def test_a_service_cannot_widen_the_filter_of_its_own_durable(access: Any, service: str) -> None:
    caller = await access.connect(service)
    registry = nats_users.registry(service)
    assert registry is not None
    for consumer in registry.all:
        if len(consumer.filters) != 1:
            continue
        name, own = consumer.names()[0], consumer.filters[0]
        assert await caller.refused(f"$JS.API.CONSUMER.CREATE.EVENTS.{name}")
        assert await caller.refused(f"$JS.API.CONSUMER.CREATE.EVENTS.{name}.user.>")
        for other in ({}, {"filter_subject": "user.>"}, {"filter_subjects": ["user.>", own]}):
            config = {"name": name, "ack_policy": "explicit", **other}
            answer = await ask(caller.client, f"$JS.API.CONSUMER.CREATE.EVENTS.{name}.{own}", config)
            assert answer["error"]["err_code"] in (10131, 10137), (other, answer)


async def test_the_gateway_makes_consumers_under_its_own_names_only(access: Any) -> None:
    caller = await access.connect("gateway")
    js = caller.client.jetstream()
    name = following.names("gateway", feed.PURPOSE)[0]
    made = await js.add_consumer(topology.EVENTS, ConsumerConfig(name=name, filter_subjects=list(TOPICS)))
    assert made.name == name
    forged = {"name": "scoring_anything", "filter_subject": "race.scored"}
    answer = await ask(caller.client, f"$JS.API.CONSUMER.CREATE.EVENTS.{name}", forged)
    assert "error" in answer


@pytest.mark.parametrize("user", USERS)
async def test_a_user_hears_of_ended_sessions_under_its_own_names_and_of_nothing_else(access: Any, user: str) -> None:
    caller = await access.connect(user)
    mine = following.names(user, denials.PURPOSE)
    ended = SessionRevoked.subject
    config = {"deliver_subject": f"_INBOX_{user}.ended", "ack_policy": "none", "filter_subject": ended}
    for name in (mine[0], mine[-1]):
        answer = await ask(
            caller.client,
            f"$JS.API.CONSUMER.CREATE.EVENTS.{name}.{ended}",
            {**config, "name": name, "mem_storage": True},
        )
        assert answer["config"]["filter_subject"] == ended
        other = {**config, "name": name, "filter_subject": "user.registered"}
        answer = await ask(caller.client, f"$JS.API.CONSUMER.CREATE.EVENTS.{name}.{ended}", other)
        assert "error" in answer
    theirs = [following.names(other, denials.PURPOSE)[0] for other in USERS if other != user]
    forbidden = [
        f"$JS.API.CONSUMER.CREATE.EVENTS.{mine[0]}",
        f"$JS.API.CONSUMER.CREATE.EVENTS.{mine[0]}.user.registered",
        f"$JS.API.CONSUMER.CREATE.EVENTS.{user}_denials_{following.FOLLOWERS}.{ended}",
        *(f"$JS.API.CONSUMER.CREATE.EVENTS.{name}.{ended}" for name in theirs),
        *(f"$JS.API.CONSUMER.DELETE.EVENTS.{name}" for name in (*mine[:1], *theirs)),
    ]
    assert [subject for subject in forbidden if not await caller.refused(subject, b"{}")] == []


async def test_who_has_no_credentials_is_refused(access: Any) -> None:
    assert "Authorization Violation" in await turned_away(access.server.url)


async def test_credentials_of_another_operator_are_refused(access: Any, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "auth")
    stranger.prepare()
    credentials = stranger.credentials_of("paddock").read_text()
    assert "Authorization Violation" in await turned_away(access.server.url, credentials)
    credentials = access.authority.credentials_of("paddock").read_text()
    assert await turned_away(access.server.url, credentials) == ""


async def turned_away(url: str, credentials: str | None = None) -> str:
    """Say hello as a client does, and return what the server has against it; nothing when it is welcome."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        hello: dict[str, Any] = {"verbose": False, "protocol": 1, "lang": "test", "version": "0"}
        if credentials is not None:
            nonce = json.loads((await reader.readline()).split(b" ", 1)[1])["nonce"]
            token, key = from_credentials(credentials)
            signature = base64.urlsafe_b64encode(nkeys.from_seed(bytearray(key.seed.encode())).sign(nonce.encode()))
            hello |= {"jwt": token, "sig": signature.decode().rstrip("=")}
        else:
            await reader.readline()
        writer.write(b"CONNECT " + json.dumps(hello).encode() + b"\r\nPING\r\n")
        answer = (await asyncio.wait_for(reader.readline(), 5)).decode()
        return "" if answer.startswith("PONG") else answer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(client: Client, subject: str, config: dict[str, Any]) -> Any:
    body = json.dumps({"stream_name": topology.EVENTS, "config": config}).encode()
    return json.loads((await client.request(subject, body, timeout=5)).data)
