"""The AsyncAPI document: valid by the specification's own schema, whole, and its examples fit what it says."""

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from common.contracts import REGISTRY, type_of
from paddock import events
from paddock.asyncapi import HEADERS

ROOT = Path(__file__).parents[2]
SPECIFICATIONS = "@asyncapi/specs@6.11.1"
"""The npm package in which AsyncAPI publishes the JSON Schemas of its versions."""
FETCH_SECONDS = 60
UNREACHABLE = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def specification(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The official JSON Schema of AsyncAPI 3.0."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: the specification's schema is published as an npm package")
    folder = tmp_path_factory.mktemp("asyncapi")
    command = [npm, "pack", "--silent", SPECIFICATIONS]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)  # noqa: S603 - a constant
    if done.returncode and UNREACHABLE.search(done.stderr):
        pytest.skip(f"the npm registry is out of reach: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        member = archive.extractfile("package/schemas/3.0.0.json")
        assert member is not None
        found: dict[str, Any] = json.load(member)
    return found


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(document: dict[str, Any], reference: str) -> Any:
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def validator(document: dict[str, Any], schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"components": document["components"], **schema})


def test_the_document_is_valid_by_the_official_schema(document: dict[str, Any], specification: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(specification).validate(document)


def test_the_official_schema_would_notice_a_mistake(document: dict[str, Any], specification: dict[str, Any]) -> None:
    broken = {**document, "operations": {"receiveNothing": {"action": "hear", "channel": {"$ref": "#/channels/x"}}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(specification).validate(broken)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert len(found) > 3 * len(REGISTRY)
    for reference in found:
        assert resolve(document, reference)


def test_every_event_has_a_channel_and_every_service_its_operations(document: dict[str, Any]) -> None:
    assert {channel["address"] for channel in document["channels"].values()} == set(REGISTRY)
    done = {
        (operation["action"], operation["channel"]["$ref"].removeprefix("#/channels/"), operation["tags"][0]["name"])
        for operation in document["operations"].values()
    }
    sent = {("send", subject, kind.source) for subject, kind in REGISTRY.items()}
    read = {("receive", subject, service) for subject, services in events.CONSUMERS.items() for service in services}
    assert done == sent | read | {("receive", subject, "subscribers") for subject in REGISTRY}


@pytest.mark.parametrize("subject", sorted(REGISTRY))
def test_the_example_of_a_message_fits_its_headers_and_its_payload(document: dict[str, Any], subject: str) -> None:
    message = document["components"]["messages"][REGISTRY[subject].__name__]
    (example,) = message["examples"]
    assert message["name"] == example["headers"]["ce-type"] == type_of(subject)
    validator(document, message["headers"]).validate(example["headers"])
    validator(document, message["payload"]).validate(example["payload"])
    later = example["headers"] | {"ce-type": type_of(f"{subject}.v2")}
    with pytest.raises(jsonschema.ValidationError):
        validator(document, message["headers"]).validate(later)


def test_every_header_is_required_and_described() -> None:
    assert set(HEADERS["required"]) == set(HEADERS["properties"])
    assert all("description" in shape or "const" in shape for shape in HEADERS["properties"].values())


def test_a_server_asks_for_credentials(document: dict[str, Any]) -> None:
    (server,) = document["servers"].values()
    (scheme,) = server["security"]
    assert "credentials file" in resolve(document, scheme["$ref"])["description"]
