"""The published language: every event has a schema, a sample and its documents, and old samples still parse."""

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

from common import migrate
from common.consumers import Consumer
from common.contracts import REGISTRY, decode, encode
from common.contracts.samples import SAMPLES
from common.contracts.schemas import WORDS, field_docs, json_schema, published
from paddock import events
from paddock.nats_users import registry

ROOT = Path(__file__).parents[2]


def file_of(subject: str, kind: str) -> Path:
    return ROOT / "docs" / events.path_of(subject, kind)


def declared() -> list[tuple[str, Consumer]]:
    registries = {service: registry(service) for service in migrate.SERVICES}
    return [(service, consumer) for service, found in registries.items() if found for consumer in found.all]


def test_every_event_has_one_sample() -> None:
    assert sorted(sample.subject for sample in SAMPLES) == sorted(REGISTRY)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.subject)
def test_a_sample_survives_the_wire_and_fits_its_schema(sample: object) -> None:
    kind = type(sample)
    body = encode(sample)  # type: ignore[arg-type]
    assert decode(kind, body) == sample  # type: ignore[type-var]
    jsonschema.validate(json.loads(body), json_schema(kind))  # type: ignore[arg-type]


@pytest.mark.parametrize("subject", sorted(REGISTRY))
def test_the_committed_sample_still_parses(subject: str) -> None:
    body = file_of(subject, "sample").read_bytes()
    assert decode(REGISTRY[subject], body).subject == subject


@pytest.mark.parametrize("subject", sorted(REGISTRY))
def test_the_committed_schema_is_what_the_code_says(subject: str) -> None:
    committed = json.loads(file_of(subject, "schema").read_text())
    assert committed == json_schema(REGISTRY[subject])


@pytest.mark.parametrize("subject", sorted(REGISTRY))
def test_a_body_with_a_field_from_the_future_still_parses(subject: str) -> None:
    body = json.loads(file_of(subject, "sample").read_text())
    body["added_next_year"] = {"anything": True}
    assert decode(REGISTRY[subject], json.dumps(body).encode()).subject == subject


def test_an_event_says_in_one_sentence_what_happened_and_keys_its_order() -> None:
    for sample in SAMPLES:
        assert (type(sample).__doc__ or "").strip()
        assert sample.key()


@pytest.mark.parametrize("subject", sorted(REGISTRY))
def test_a_schema_is_filed_under_its_major_version_and_carries_the_id_that_events_name(subject: str) -> None:
    body = json.loads(file_of(subject, "schema").read_text())
    assert file_of(subject, "schema").name == "v1.schema.json"
    assert body["$id"] == f"urn:paddock:schema:{subject}:v1"
    jsonschema.Draft202012Validator.check_schema(body)


@pytest.mark.parametrize("subject", sorted(REGISTRY))
def test_every_field_says_what_it_is(subject: str) -> None:
    body = json_schema(REGISTRY[subject])
    shapes = {"": body, **body.get("$defs", {})}
    silent = [
        f"{name}.{field}"
        for name, shape in shapes.items()
        for field, told in shape.get("properties", {}).items()
        if not told.get("description")
    ]
    assert silent == []


def test_a_field_keeps_the_words_of_its_own_struct_and_of_the_one_it_extends() -> None:
    words = field_docs(REGISTRY["results.amended"])
    assert words["reason"].startswith("What changed, in words")
    assert words["result_version"].startswith("Counts the versions")
    assert json_schema(REGISTRY["prices.changed"])["properties"]["season"]["description"] == WORDS["season"]


def test_a_moment_has_a_zone() -> None:
    body = json.loads(file_of("lineups.locked", "sample").read_text())
    assert json_schema(REGISTRY["lineups.locked"])["properties"]["locked_at"]["format"] == "date-time"
    body["locked_at"] = body["locked_at"].removesuffix("Z")
    with pytest.raises(msgspec.ValidationError):
        decode(REGISTRY["lineups.locked"], json.dumps(body).encode())


def test_the_schemas_that_the_gateway_serves_are_those_that_are_committed() -> None:
    served = {f"{name}/{version}": json.loads(body) for (name, version), body in published().items()}
    assert served == {f"{subject}/v1": json_schema(kind) for subject, kind in REGISTRY.items()}


def test_a_removed_field_would_be_noticed() -> None:
    body = json.loads(file_of("results.synced", "sample").read_text())
    del body["classification"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, json_schema(REGISTRY["results.synced"]))


def test_the_documents_name_the_services_that_really_read_an_event() -> None:
    readers: dict[str, set[str]] = {}
    for service, consumer in declared():
        for event in consumer.events:
            readers.setdefault(event.subject, set()).add(service)
    assert {subject: set(named) for subject, named in events.CONSUMERS.items()} == readers


def test_every_durable_has_a_name_of_its_own() -> None:
    durables = [consumer.durable for _, consumer in declared()]
    assert len(durables) == len(set(durables)) > 10


def test_every_committed_document_about_events_is_what_the_code_says() -> None:
    stale = [
        path
        for path, text in events.documents().items()
        if not (ROOT / "docs" / path).exists() or (ROOT / "docs" / path).read_text(encoding="utf-8") != text
    ]
    assert stale == []
