"""The AsyncAPI 3 document: channels, what each service sends and receives, messages with headers and examples."""

from typing import Any

import msgspec
import yaml

from common.contracts import REGISTRY, Event, encode, schema_of, type_of
from common.contracts.samples import SAMPLES
from common.contracts.schemas import json_schema

EXAMPLE_ID = "5f0c9a52-7d1e-4b7a-9c43-2e8d1b6a4f90"
EXAMPLE_TIME = "2026-03-08T05:48:12.104233Z"
EXAMPLE_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

HEADERS: dict[str, Any] = {
    "type": "object",
    "required": [
        "Nats-Msg-Id",
        "ce-specversion",
        "ce-id",
        "ce-type",
        "ce-source",
        "ce-subject",
        "ce-time",
        "ce-datacontenttype",
        "ce-dataschema",
        "traceparent",
    ],
    "properties": {
        "Nats-Msg-Id": {
            "type": "string",
            "format": "uuid",
            "description": "The event id; JetStream drops a second",
        },
        "ce-specversion": {"const": "1.0"},
        "ce-id": {"type": "string", "format": "uuid", "description": "The event id; keep it to recognise a redelivery"},
        "ce-type": {"type": "string", "description": "paddock., the name and the major version"},
        "ce-source": {"type": "string", "description": "/paddock/ and the service that owns the event"},
        "ce-subject": {"type": "string", "description": "The aggregate the fact is about; order is kept within it"},
        "ce-time": {"type": "string", "format": "date-time", "description": "When it happened, in UTC"},
        "ce-datacontenttype": {"const": "application/json"},
        "ce-dataschema": {"type": "string", "description": "The $id of the body's JSON Schema"},
        "traceparent": {"type": "string", "description": "W3C trace context"},
    },
}

SECURITY = {
    "natsCredentials": {
        "type": "asymmetricEncryption",
        "description": "A NATS credentials file (a JWT and the key it was made for), from `paddock subscribers add`. "
        "The user may read the subjects it was made for and its own replies, and publish nothing but "
        "acknowledgements.",
    }
}


def asyncapi(readers: dict[str, list[str]]) -> str:
    """Render the document; ``readers`` tells which services read a subject."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for sample in sorted(SAMPLES, key=lambda sample: list(REGISTRY).index(sample.subject)):
        kind = type(sample)
        name = kind.__name__
        channels[kind.subject] = _channel(kind)
        operations |= _operations(kind, readers.get(kind.subject, []))
        messages[name] = _message(sample)
        schemas |= _schemas(kind)
    document = {
        "asyncapi": "3.0.0",
        "id": "urn:paddock:events",
        "info": {
            "title": "Paddock events",
            "version": "1.0.0",
            "description": "Facts of a fantasy Formula 1 season, as CloudEvents 1.0 in binary mode on NATS JetStream. "
            "How to subscribe, and what is promised: events.md.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"nats": _SERVER},
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": {"CloudEventHeaders": HEADERS, **dict(sorted(schemas.items()))},
            "correlationIds": {
                "eventId": {"location": "$message.header#/ce-id", "description": "The same on every delivery"}
            },
            "securitySchemes": SECURITY,
        },
    }
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)


_SERVER = {
    "host": "{host}:{port}",
    "protocol": "nats",
    "title": "NATS JetStream",
    "description": "Stream EVENTS, 30 days. Bind a durable pull consumer; core NATS subscriptions get no redelivery.",
    "variables": {"host": {"default": "127.0.0.1"}, "port": {"default": "4222"}},
    "security": [{"$ref": "#/components/securitySchemes/natsCredentials"}],
}


class _Plain(yaml.SafeDumper):
    """Writes everything out: aliases would tie parts of the document together that have nothing in common."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 - the base class's signature
        return True


def summary(kind: type[Event]) -> str:
    """Return the sentence that says what happened."""
    return (kind.__doc__ or "").strip().split("\n")[0]


def headers(sample: Event) -> dict[str, str]:
    """Return example headers of an event, as the relay makes them."""
    return {
        "Nats-Msg-Id": EXAMPLE_ID,
        "ce-specversion": "1.0",
        "ce-id": EXAMPLE_ID,
        "ce-type": type_of(sample.subject),
        "ce-source": f"/paddock/{sample.source}",
        "ce-subject": sample.key(),
        "ce-time": EXAMPLE_TIME,
        "ce-datacontenttype": "application/json",
        "ce-dataschema": schema_of(sample.subject),
        "traceparent": EXAMPLE_TRACE,
    }


def _channel(kind: type[Event]) -> dict[str, Any]:
    return {
        "address": kind.subject,
        "title": kind.__name__,
        "summary": summary(kind),
        "servers": [{"$ref": "#/servers/nats"}],
        "messages": {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"}},
        "tags": [{"name": kind.source}],
    }


def _operations(kind: type[Event], readers: list[str]) -> dict[str, Any]:
    name = kind.__name__
    found = {f"receive{name}": _operation(kind, "receive", "subscribers", summary(kind))}
    found[f"{kind.source}Sends{name}"] = _operation(kind, "send", kind.source, f"`{kind.source}` publishes it")
    for service in readers:
        found[f"{service}Receives{name}"] = _operation(kind, "receive", service, f"`{service}` reads it")
    return found


def _operation(kind: type[Event], action: str, who: str, words: str) -> dict[str, Any]:
    channel = f"#/channels/{kind.subject}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "summary": words,
        "messages": [{"$ref": f"{channel}/messages/{kind.__name__}"}],
        "tags": [{"name": who}],
    }


def _message(sample: Event) -> dict[str, Any]:
    kind = type(sample)
    own = {
        "type": "object",
        "properties": {
            "ce-type": {"const": type_of(kind.subject)},
            "ce-source": {"const": f"/paddock/{kind.source}"},
            "ce-dataschema": {"const": schema_of(kind.subject)},
        },
    }
    return {
        "name": type_of(kind.subject),
        "title": kind.__name__,
        "summary": summary(kind),
        "contentType": "application/json",
        "headers": {"allOf": [{"$ref": "#/components/schemas/CloudEventHeaders"}, own]},
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
        "correlationId": {"$ref": "#/components/correlationIds/eventId"},
        "examples": [
            {
                "name": kind.__name__[0].lower() + kind.__name__[1:],
                "headers": headers(sample),
                "payload": msgspec.json.decode(encode(sample)),
            }
        ],
    }


def _schemas(kind: type[Event]) -> dict[str, Any]:
    """Return the schemas of an event by name, its own among them, with references as AsyncAPI has them."""
    body = msgspec.to_builtins(json_schema(kind))
    parts = {**body.pop("$defs", {}), kind.__name__: body}
    del body["$schema"], body["$id"]
    text = msgspec.json.encode(parts).replace(b'"#/$defs/', b'"#/components/schemas/')
    decoded: dict[str, Any] = msgspec.json.decode(text)
    return decoded
