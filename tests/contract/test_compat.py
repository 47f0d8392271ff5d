"""The compatibility check: each rule with a change that breaks it and one beside it that does not."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from common.contracts import REGISTRY
from paddock import compat, releases

NULL, INTEGER = {"type": "null"}, {"type": "integer"}
SCHEMA: dict[str, Any] = {
    "title": "Lap",
    "type": "object",
    "required": ["driver_id", "laps", "status", "tyre", "car", "stints", "gap"],
    "properties": {
        "driver_id": {"type": "string", "description": "Who."},
        "laps": {"type": "integer", "minimum": 0, "maximum": 78},
        "status": {"$ref": "#/$defs/Status"},
        "tyre": {"enum": ["soft", "hard"]},
        "car": {"$ref": "#/$defs/Car"},
        "stints": {"type": "array", "items": {"type": "integer"}},
        "gap": {"anyOf": [INTEGER, NULL]},
        "grid": {"anyOf": [INTEGER, NULL], "default": None},
    },
    "$defs": {
        "Status": {"enum": ["finished", "dnf"]},
        "Car": {
            "type": "object",
            "required": ["number"],
            "properties": {"number": {"type": "integer"}, "next": {"$ref": "#/$defs/Car"}},
        },
    },
}

Change = Callable[[dict[str, Any]], None]


def fields(schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema["properties"]
    return found


def drop(schema: dict[str, Any], name: str) -> None:
    del fields(schema)[name]
    schema["required"] = [field for field in schema["required"] if field != name]


def rename(schema: dict[str, Any]) -> None:
    fields(schema)["car_driver"] = {"type": "string"}
    drop(schema, "driver_id")


def add_required(schema: dict[str, Any], name: str = "pit_stops") -> None:
    fields(schema)[name] = {"type": "integer"}
    schema["required"].append(name)


def put(*path: str, value: Any) -> Change:
    def change(schema: dict[str, Any]) -> None:
        node = schema
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value

    return change


BREAKING: list[tuple[str, Change, str]] = [
    ("a field is removed", lambda schema: drop(schema, "laps"), "field `laps` removed"),
    ("an optional field is removed", lambda schema: drop(schema, "grid"), "field `grid` removed"),
    ("a field is renamed", rename, "field `driver_id` removed (renamed to `car_driver`?)"),
    ("a field of a part is removed", put("$defs", "Car", "properties", value={}), "field `car.number` removed"),
    ("a required field is added", add_required, "field `pit_stops` is new and required"),
    ("a required field of a part is added", lambda s: add_required(s["$defs"]["Car"]), "field `car.pit_stops` is new"),
    ("a field becomes optional", lambda s: s["required"].remove("laps"), "field `laps` was always there"),
    ("a field becomes required", lambda s: s["required"].append("grid"), "field `grid` was optional"),
    ("null is no longer allowed", put("properties", "gap", value={"type": "integer"}), "field `gap` narrowed from"),
    (
        "null becomes allowed",
        put("properties", "driver_id", value={"anyOf": [{"type": "string"}, {"type": "null"}]}),
        "field `driver_id` widened from string",
    ),
    ("a type changes", put("properties", "laps", "type", value="string"), "field `laps` changed from integer"),
    (
        "an item's type changes",
        put("properties", "stints", "items", "type", value="string"),
        "`stints[]` changed",
    ),
    (
        "a range narrows",
        put("properties", "laps", "maximum", value=70),
        "`laps`: `maximum` changed from 78 to 70",
    ),
    ("a range widens", put("properties", "laps", "maximum", value=80), "`laps`: `maximum` changed from 78 to 80"),
    ("a range is new", put("properties", "driver_id", "maxLength", value=3), "field `driver_id`: `maxLength` changed"),
    ("a format is new", put("properties", "driver_id", "format", value="uuid"), "field `driver_id`: `format` changed"),
    ("a default changes", put("properties", "grid", "default", value=20), "field `grid`: `default` changed"),
    ("a value goes", put("properties", "tyre", "enum", value=["soft"]), 'field `tyre` narrowed: value "hard" removed'),
    (
        "a value comes",
        put("$defs", "Status", "enum", value=["finished", "dnf", "dsq"]),
        'field `status` widened: value "dsq" added',
    ),
    ("an enumeration opens", put("$defs", "Status", value={"type": "string"}), "field `status` widened from an enum"),
    (
        "a text becomes an enumeration",
        put("properties", "driver_id", value={"enum": ["russell"]}),
        "field `driver_id` narrowed to an enumeration",
    ),
    (
        "a list becomes one",
        put("properties", "stints", value={"type": "integer"}),
        "field `stints` changed from array to integer",
    ),
]

HARMLESS: list[tuple[str, Change]] = [
    ("nothing changes", lambda _: None),
    ("an optional field is added", put("properties", "pit_stops", value={"type": "integer", "default": 0})),
    ("an optional field of a part is added", put("$defs", "Car", "properties", "name", value={"type": "string"})),
    ("words change", put("properties", "driver_id", "description", value="The driver.")),
    ("a title changes", put("title", value="FlyingLap")),
    ("the order of values changes", put("properties", "tyre", "enum", value=["hard", "soft"])),
    (
        "the order of alternatives changes",
        put("properties", "gap", "anyOf", value=[NULL, INTEGER]),
    ),
    ("a part is written in place", put("properties", "status", value={"enum": ["finished", "dnf"]})),
    ("an enumeration says its type", put("properties", "tyre", value={"type": "string", "enum": ["soft", "hard"]})),
]


def changed(change: Change) -> dict[str, Any]:
    schema = copy.deepcopy(SCHEMA)
    change(schema)
    return schema


@pytest.mark.parametrize(("change", "words"), [case[1:] for case in BREAKING], ids=[case[0] for case in BREAKING])
def test_a_breaking_change_is_named_with_its_field(change: Change, words: str) -> None:
    found = compat.differences(SCHEMA, changed(change))
    assert any(words in sentence for sentence in found), found


@pytest.mark.parametrize("change", [case[1] for case in HARMLESS], ids=[case[0] for case in HARMLESS])
def test_a_harmless_change_passes(change: Change) -> None:
    assert compat.differences(SCHEMA, changed(change)) == []


@pytest.mark.parametrize("subject", sorted(REGISTRY))
def test_taking_away_any_field_of_any_event_is_noticed(subject: str) -> None:
    promised = releases.snapshot()
    for name in promised[subject]["schema"]["properties"]:
        now = copy.deepcopy(promised)
        drop(now[subject]["schema"], name)
        (sentence,) = [words for words in compat.breaks(promised, now) if "removed" in words]
        assert sentence.startswith(f"{subject}: field `{name}` removed")


@pytest.mark.parametrize("attribute", ["type", "source", "dataschema"])
def test_another_attribute_without_a_new_major_is_noticed(attribute: str) -> None:
    promised, now = releases.snapshot(), releases.snapshot()
    now["race.finished"] = now["race.finished"] | {attribute: "urn:other"}
    (sentence,) = compat.breaks(promised, now)
    assert sentence.startswith(f"race.finished: ce-{attribute} changed from ")


def test_a_subject_may_not_go_and_may_come() -> None:
    promised, now = releases.snapshot(), releases.snapshot()
    del promised["race.finished"]
    assert compat.breaks(promised, now) == []
    (sentence,) = compat.breaks(now, promised)
    assert sentence.startswith("race.finished: is not published any more")


def test_another_unit_of_order_is_noticed() -> None:
    promised = releases.snapshot()
    promised["race.finished"] = promised["race.finished"] | {"key": "2026"}
    (sentence,) = compat.breaks(promised, releases.snapshot())
    assert "ce-subject changed from 2026 to 2026-albert_park" in sentence


def test_a_sample_that_no_longer_parses_is_noticed() -> None:
    promised = copy.deepcopy(releases.snapshot())
    del promised["race.finished"]["sample"]["winner"]
    (sentence,) = compat.breaks(promised, releases.snapshot())
    assert "does not parse any more" in sentence
    assert json.dumps(sentence)
