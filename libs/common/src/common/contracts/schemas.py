"""JSON Schemas of the events, for documents and for whoever asks the gateway.

A field's description is the docstring under it in its struct, or what its name means everywhere (`WORDS`).
"""

import ast
import inspect
import textwrap
from functools import cache
from typing import Any

import msgspec

from common.contracts.event import REGISTRY, Event, schema_of, split

WORDS = {
    "assets": "The points of each driver and constructor.",
    "asset_id": "`driver_id` or `constructor_id`, as `kind` says.",
    "circuit_id": "Stable id of the circuit.",
    "circuit_name": "Name of the circuit.",
    "classification": "Every car, in order of its place.",
    "code": "Three letters on the timing screen.",
    "constructor_id": "Stable id of the constructor.",
    "constructors": "`constructor_id` of each, or the constructors themselves.",
    "content_hash": "SHA-256 of the canonical classification, in hex.",
    "country": "Country of the circuit.",
    "created_at": "When, RFC 3339 in UTC.",
    "driver_id": "Stable id of the driver.",
    "drivers": "`driver_id` of each, or the drivers themselves.",
    "family_name": "Family name.",
    "given_name": "Given name.",
    "joined_at": "When the membership began, RFC 3339 in UTC.",
    "kind": "Which kind; see the values.",
    "league_id": "Id of the league.",
    "locality": "Town of the circuit.",
    "locked_at": "The moment from which no line-up changes, RFC 3339 in UTC.",
    "members": "How many teams stand in it.",
    "mode": "The game the league plays.",
    "name": "Name for people.",
    "nationality": "Nationality, as an English adjective.",
    "number": "The car's number.",
    "observed_at": "When the upstream was seen to say so, RFC 3339 in UTC.",
    "owner_id": "User id of who opened it.",
    "points": "Points.",
    "price": "In tenths of a million.",
    "prices": "The prices that changed.",
    "private": "True when only the code lets people in.",
    "race_id": "`{season}-{circuit}`; it survives a change of the round's number.",
    "races": "The calendar, in order of rounds.",
    "rank": "Place; equal totals share one.",
    "registered_at": "When the account was opened, RFC 3339 in UTC.",
    "result_version": "Counts the versions of a session's classification, from 1; the highest is the truth.",
    "round": "Number of the race weekend within the season, from 1.",
    "round_points": "Points of this round.",
    "rule_set": "Name of the rules that were applied.",
    "score_version": "Counts the computations of the round that changed something; the highest is the truth.",
    "scored_at": "When the points were computed, RFC 3339 in UTC.",
    "season": "The championship's year.",
    "session": "Which session of the weekend.",
    "sessions": "The sessions, each with its own data.",
    "sprint": "True when the weekend has a sprint.",
    "starts_at": "Scheduled start, RFC 3339 in UTC.",
    "status": "How it stands; see the values.",
    "stints": "Who drives for whom, from which round to which.",
    "submitted_at": "When the line-up was accepted, RFC 3339 in UTC.",
    "team_id": "Id of the team.",
    "team_name": "Name of the team.",
    "total": "Points of the season so far.",
    "updated_at": "When the leaderboard got this state, RFC 3339 in UTC.",
    "user_id": "Id of the user.",
    "username": "The name the user chose.",
}
"""What a field of this name is in every event."""


@cache
def json_schema(kind: type[Event]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of an event's body, self-contained; do not change what comes back."""
    (reference,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    structs = _structs(kind)
    for name, definition in components.items():
        _describe(definition, structs.get(name))
    definition = components.pop(reference["$ref"].rsplit("/", 1)[1])
    body = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": schema_of(kind.subject), **definition}
    if components:
        body["$defs"] = dict(sorted(components.items()))
    return body


def published() -> dict[tuple[str, str], bytes]:
    """Return every event's schema as JSON, by name and version: ``("results.synced", "v1")``."""
    named = {split(subject): kind for subject, kind in REGISTRY.items()}
    return {(name, f"v{version}"): msgspec.json.encode(json_schema(kind)) for (name, version), kind in named.items()}


def _structs(kind: type[msgspec.Struct]) -> dict[str, type[Any]]:
    """Find the structs and enumerations an event is made of, by their names in the schema."""
    found: dict[str, type[Any]] = {}
    waiting: list[Any] = [msgspec.inspect.type_info(kind)]
    while waiting:
        info = waiting.pop()
        if isinstance(info, msgspec.inspect.StructType | msgspec.inspect.EnumType):
            if info.cls.__name__ in found:
                continue
            found[info.cls.__name__] = info.cls
        if isinstance(info, msgspec.inspect.StructType):
            waiting += [field.type for field in info.fields]
        elif isinstance(info, msgspec.inspect.UnionType):
            waiting += info.types
        elif isinstance(info, msgspec.inspect.ListType):
            waiting.append(info.item_type)
    return found


def _describe(definition: dict[str, Any], kind: type[Any] | None) -> None:
    if kind is None:
        return
    definition["description"] = " ".join(inspect.cleandoc(kind.__doc__ or "").split())
    words = field_docs(kind)
    for name, shape in definition.get("properties", {}).items():
        if told := words.get(name) or WORDS.get(name):
            shape["description"] = told


def field_docs(kind: type[Any]) -> dict[str, str]:
    """Read the docstrings under the fields of a struct and of those it extends."""
    words: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if owner.__module__.startswith("common.contracts"):
            body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
            words |= _docstrings(body) if isinstance(body, ast.ClassDef) else {}
    return words


def _docstrings(body: ast.ClassDef) -> dict[str, str]:
    words: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            told = ast.literal_eval(below.value)
            words[field.target.id] = " ".join(str(told).replace("``", "`").split())
    return words
