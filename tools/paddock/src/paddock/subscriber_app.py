"""`paddock events generate-app`: a FastStream application for chosen events, from an AsyncAPI document alone.

The models are msgspec structs made from the document's schemas; the handlers are stubs that note each event, to be
replaced by whoever subscribes. The text comes out as `ruff format` would leave it at 120 columns.
"""

import argparse
import keyword
import re
import textwrap
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from paddock.subscribers import matches

COLUMNS = 120
HANDLERS = "handlers.py"
FORMATS = {"uuid": "UUID", "date-time": "datetime", "decimal": "Decimal"}
TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
IMPORTS = {
    "datetime": "from datetime import datetime",
    "Decimal": "from decimal import Decimal",
    "StrEnum": "from enum import StrEnum",
    "UUID": "from uuid import UUID",
}

Document = dict[str, Any]


class GenerateError(Exception):
    """The application cannot be generated, for the reason given."""


def main(arguments: Sequence[str]) -> list[Path]:
    """Run the command; return the files that were written.

    Raises:
        GenerateError: the document has no such events, or a schema that has no Python type.
    """
    parser = argparse.ArgumentParser(prog="paddock events generate-app", description=__doc__)
    parser.add_argument("document", type=Path, help="the AsyncAPI document, for example docs/asyncapi.yaml")
    parser.add_argument("--subjects", required=True, help="subjects separated by commas; * and > as in NATS")
    parser.add_argument("--output", type=Path, required=True, help="folder of the application")
    options = parser.parse_args(arguments)
    try:
        document = yaml.safe_load(options.document.read_text(encoding="utf-8"))
    except OSError as error:
        raise GenerateError(f"{options.document} cannot be read: {error.strerror}") from error
    written = []
    for name, text in application(document, options.subjects.split(",")).items():
        file = options.output / name
        if name == HANDLERS and file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        written.append(file)
    return written


def application(document: Document, patterns: Sequence[str]) -> dict[str, str]:
    """Return the text of every file of the application, by name; raise `GenerateError` when it cannot be made."""
    messages = [_message(document, channel) for channel in _channels(document, patterns)]
    subjects = [message["subject"] for message in messages]
    named = ", ".join(f"`{subject}`" for subject in subjects)
    rows = "\n".join(_row(message) for message in messages)
    folder = files("paddock").joinpath("pages/faststream")
    app = folder.joinpath("app.py.txt").read_text(encoding="utf-8")
    readme = folder.joinpath("README.md").read_text(encoding="utf-8")
    return {
        "app.py": app.replace("HANDLER_ROWS", rows).replace("FIRST_SUBJECT", subjects[0]),
        HANDLERS: _handlers(messages),
        "models.py": _models(document, [message["model"] for message in messages]),
        "store.py": folder.joinpath("store.py.txt").read_text(encoding="utf-8"),
        "requirements.txt": folder.joinpath("requirements.txt").read_text(encoding="utf-8"),
        "README.md": readme.replace("SUBJECTS", named).replace("PATTERNS", ",".join(patterns)),
    }


def _channels(document: Document, patterns: Sequence[str]) -> list[Document]:
    found = []
    for pattern in patterns:
        fitting = [channel for channel in document["channels"].values() if matches(pattern, channel["address"])]
        if not fitting:
            raise GenerateError(f"no event of the document has the subject {pattern!r}")
        found += [channel for channel in fitting if channel not in found]
    return found


def _message(document: Document, channel: Document) -> Document:
    """Return what the application needs to know about a channel's message."""
    (reference,) = channel["messages"].values()
    message = document["components"]["messages"][_name(reference)]
    return {
        "subject": channel["address"],
        "type": message["name"],
        "model": _name(message["payload"]),
        "handler": channel["address"].replace(".", "_"),
        "summary": message["summary"],
    }


def _row(message: Document) -> str:
    return f'    "{message["type"]}": (models.{message["model"]}, handlers.{message["handler"]}),'


