"""Documents about events, generated from the contracts: schemas, samples, `events.md` and AsyncAPI 3."""

import json
from typing import Any

import msgspec
import yaml

from common.contracts import REGISTRY, Event, encode
from common.contracts.samples import SAMPLES

CONSUMERS = {
    "user.registered": ["leagues"],
    "season.synced": ["leagues", "scoring", "analytics"],
    "session.started": ["leagues"],
    "race.finished": [],
    "results.synced": ["scoring", "analytics"],
    "results.amended": ["scoring", "analytics"],
    "league.created": ["scoring"],
    "league.joined": ["scoring"],
    "team.created": ["scoring"],
    "lineup.submitted": ["scoring"],
    "lineups.locked": ["scoring"],
    "race.scored": [],
    "leaderboard.updated": [],
    "prices.changed": ["leagues"],
}
"""Which of our own services read an event; a test holds this against their consumers."""

HEADERS: dict[str, Any] = {
    "type": "object",
    "required": ["Nats-Msg-Id", "ce-specversion", "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time"],
    "properties": {
        "Nats-Msg-Id": {
            "type": "string",
            "format": "uuid",
            "description": "The event id, for deduplication",
        },
        "ce-specversion": {"const": "1.0"},
        "ce-id": {"type": "string", "format": "uuid", "description": "The event id; keep it to recognise a redelivery"},
        "ce-type": {"type": "string", "description": "The subject"},
        "ce-source": {"type": "string", "description": "/paddock/ and the service that owns the event"},
        "ce-subject": {"type": "string", "description": "The aggregate the fact is about; order is kept within it"},
        "ce-time": {"type": "string", "format": "date-time"},
        "ce-datacontenttype": {"const": "application/json"},
        "ce-dataschema": {"type": "string"},
        "traceparent": {"type": "string", "description": "W3C trace context"},
    },
}


def schema(kind: type[Event]) -> dict[str, Any]:
    """Return the JSON Schema of an event's body, self-contained."""
    (reference,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    definition = components.pop(reference["$ref"].rsplit("/", 1)[1])
    definition["description"] = _first_line(kind)
    body = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:paddock:schema:{kind.subject}",
        **definition,
    }
    if components:
        body["$defs"] = dict(sorted(components.items()))
    return body


def documents() -> dict[str, str]:
    """Return every generated file about events, by its path below `docs/`."""
    files = {"events.md": markdown(), "asyncapi.yaml": asyncapi()}
    for subject, kind in REGISTRY.items():
        files[f"events/{subject}.schema.json"] = json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"
    for sample in SAMPLES:
        body = msgspec.json.format(encode(sample), indent=2).decode()
        files[f"events/{sample.subject}.sample.json"] = body + "\n"
    return files


def asyncapi() -> str:
    """Render the AsyncAPI 3 document."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for subject, kind in REGISTRY.items():
        name = kind.__name__
        channels[subject] = {
            "address": subject,
            "title": name,
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        }
        operations[f"receive{name}"] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{_pointer(subject)}"},
            "summary": _first_line(kind),
        }
        messages[name] = {
            "name": subject,
            "title": name,
            "summary": _first_line(kind),
            "contentType": "application/json",
            "headers": {"$ref": "#/components/schemas/CloudEventHeaders"},
            "payload": {"$ref": f"#/components/schemas/{name}"},
        }
        _, components = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
        schemas |= components
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Paddock events",
            "version": "1.0.0",
            "description": "Facts of a fantasy Formula 1 season, as CloudEvents 1.0 in binary mode on NATS JetStream.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"nats": {"host": "localhost:4222", "protocol": "nats", "description": "Stream EVENTS"}},
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": {"CloudEventHeaders": HEADERS, **dict(sorted(schemas.items()))},
        },
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def markdown() -> str:
    """Render `events.md`, the page for people who subscribe."""
    samples = {sample.subject: sample for sample in SAMPLES}
    parts = [_INTRODUCTION, "| subject | published by | read by | says |", "|---|---|---|---|"]
    for subject, kind in REGISTRY.items():
        readers = ", ".join(CONSUMERS[subject]) or "subscribers"
        parts.append(
            f"| [`{subject}`](#{subject.replace('.', '')}) | {kind.source} | {readers} | {_first_line(kind)} |"
        )
    for subject, kind in REGISTRY.items():
        parts += ["", f"## {subject}", "", f"{_first_line(kind)} Version {kind.version}.", ""]
        parts += [f"[Schema](events/{subject}.schema.json) · [sample](events/{subject}.sample.json)", ""]
        parts += ["| field | type | |", "|---|---|---|"]
        body = schema(kind)
        required = set(body.get("required", []))
        for field, shape in body["properties"].items():
            parts.append(f"| `{field}` | {_type_name(shape)} | {'' if field in required else 'optional'} |")
        parts += ["", "```json", _short(msgspec.json.format(encode(samples[subject]), indent=2).decode()), "```"]
    return "\n".join(parts) + "\n"


_INTRODUCTION = """# Events

<!-- Generated from libs/common/src/common/contracts by `make docs`; edit there. -->

Every event is a fact in the past tense. It reaches you as a [CloudEvent 1.0](https://cloudevents.io) in binary mode:
the attributes are NATS headers (`ce-id`, `ce-type`, `ce-source`, `ce-subject`, `ce-time`), the body is JSON. The
JetStream stream is `EVENTS`; it keeps 30 days.

What you may rely on:

- **At least once.** An event can come again; its `ce-id` is the same then. Remember it together with the effect.
- **Order within a `ce-subject`** as it was published; none across. A redelivery can come late. Where a fact has
  versions (`result_version`, `score_version`, …), keep the highest and ignore the rest.
- **A shape only grows.** A published version gains optional fields at most, so ignore what you do not know. Anything
  else is a new subject with the suffix `.v2`, published beside the old one.
- **Nothing personal.** Events name users by id and chosen name; no e-mail address travels.

A durable consumer with the NATS command line:

    nats consumer add EVENTS my-bot --filter 'race.scored' --pull --ack explicit --deliver all --defaults
    nats consumer next EVENTS my-bot --count 10
"""


def _first_line(kind: type[Event]) -> str:
    return (kind.__doc__ or "").strip().split("\n")[0]


def _pointer(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _type_name(shape: dict[str, Any]) -> str:
    if "$ref" in shape:
        return f"`{shape['$ref'].rsplit('/', 1)[1]}`"
    if "anyOf" in shape:
        return " or ".join(_type_name(option) for option in shape["anyOf"])
    if shape.get("type") == "array":
        return f"list of {_type_name(shape.get('items', {}))}"
    return str(shape.get("format") or shape.get("type") or "any")


def _short(body: str, lines: int = 40) -> str:
    rows = body.split("\n")
    return body if len(rows) <= lines else "\n".join([*rows[:lines], "  …"])
