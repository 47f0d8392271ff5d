"""The topology is one object: what is applied, checked and rendered for NACK is the same, field by field."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
import yaml
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DiscardPolicy, StreamConfig

from common import topology
from devstack.nats import NatsServer
from devstack.servers import start_nats
from paddock import operating, streams
from paddock.__main__ import main

ROOT = Path(__file__).parents[3]
DAY_SECONDS = 24 * 3600

STREAM_NAMES = {
    "name": "name",
    "description": "description",
    "subjects": "subjects",
    "retention": "retention",
    "storage": "storage",
    "discard": "discard",
    "max_age": "maxAge",
    "max_bytes": "maxBytes",
    "max_msg_size": "maxMsgSize",
    "duplicate_window": "duplicateWindow",
    "allow_direct": "allowDirect",
    "deny_delete": "denyDelete",
    "deny_purge": "denyPurge",
    "num_replicas": "replicas",
}
CONSUMER_NAMES = {
    "durable_name": "durableName",
    "filter_subject": "filterSubject",
    "filter_subjects": "filterSubjects",
    "deliver_policy": "deliverPolicy",
    "ack_policy": "ackPolicy",
    "ack_wait": "ackWait",
    "max_deliver": "maxDeliver",
    "max_ack_pending": "maxAckPending",
}
"""How nats-py and NACK call the same."""
UNSET = {"name"}
"""Of a consumer: its name is that of the durable."""

Resource = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    started = start_nats(tmp_path_factory.mktemp("nats"), durable=False)
    yield started
    started.stop()


@pytest.fixture
async def js(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JetStreamContext]:
    monkeypatch.setenv("NATS_URL", server.url)
    client = await nats.connect(server.url)
    yield client.jetstream()
    await client.close()


@pytest.fixture
async def applied(js: JetStreamContext) -> JetStreamContext:
    await operating.run("topology", ["apply"])
    assert await operating.run("topology", ["check"]) == ["streams and consumers are as the code has them"]
    return js


def resources(kind: str) -> list[Resource]:
    text = (ROOT / streams.RENDERED).read_text(encoding="utf-8")
    return [resource for resource in yaml.safe_load_all(text) if resource["kind"] == kind]


def as_nack(config: StreamConfig | ConsumerConfig, names: dict[str, str]) -> Resource:
    """Say in NACK's words what is set in a configuration; fail for a field that these have no word for."""
    said = {}
    for field, told in config.__dataclass_fields__.items():
        value = getattr(config, field)
        if field not in names and (not value or value == told.default or field in UNSET):
            continue
        assert field in names, f"{field} is set and not rendered"
        said[names[field]] = value
    return said