def _handlers(messages: Sequence[Document]) -> str:
    names = ", ".join(sorted((message["model"] for message in messages), key=str.lower))
    imports = f"from models import {names}"
    if len(imports) > COLUMNS:
        listed = "".join(f"    {name},\n" for name in names.split(", "))
        imports = f"from models import (\n{listed})"
    parts = [
        '"""What happens on each event. This file is yours: replace `note` by your work, and keep `transaction`.',
        "",
        "What you write with it commits together with the event's id, so it takes effect once. What reaches outside of",
        "the database can happen again after a crash; give the other side the event's id to recognise it by.",
        '"""',
        "",
        "import sqlite3",
        "",
        "import msgspec",
        imports,
        "",
        "",
        "def note(event: msgspec.Struct, event_id: str, transaction: sqlite3.Connection) -> None:",
        '    """Write the event down."""',
        "    body = msgspec.json.encode(event).decode()",
        '    transaction.execute("INSERT INTO journal VALUES (?, ?, ?)", (event_id, type(event).__name__, body))',
    ]
    for message in messages:
        signature = f"event: {message['model']}, event_id: str, transaction: sqlite3.Connection"
        line = f"async def {message['handler']}({signature}) -> None:"
        if len(line) > COLUMNS:
            line = f"async def {message['handler']}(\n    {signature}\n) -> None:"
        parts += ["", "", line, f'    """{_sentence(message["summary"])}"""', "    note(event, event_id, transaction)"]
    return "\n".join(parts) + "\n"


def _models(document: Document, wanted: Sequence[str]) -> str:
    schemas = document["components"]["schemas"]
    order: list[str] = []
    for name in wanted:
        _collect(schemas, name, order)
    body = "".join(f"\n\n{_definition(name, schemas[name])}" for name in order)
    imports = [line for word, line in IMPORTS.items() if re.search(rf"\b{word}\b", body)]
    head = (
        '"""The events and their parts, from the schemas of an AsyncAPI document. What they do not name is ignored."""'
    )
    return "\n".join([head, "", *imports, "", "import msgspec"]) + "\n" + body


def _collect(schemas: Document, name: str, order: list[str]) -> None:
    """Put a schema behind those that it refers to."""
    if name in order:
        return
    for reference in _references(schemas[name]):
        _collect(schemas, reference, order)
    order.append(name)


def _references(node: Any) -> Iterator[str]:  # noqa: ANN401 - any part of a document
    if isinstance(node, dict):
        if "$ref" in node:
            yield _name(node)
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _definition(name: str, schema: Document) -> str:
    words = _sentence(schema.get("description", f"{name}."))
    if "enum" in schema:
        lines = [f"class {name}(StrEnum):", f'    """{words}"""', ""]
        lines += [f'    {_member(value)} = "{value}"' for value in schema["enum"]]
        return "\n".join(lines) + "\n"
    lines = [f"class {name}(msgspec.Struct, frozen=True, kw_only=True):", f'    """{words}"""', ""]
    required = set(schema.get("required", []))
    for field, shape in schema.get("properties", {}).items():
        if not field.isidentifier() or keyword.iskeyword(field):
            raise GenerateError(f"{name}.{field} is no name in Python")
        kind = _python(shape, f"{name}.{field}")
        lines.append(f"    {field}: {kind}{'' if field in required else _default(shape, kind)}")
        lines += _documented(shape.get("description", ""))
    return "\n".join(lines) + "\n"


def _python(shape: Document, where: str) -> str:
    """Return the Python type of a schema."""
    if "$ref" in shape:
        return _name(shape)
    if "anyOf" in shape:
        return " | ".join(_python(option, where) for option in shape["anyOf"])
    if shape.get("type") == "array":
        return f"list[{_python(shape['items'], where)}]"
    kind = FORMATS.get(shape.get("format", "")) or TYPES.get(shape.get("type", ""))
    if kind is None:
        raise GenerateError(f"{where} has a schema without a Python type: {shape}")
    return kind


def _default(shape: Document, kind: str) -> str:
    value = shape.get("default")
    if kind == "Decimal":
        return f" = Decimal({value})" if str(value).isdigit() else f' = Decimal("{value}")'
    if value is None and "None" not in kind:
        raise GenerateError(f"an optional field of type {kind} has no default: {shape}")
    return f" = {value!r}".replace("'", '"')


def _documented(words: str) -> list[str]:
    if not words:
        return []
    first, *more = textwrap.wrap(words, COLUMNS - 10)
    return [f'    """{first}"""'] if not more else [f'    """{first}', *(f"    {line}" for line in more), '    """']


def _member(value: str) -> str:
    name = re.sub(r"\W", "_", value).upper()
    return f"_{name}" if name[0].isdigit() else name


def _sentence(words: str) -> str:
    """Return the first sentence, short enough for one line."""
    first = re.split(r"(?<=\.) ", words.replace("``", "`"))[0]
    return textwrap.shorten(first, COLUMNS - 12, placeholder=" …")


def _name(node: Document) -> str:
    return str(node["$ref"].rsplit("/", 1)[1])
