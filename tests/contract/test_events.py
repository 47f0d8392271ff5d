"""The published language: every event has a schema, a sample and its documents, and old samples still parse."""

import json
from importlib import import_module
from pathlib import Path

import jsonschema
import pytest
import yaml

from common.contracts import REGISTRY, decode, encode
from common.contracts.samples import SAMPLES
from paddock import events

ROOT = Path(__file__).parents[2]


def test_every_event_has_one_sample() -> None:
    assert sorted(sample.subject for sample in SAMPLES) == sorted(REGISTRY)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.subject)
def test_a_sample_survives_the_wire_and_fits_its_schema(sample: object) -> None:
    kind = type(sample)
    body = encode(sample)  # type: ignore[arg-type]
    assert decode(kind, body) == sample  # type: ignore[type-var]
    jsonschema.validate(json.loads(body), events.schema(kind))  # type: ignore[arg-type]


@pytest.mark.parametrize("subject", sorted(REGISTRY))
def test_the_committed_sample_still_parses(subject: str) -> None:
    body = (ROOT / f"docs/events/{subject}.sample.json").read_bytes()
    assert decode(REGISTRY[subject], body).subject == subject


@pytest.mark.parametrize("subject", sorted(REGISTRY))
def test_the_committed_schema_is_what_the_code_says(subject: str) -> None:
    committed = json.loads((ROOT / f"docs/events/{subject}.schema.json").read_text())
    assert committed == events.schema(REGISTRY[subject])


@pytest.mark.parametrize("subject", sorted(REGISTRY))
def test_a_body_with_a_field_from_the_future_still_parses(subject: str) -> None:
    body = json.loads((ROOT / f"docs/events/{subject}.sample.json").read_text())
    body["added_next_year"] = {"anything": True}
    assert decode(REGISTRY[subject], json.dumps(body).encode()).subject == subject


def test_an_event_says_in_one_sentence_what_happened_and_keys_its_order() -> None:
    for sample in SAMPLES:
        assert (type(sample).__doc__ or "").strip()
        assert sample.key()


def test_the_asyncapi_document_lists_every_subject() -> None:
    document = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())
    assert document["asyncapi"] == "3.0.0"
    assert {channel["address"] for channel in document["channels"].values()} == set(REGISTRY)


def test_a_removed_field_would_be_noticed() -> None:
    body = json.loads((ROOT / "docs/events/results.synced.sample.json").read_text())
    del body["classification"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, events.schema(REGISTRY["results.synced"]))


def test_the_documents_name_the_services_that_really_read_an_event() -> None:
    readers: dict[str, set[str]] = {subject: set() for subject in REGISTRY}
    for service in ("leagues", "scoring", "analytics"):
        for consumer in import_module(f"{service}.consumers").consumers.all:
            for event in consumer.events:
                readers[event.subject].add(service)
    assert {subject: set(named) for subject, named in events.CONSUMERS.items()} == readers


def test_every_durable_has_a_name_of_its_own() -> None:
    durables = [
        consumer.durable
        for service in ("leagues", "scoring", "analytics")
        for consumer in import_module(f"{service}.consumers").consumers.all
    ]
    assert len(durables) == len(set(durables)) > 10
