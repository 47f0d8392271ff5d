"""Every event as it stands in JetStream, read by the reader of the CloudEvents SDK (E21)."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from common import outbox, telemetry, topology
from common.contracts import Event, encode, split
from common.contracts.samples import SAMPLES
from common.contracts.schemas import json_schema
from common.db import Database, service_metadata
from common.relay import Relay
from common.settings import Settings
from devstack.testing import Servers

SCHEMA = "auth"
"""Any service's: a relay publishes what its outbox holds."""
READ_SECONDS = 20
DUE_IN = timedelta(seconds=1)
METADATA = service_metadata()
outbox.outbox_table(METADATA)
BY_SUBJECT = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.subject)


@pytest.fixture(scope="module")
async def database(prepared: Servers) -> AsyncIterator[Database]:
    name = f"cloudevents_{uuid4().hex[:8]}"
    connection = await asyncpg.connect(prepared.database_url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    url = prepared.database_url.rsplit("/", 1)[0] + f"/{name}"
    database = Database(Settings(database_url=url, nats_url=prepared.nats_url), SCHEMA)
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE SCHEMA {SCHEMA}")
    await connection.close()
    async with database.engine.begin() as sync:
        await sync.run_sync(METADATA.create_all)
    yield database
    await database.close()


@pytest.fixture(scope="module")
async def published(prepared: Servers, database: Database) -> AsyncIterator[dict[str, Msg]]:
    """One message of every event: committed to an outbox outside of any request, carried by the relay, read back."""
    settings = Settings(nats_url=prepared.nats_url)
    client = await topology.connect(prepared.nats_url, "tests")
    js = client.jetstream()
    reader = await js.subscribe(">", stream=topology.EVENTS, ordered_consumer=True, deliver_policy=DeliverPolicy.NEW)
    async with database.transaction() as session:
        ids = {await outbox.publish(session, sample): sample.subject for sample in SAMPLES}
    relay = asyncio.create_task(Relay(database, settings).run())
    found: dict[str, Msg] = {}
    async with asyncio.timeout(READ_SECONDS):
        while len(found) < len(ids):
            message = await reader.next_msg(timeout=READ_SECONDS)
            if (event_id := UUID((message.headers or {})["Nats-Msg-Id"])) in ids:
                found[ids[event_id]] = message
    yield found
    relay.cancel()
    await asyncio.gather(relay, return_exceptions=True)
    await client.close()


def read(headers: dict[str, str], body: bytes) -> Any:
    """Read as the SDK reads binary mode. Its bindings share `ce-` headers; NATS names the content type so, too."""
    return from_binary(HTTPMessage(headers=headers, body=body), JSONFormat())


@BY_SUBJECT
def test_the_sdk_reads_the_event_that_was_published(published: dict[str, Msg], sample: Event) -> None:
    message = published[sample.subject]
    headers = message.headers or {}
    event = read(headers, message.data)
    name, major = split(sample.subject)
    assert event.get_specversion() == "1.0"
    assert str(UUID(event.get_id())) == event.get_id() == headers["Nats-Msg-Id"]
    assert event.get_source() == f"/paddock/{sample.source}"
    assert event.get_type() == f"paddock.{name}.v{major}"
    assert event.get_subject() == sample.key()
    assert event.get_datacontenttype() == "application/json"
    assert event.get_dataschema() == json_schema(type(sample))["$id"]
    assert event.get_time() == datetime.fromisoformat(headers["ce-time"])  # the SDK makes one up where there is none
    assert abs(datetime.now(UTC) - event.get_time()) < timedelta(minutes=5)
    assert event.get_time().utcoffset() == timedelta(0)
    assert event.get_data() == msgspec.json.decode(encode(sample))


@BY_SUBJECT
def test_every_event_has_a_trace_and_values_that_any_client_can_read(published: dict[str, Msg], sample: Event) -> None:
    headers = published[sample.subject].headers or {}
    assert re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]", headers["traceparent"])
    assert all(value.isascii() and value.isprintable() and "%" not in value for value in headers.values())


@pytest.mark.parametrize("name", ["ce-source", "ce-type"])
def test_the_sdk_refuses_an_event_that_lacks_an_attribute(published: dict[str, Msg], name: str) -> None:
    message = published["race.finished"]
    headers = {key: value for key, value in (message.headers or {}).items() if key != name}
    with pytest.raises(CloudEventValidationError):
        read(headers, message.data)


async def test_the_event_of_a_span_carries_its_trace_and_a_timer_the_moment_it_is_due(
    prepared: Servers, database: Database, published: dict[str, Msg]
) -> None:
    client = await topology.connect(prepared.nats_url, "tests")
    js = client.jetstream()
    due = datetime.now(UTC) + DUE_IN
    sample = next(sample for sample in SAMPLES if sample.subject == "session.started")
    parent = telemetry.current_traceparent()
    reader = await js.subscribe(sample.subject, ordered_consumer=True, deliver_policy=DeliverPolicy.NEW)
    with telemetry.span("schedule", traceparent=parent):
        async with database.transaction() as session:
            event_id = await outbox.publish(session, sample, deliver_at=due, slot="session:2026-albert_park")
    async with asyncio.timeout(READ_SECONDS):
        while True:
            message = await reader.next_msg(timeout=READ_SECONDS)
            headers = message.headers or {}
            if headers["ce-id"] == str(event_id):
                break
    assert headers["traceparent"].split("-")[1] == parent.split("-")[1]
    assert read(headers, message.data).get_time() == due
    assert headers["ce-id"] != (published[sample.subject].headers or {})["ce-id"]
    await client.close()
