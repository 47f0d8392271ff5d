"""What ``ce-dataschema`` names can be had from the gateway."""

import httpx
import pytest

from common.contracts import REGISTRY, schema_of


@pytest.mark.parametrize("subject", sorted(REGISTRY))
async def test_a_subscriber_finds_the_schema_that_an_event_names(client: httpx.AsyncClient, subject: str) -> None:
    identifier = schema_of(subject)
    name, version = identifier.removeprefix("urn:paddock:schema:").rsplit(":", 1)
    answer = await client.get(f"/schemas/events/{name}/{version}.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert answer.json()["$id"] == identifier


@pytest.mark.parametrize(
    "path", ["race.finished/v9.json", "race.finished/v1", "race.started/v1.json", "race.finished/.json"]
)
async def test_a_schema_that_was_never_published_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/schemas/events/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_schema")
