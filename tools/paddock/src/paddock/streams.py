"""The topology as one object: every stream, and every durable of every service; compared with a server, or rendered.

Services make their own durables, with these very configurations, and set them right when they drift. On Kubernetes NACK
may own the streams instead of `paddock topology apply`: `documents` renders what it reads.
"""

from collections.abc import Iterator
from typing import Any

import nats.js.errors
import yaml
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, StreamConfig

from common import migrate, topology
from common.consumers import Mode
from paddock import nats_users

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
    "deny_delete",
    "deny_purge",
)
CONSUMER_FIELDS = ("filter_subject", "filter_subjects", "ack_policy", "ack_wait", "max_deliver", "max_ack_pending")
RENDERED = "deploy/k8s/components/nack/topology.yaml"


def durables() -> Iterator[tuple[str, ConsumerConfig]]:
    """Yield stream and configuration of every durable of every service."""
    for service in migrate.SERVICES:
        registry = nats_users.registry(service)
        for consumer in registry.durables() if registry else ():
            if consumer.mode is not Mode.ORDERED:  # those have no durable: their cursors are in the database
                yield consumer.stream, consumer.config()


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
        try:
            config = (await js.consumer_info(stream_name, name)).config
        except nats.js.errors.NotFoundError:
            found.append(f"consumer {name} is missing on {stream_name}")
            continue
        found += [f"consumer {name}: {line}" for line in _compare(config, wanted, CONSUMER_FIELDS)]
    return found


def _compare(live: StreamConfig | ConsumerConfig, wanted: StreamConfig | ConsumerConfig, fields: Any) -> Iterator[str]:  # noqa: ANN401 - names
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
            "duplicateWindow": f"{int(config.duplicate_window or 0)}s",
            "replicas": REPLICAS,
            "allowDirect": config.allow_direct,
            "denyDelete": config.deny_delete,
            "denyPurge": config.deny_purge,
            "preventDelete": True,
        },
    }


def _consumer_resource(stream: str, config: ConsumerConfig) -> dict[str, Any]:
    filters = (
        {"filterSubject": config.filter_subject}
        if config.filter_subject
        else {"filterSubjects": config.filter_subjects or []}
    )
    return {
        "apiVersion": "jetstream.nats.io/v1beta2",
        "kind": "Consumer",
        "metadata": {"name": str(config.durable_name).replace("_", "-").lower()},
        "spec": {
            "streamName": stream,
            "durableName": config.durable_name,
            **filters,
            "deliverPolicy": _plain(config.deliver_policy),
            "ackPolicy": _plain(config.ack_policy),
            "ackWait": f"{int(config.ack_wait or 0)}s",
            "maxDeliver": config.max_deliver,
            "maxAckPending": config.max_ack_pending,
            "preventDelete": True,
        },
    }