def in_seconds(value: Any) -> Any:
    """Make numbers of durations, and words of enumerations."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)s", value)):
        return int(match[1])
    return getattr(value, "value", value)


def test_every_field_of_every_stream_is_rendered_and_three_replicas_keep_it() -> None:
    rendered = {resource["spec"]["name"]: resource["spec"] for resource in resources("Stream")}
    assert list(rendered) == ["EVENTS", "DLQ", "ADVISORIES", "AUDIT"]
    for config in topology.STREAMS:
        spec = rendered[str(config.name)]
        for name, value in as_nack(config, STREAM_NAMES).items():
            wanted = 3 if name == "replicas" else in_seconds(value)
            assert in_seconds(spec.get(name)) == wanted or (not wanted and not spec.get(name)), (config.name, name)
        assert spec["preventDelete"] is True
        assert set(spec) <= {*STREAM_NAMES.values(), "preventDelete"}


def test_every_field_of_every_durable_is_rendered() -> None:
    rendered = {resource["spec"]["durableName"]: resource["spec"] for resource in resources("Consumer")}
    durables = list(streams.durables())
    assert set(rendered) == {config.durable_name for _, config in durables}
    assert {"keeper_advisories", "scoring_redrive", "leagues_redrive"} <= set(rendered)
    for stream, config in durables:
        spec = rendered[str(config.durable_name)]
        assert spec["streamName"] == stream
        for name, value in as_nack(config, CONSUMER_NAMES).items():
            assert in_seconds(spec.get(name)) == in_seconds(value), (config.durable_name, name)
        assert spec["preventDelete"] is True
        assert set(spec) <= {*CONSUMER_NAMES.values(), "streamName", "preventDelete"}


def test_a_field_that_nobody_renders_is_noticed() -> None:
    with pytest.raises(AssertionError, match="sealed is set and not rendered"):
        as_nack(topology.STREAMS[0].evolve(sealed=True), STREAM_NAMES)


def test_the_resources_have_names_that_kubernetes_takes_and_each_its_own() -> None:
    names = [
        (resource["kind"], resource["metadata"]["name"]) for resource in [*resources("Stream"), *resources("Consumer")]
    ]
    assert len(set(names)) == len(names)
    assert [name for _, name in names if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,251}[a-z0-9])?", name)] == []
    assert {resource["apiVersion"] for resource in resources("Consumer")} == {"jetstream.nats.io/v1beta2"}


def test_the_broker_is_told_to_forget_nothing_too_early() -> None:
    for stream in resources("Stream"):
        spec = stream["spec"]
        assert spec["storage"] == "file"
        assert spec["replicas"] == 3
        assert in_seconds(spec["duplicateWindow"]) >= 600
        assert in_seconds(spec["maxAge"]) >= 30 * DAY_SECONDS
        assert spec["discard"] == "new" or spec["maxBytes"] > 0, "full without an end, or forgetful"
        assert "persistMode" not in spec
    assert {resource["spec"]["maxDeliver"] for resource in resources("Consumer")} == {-1}


async def test_what_is_applied_is_what_the_check_wants_and_applying_again_changes_nothing(
    applied: JetStreamContext,
) -> None:
    before = [(await applied.stream_info(str(config.name))).config for config in topology.STREAMS]
    lines = await operating.run("topology", ["apply"])
    assert lines[-1] == f"durables: 0 created, 0 changed, {len(list(streams.durables()))} up to date"
    assert [(await applied.stream_info(str(config.name))).config for config in topology.STREAMS] == before


STREAM_CHANGES: dict[str, Any] = {
    "subjects": [*(topology.STREAMS[0].subjects or []), "gossip.>"],
    "discard": DiscardPolicy.OLD,
    "max_age": 3600,
    "max_msg_size": 2048,
    "duplicate_window": 60,
    "allow_direct": False,
}
CONSUMER_CHANGES: dict[str, Any] = {
    "filter_subject": "race.finished",
    "ack_wait": 7,
    "max_deliver": 5,
    "max_ack_pending": 3,
}


@pytest.mark.parametrize("field", STREAM_CHANGES)
async def test_a_difference_in_a_field_of_a_stream_is_told_and_mended(applied: JetStreamContext, field: str) -> None:
    live = (await applied.stream_info(topology.EVENTS)).config
    await applied.update_stream(live.evolve(**{field: STREAM_CHANGES[field]}))
    with pytest.raises(operating.OperatingError, match=rf"^stream EVENTS: {field} is [^\n]*, should be [^\n]*$"):
        await operating.run("topology", ["check"])
    await operating.run("topology", ["apply"])
    assert await operating.run("topology", ["check"]) == ["streams and consumers are as the code has them"]


@pytest.mark.parametrize("field", CONSUMER_CHANGES)
async def test_a_difference_in_a_field_of_a_durable_is_told_and_mended(applied: JetStreamContext, field: str) -> None:
    name, wanted = "scoring_store-team_team-created", dict(_by_name())["scoring_store-team_team-created"]
    await applied.add_consumer(topology.EVENTS, wanted.evolve(**{field: CONSUMER_CHANGES[field]}))
    with pytest.raises(operating.OperatingError, match=rf"^consumer {name}: {field} is [^\n]*, should be [^\n]*$"):
        await operating.run("topology", ["check"])
    lines = await operating.run("topology", ["apply"])
    assert "1 changed" in lines[-1]
    assert await operating.run("topology", ["check"]) == ["streams and consumers are as the code has them"]


def _by_name() -> Iterator[tuple[str, ConsumerConfig]]:
    for _, config in streams.durables():
        yield str(config.durable_name), config


def test_a_difference_ends_the_command_with_an_error(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NATS_URL", server.url)
    monkeypatch.setattr(sys, "argv", ["paddock", "topology", "apply"])
    main()
    assert "durables: " in capsys.readouterr().out
    asyncio.run(_delete(server.url))
    monkeypatch.setattr(sys, "argv", ["paddock", "topology", "check"])
    with pytest.raises(SystemExit, match="consumer scoring_redrive is missing on DLQ") as ended:
        main()
    assert ended.value.code not in (0, None)


async def _delete(url: str) -> None:
    client = await nats.connect(url)
    await client.jetstream().delete_consumer(topology.DEAD_LETTERS, "scoring_redrive")
    await client.close()


async def test_what_is_missing_is_told_and_made(applied: JetStreamContext) -> None:
    await applied.delete_consumer(topology.DEAD_LETTERS, "scoring_redrive")
    await applied.delete_stream(topology.ADVISORIES)
    with pytest.raises(operating.OperatingError) as found:
        await operating.run("topology", ["check"])
    assert str(found.value).splitlines() == [
        "stream ADVISORIES is missing",
        "consumer scoring_redrive is missing on DLQ",
        "consumer keeper_advisories is missing on ADVISORIES",
    ]
    lines = await operating.run("topology", ["apply"])
    assert "ADVISORIES: created" in lines
    assert "2 created" in lines[-1]


async def test_what_is_the_operators_to_choose_stays_and_is_no_difference(applied: JetStreamContext) -> None:
    live = (await applied.stream_info(topology.EVENTS)).config
    await applied.update_stream(live.evolve(max_bytes=50_000_000, metadata={"team": "races"}))
    await operating.run("topology", ["apply"])
    assert await operating.run("topology", ["check"]) == ["streams and consumers are as the code has them"]
    kept = (await applied.stream_info(topology.EVENTS)).config
    assert kept.max_bytes == 50_000_000
    assert (kept.metadata or {})["team"] == "races"


async def test_the_rendered_resources_are_printed_as_they_are_committed(js: JetStreamContext) -> None:
    del js
    [text] = await operating.run("topology", ["render"])
    assert text + "\n" == (ROOT / streams.RENDERED).read_text(encoding="utf-8")
