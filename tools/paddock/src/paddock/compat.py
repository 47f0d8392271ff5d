"""The compatibility promise, checked: what is published now against what a release published.

A change is judged for both directions. Subscribers of the release read what is published now; and the code of now reads
what the release has left in the stream, which keeps 30 days and can be replayed. That is why widening breaks as
narrowing does, and why a new value of an enumeration breaks too: a strict reader, ours among them, refuses a value it
does not know. Optional fields may be added, because every reader ignores what it does not know.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from common.contracts import REGISTRY, decode

_WORDS = {"description", "title", "examples", "$schema", "$id", "$defs", "$comment"}
"""What tells a person something and binds nobody."""
_STRUCTURE = {"properties", "required", "items", "anyOf", "oneOf", "$ref", "enum", "const", "type"}
"""What is compared by its meaning, not as a value."""

Schema = dict[str, Any]


def breaks(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Compare two snapshots; return a sentence for each broken promise, with the field and the rule."""
    found: list[str] = []
    for subject, old in before.items():
        if subject not in now:
            found.append(f"{subject}: is not published any more; a subject stays when a new major goes beside it")
            continue
        new = now[subject]
        found += [
            f"{subject}: ce-{name} changed from {old[name]} to {new[name]} without a new major"
            for name in ("type", "source", "dataschema")
            if old[name] != new[name]
        ]
        found += [f"{subject}: {words}" for words in differences(old["schema"], new["schema"])]
        found += [f"{subject}: {words}" for words in _key_of_old(subject, old)]
    return found


def _key_of_old(subject: str, old: dict[str, Any]) -> Iterator[str]:
    """Read the old sample with the code of now: it must parse, and be ordered by the same key."""
    kind = REGISTRY.get(subject)
    if kind is None:
        return
    try:
        event = decode(kind, msgspec.json.encode(old["sample"]))
    except msgspec.MsgspecError as error:
        yield f"the sample of the release does not parse any more: {error}"
        return
    if event.key() != old["key"]:
        yield f"ce-subject changed from {old['key']} to {event.key()}: the unit of order is part of the promise"


def differences(before: Schema, now: Schema) -> list[str]:
    """Compare two JSON Schemas of one event; return a sentence for each difference that breaks somebody."""
    return list(_Comparison(before, now).objects(before, now, ""))


class _Comparison:
    """Walks two schemas side by side; each resolves references in its own definitions."""

    def __init__(self, before: Schema, now: Schema) -> None:
        self._before = before.get("$defs", {})
        self._now = now.get("$defs", {})
        self._entered: list[tuple[str, str]] = []
        """The references on the way to here; a type that holds itself is compared once."""

    def objects(self, before: Schema, now: Schema, path: str) -> Iterator[str]:
        old, new = before.get("properties", {}), now.get("properties", {})
        must_old, must_new = set(before.get("required", [])), set(now.get("required", []))
        added = [name for name in new if name not in old]
        for name, shape in old.items():
            field = f"{path}{name}"
            if name not in new:
                same = [other for other in added if self._bare(new[other]) == self._bare(shape)]
                hint = f" (renamed to `{same[0]}`?)" if same else ""
                yield f"field `{field}` removed{hint}: a field of a published version stays"
                continue
            if name in must_old - must_new:
                yield f"field `{field}` was always there and is optional now: subscribers rely on it"
            if name in must_new - must_old:
                yield f"field `{field}` was optional and is required now: stored events may lack it"
            yield from self.shapes(shape, new[name], field)
        for name in added:
            if name in must_new:
                yield f"field `{path}{name}` is new and required: stored events lack it; give it a default"

    def shapes(self, before: Schema, now: Schema, field: str) -> Iterator[str]:
        pair = (before.get("$ref", ""), now.get("$ref", ""))
        if all(pair) and pair in self._entered:
            return
        self._entered.append(pair)
        yield from self._entered_shapes(before, now, field)
        self._entered.pop()

    def _entered_shapes(self, before: Schema, now: Schema, field: str) -> Iterator[str]:
        old, new = self._resolved(before, self._before), self._resolved(now, self._now)
        options_old, options_new = self._options(old, self._before), self._options(new, self._now)
        if sorted(options_old) != sorted(options_new):
            told = f"from {' or '.join(options_old)} to {' or '.join(options_new)}"
            yield f"field `{field}` {_direction(set(options_old), set(options_new))} {told}: a type stays as it is"
            return
        for kind, option in options_old.items():
            yield from self._same_kind(option, options_new[kind], field)

    def _same_kind(self, old: Schema, new: Schema, field: str) -> Iterator[str]:
        yield from _values(old, new, field)
        for rule in sorted((set(old) | set(new)) - _WORDS - _STRUCTURE):
            if old.get(rule) != new.get(rule):
                told = f"{_said(old, rule)} to {_said(new, rule)}"
                yield f"field `{field}`: `{rule}` changed from {told}: a range, format or default stays as it is"
        if "properties" in old or "properties" in new:
            yield from self.objects(old, new, f"{field}.")
        if "items" in old and "items" in new:
            yield from self.shapes(old["items"], new["items"], f"{field}[]")

    def _resolved(self, shape: Schema, definitions: Schema) -> Schema:
        if "$ref" not in shape:
            return shape
        target: Schema = definitions[shape["$ref"].rsplit("/", 1)[1]]
        return {**target, **{name: value for name, value in shape.items() if name != "$ref"}}

    def _options(self, shape: Schema, definitions: Schema) -> dict[str, Schema]:
        """Return the alternatives of a shape by their kind; most shapes have one."""
        alternatives = shape.get("anyOf") or shape.get("oneOf")
        if not alternatives:
            return {_kind(shape): shape}
        outer = {name: value for name, value in shape.items() if name == "default"}
        resolved = [self._resolved(option, definitions) for option in alternatives]
        return {_kind(option): {**option, **outer} for option in resolved}

    @staticmethod
    def _bare(shape: Schema) -> Schema:
        return {name: value for name, value in shape.items() if name not in _WORDS}


def _kind(shape: Schema) -> str:
    """Name what a shape is; an enumeration is its values' type."""
    if "type" in shape:
        return str(shape["type"])
    values = shape.get("enum", [shape["const"]] if "const" in shape else [])
    return "string" if values and all(isinstance(value, str) for value in values) else "any"


def _direction(old: set[str], new: set[str]) -> str:
    if new < old:
        return "narrowed"
    return "widened" if old < new else "changed"


def _values(old: Schema, new: Schema, field: str) -> Iterator[str]:
    before, now = _allowed(old), _allowed(new)
    if before is None and now is None:
        return
    if before is None:
        yield f"field `{field}` narrowed to an enumeration: stored events may hold other values"
    elif now is None:
        yield f"field `{field}` widened from an enumeration to anything: strict readers refuse other values"
    else:
        for value in sorted(before - now):
            yield f"field `{field}` narrowed: value {value} removed; stored events may hold it"
        for value in sorted(now - before):
            yield f"field `{field}` widened: value {value} added; strict readers, ours among them, refuse it"


def _allowed(shape: Schema) -> set[str] | None:
    if "const" in shape:
        return {json.dumps(shape["const"])}
    return {json.dumps(value) for value in shape["enum"]} if "enum" in shape else None


def _said(shape: Schema, rule: str) -> str:
    return json.dumps(shape[rule]) if rule in shape else "nothing"
