"""The topology as one object: every stream, and every durable of ours; applied, compared with a server, or rendered.

Services make durables that are missing too, with these very configurations, and set them right when they drift. On
Kubernetes NACK may own all of it instead of `paddock topology apply`: `documents` renders what it reads.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import nats.js.errors
import yaml
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, ConsumerInfo, StreamConfig

from common import migrate, topology
from common.consumers import Mode
from paddock import advisories, nats_users

REPLICAS = 3
"""Of the streams on Kubernetes, where there are three servers."""
STREAM_FIELDS = (
    "subjects",
    "retention",
    "storage",
    "discard",
    "max_age",
    "max_msg_size",
    "duplicate_window",
    "allow_direct",
    "deny_delete",
    "deny_purge",
)
CONSUMER_FIELDS = (
    "filter_subject",
    "filter_subjects",
    "deliver_policy",
    "ack_policy",
    "ack_wait",
    "max_deliver",
    "max_ack_pending",
)
RENDERED = "deploy/k8s/components/nack/topology.yaml"


def durables() -> Iterator[tuple[str, ConsumerConfig]]:
    """Yield stream and configuration of every durable of every service, and of the keeper's."""
    for service in migrate.SERVICES:
        registry = nats_users.registry(service)
        for consumer in registry.durables() if registry else ():
            if consumer.mode is not Mode.ORDERED:  # those have no durable: their cursors are in the database
                yield consumer.stream, consumer.config()
    yield topology.ADVISORIES, advisories.durable()


async def apply(js: JetStreamContext) -> list[str]:
    """Create what is missing and update what differs, but for what is the operator's to choose; say what was done."""
    lines = await topology.apply(js)
    made = changed = 0
    for stream, wanted in durables():
        live = await _consumer(js, stream, str(wanted.durable_name))
        if live is None:
            await js.add_consumer(stream, wanted)
            made += 1
        elif any(_compare(live, wanted, CONSUMER_FIELDS)):
            await js.add_consumer(stream, wanted.evolve(num_replicas=live.num_replicas, metadata=live.metadata))
            changed += 1
    return [*lines, f"durables: {made} created, {changed} changed, {len(list(durables())) - made - changed} up to date"]


async def differences(js: JetStreamContext) -> list[str]:
    """Say field by field what on the server is not as the code has it."""
    found = []
    for stream in topology.STREAMS:
        try:
            live = (await js.stream_info(str(stream.name))).config
        except nats.js.errors.NotFoundError:
            found.append(f"stream {stream.name} is missing")
            continue
        found += [f"stream {stream.name}: {line}" for line in _compare(live, stream, STREAM_FIELDS)]
    for stream_name, wanted in durables():
        name = str(wanted.durable_name)
        config = await _consumer(js, stream_name, name)
        if config is None:
            found.append(f"consumer {name} is missing on {stream_name}")
        else:
            found += [f"consumer {name}: {line}" for line in _compare(config, wanted, CONSUMER_FIELDS)]
    return found


async def _consumer(js: JetStreamContext, stream: str, name: str) -> ConsumerConfig | None:
    try:
        info: ConsumerInfo = await js.consumer_info(stream, name)
    except nats.js.errors.NotFoundError:
        return None
    return info.config


def _compare(
    live: StreamConfig | ConsumerConfig, wanted: StreamConfig | ConsumerConfig, fields: Sequence[str]
) -> Iterator[str]:
    for field in fields:
        is_now, should_be = getattr(live, field) or None, getattr(wanted, field) or None
        if _plain(is_now) != _plain(should_be):
            yield f"{field} is {_plain(is_now)}, should be {_plain(should_be)}"


def _plain(value: Any) -> Any:  # noqa: ANN401 - a field of any type
    if isinstance(value, list):
        return sorted(value)
    return value.value if hasattr(value, "value") else value


def rendered() -> str:
    """Render streams and durables as resources of NACK, `jetstream.nats.io/v1beta2`."""
    documents = [_stream_resource(stream) for stream in topology.STREAMS]
    documents += [_consumer_resource(stream, config) for stream, config in durables()]
    head = "# Written by `make docs` from the topology in code, for NACK to own. Do not edit.\n"
    return head + yaml.safe_dump_all(documents, sort_keys=False, width=120)


def _stream_resource(config: StreamConfig) -> dict[str, Any]:
    return {
        "apiVersion": "jetstream.nats.io/v1beta2",
        "kind": "Stream",
        "metadata": {"name": str(config.name).lower()},
        "spec": {
            "name": config.name,
            "description": config.description,
            "subjects": list(config.subjects or []),
            "retention": _plain(config.retention),
            "storage": _plain(config.storage),
            "discard": _plain(config.discard),
            "maxAge": f"{int(config.max_age or 0)}s",
            "maxMsgSize": config.max_msg_size,
            **({"maxBytes": config.max_bytes} if config.max_bytes else {}),
            "duplicateWindow": f"{int(config.duplicate_window or 0)}s",
            "replicas": REPLICAS,
            "allowDirect": config.allow_direct,
            "denyDelete": config.deny_delete,
            "denyPurge": config.deny_purge,
            "preventDelete": True,
        },
    }


def _consumer_resource(stream: str, config: ConsumerConfig) -> dict[str, Any]:
    filters = {"filterSubject": config.filter_subject, "filterSubjects": config.filter_subjects}
    return {
        "apiVersion": "jetstream.nats.io/v1beta2",
        "kind": "Consumer",
        "metadata": {"name": str(config.durable_name).replace("_", "-").lower()},
        "spec": {
            "streamName": stream,
            "durableName": config.durable_name,
            **{field: value for field, value in filters.items() if value},
            "deliverPolicy": _plain(config.deliver_policy),
            "ackPolicy": _plain(config.ack_policy),
            "ackWait": f"{int(config.ack_wait or 0)}s",
            "maxDeliver": config.max_deliver,
            "maxAckPending": config.max_ack_pending,
            "preventDelete": True,
        },
    }
