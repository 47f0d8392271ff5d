"""`events.md`, the page for people who subscribe: how, what is promised, and every event."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import msgspec

from common.contracts import REGISTRY, Event, encode, schema_of, split, type_of
from common.contracts.samples import SAMPLES
from common.contracts.schemas import json_schema
from paddock.asyncapi import headers, summary

SAMPLE_LINES = 40


def markdown(readers: dict[str, list[str]], path_of: Callable[[str, str], str]) -> str:
    """Render the page; ``readers`` are our own services by subject, ``path_of`` tells where schema and sample are."""
    samples = {sample.subject: sample for sample in SAMPLES}
    page = files("paddock").joinpath("pages/events.md").read_text(encoding="utf-8")
    parts = [page.replace("EXAMPLE_HEADERS", _example(samples["race.finished"]))]
    parts += ["| subject | published by | read by | says |", "|---|---|---|---|"]
    for subject, kind in REGISTRY.items():
        link = f"[`{subject}`](#{subject.replace('.', '')})"
        read_by = ", ".join(readers.get(subject, [])) or "subscribers"
        parts.append(f"| {link} | {kind.source} | {read_by} | {summary(kind)} |")
    for subject, kind in REGISTRY.items():
        parts += ["", *_event(kind, samples[subject], readers.get(subject, []), path_of)]
    return "\n".join(parts) + "\n"


def _event(kind: type[Event], sample: Event, readers: list[str], path_of: Callable[[str, str], str]) -> list[str]:
    body = json_schema(kind)
    subject = kind.subject
    read_by = ", ".join(f"`{reader}`" for reader in readers) or "no service of ours; it is for subscribers"
    key = " ".join((kind.key.__doc__ or "").split()).removesuffix(".")
    parts = [
        f"## {subject}",
        "",
        body["description"],
        "",
        "| | |",
        "|---|---|",
        f"| subject | `{subject}` |",
        f"| `ce-type` | `{type_of(subject)}`, major version {split(subject)[1]} |",
        f"| `ce-source` | `/paddock/{kind.source}` |",
        f"| `ce-subject` | {key}: `{sample.key()}` |",
        f"| `ce-dataschema` | `{schema_of(subject)}` |",
        f"| read by | {read_by} |",
        f"| files | [schema]({path_of(subject, 'schema')}), [sample]({path_of(subject, 'sample')}) |",
        "",
        *_fields(body),
    ]
    for name, definition in body.get("$defs", {}).items():
        parts += ["", *_definition(name, definition)]
    return [*parts, "", "```json", _short(msgspec.json.format(encode(sample), indent=2).decode()), "```"]


def _fields(body: dict[str, Any]) -> list[str]:
    required = set(body.get("required", []))
    rows = ["| field | type | |", "|---|---|---|"]
    for field, shape in body["properties"].items():
        absent = "" if field in required else f"Optional{_default(shape)}. "
        rows.append(f"| `{field}` | {_type_name(shape)} | {absent}{shape.get('description', '')} |")
    return rows


def _default(shape: dict[str, Any]) -> str:
    return "" if shape.get("default") is None else f", `{shape['default']}` when absent"


def _definition(name: str, definition: dict[str, Any]) -> list[str]:
    told = definition.get("description", "").replace("``", "`")
    if "enum" in definition:
        return [f"`{name}`: {', '.join(f'`{value}`' for value in definition['enum'])}. {told}"]
    return [f"`{name}`: {told}", "", *_fields(definition)]


def _example(sample: Event) -> str:
    return "\n".join(f"    {name}: {value}" for name, value in headers(sample).items())


def _type_name(shape: dict[str, Any]) -> str:
    if "$ref" in shape:
        return f"`{shape['$ref'].rsplit('/', 1)[1]}`"
    if "anyOf" in shape:
        return " or ".join(_type_name(option) for option in shape["anyOf"])
    if shape.get("type") == "array":
        return f"list of {_type_name(shape.get('items', {}))}"
    return str(shape.get("format") or shape.get("type") or "any")


def _short(body: str) -> str:
    rows = body.split("\n")
    return body if len(rows) <= SAMPLE_LINES else "\n".join([*rows[:SAMPLE_LINES], "  …"])
