"""The merged document: nothing collides, nothing private, and it does not change with who is up."""

from typing import Any

from openapi_spec_validator import validate

from gateway.merging import merge
from gateway.routes import TABLE

PROBLEM = {"type": "object", "properties": {"code": {"type": "string"}}}


def document(path: str, method: str, item: dict[str, Any], **operation: Any) -> dict[str, Any]:
    answer = {"description": "OK", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Item"}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "A service", "version": "1"},
        "paths": {
            path: {method: {"operationId": "list", "responses": {"200": answer}, **operation}},
            "/internal": {"get": {"responses": {"200": {"description": "OK"}}}},
        },
        "components": {"schemas": {"Item": item, "Problem": PROBLEM}},
    }


RACES = document("/api/v1/races", "get", {"type": "object", "title": "a race"})
LEAGUES = document("/api/v1/leagues", "post", {"type": "object", "title": "a league"}, requestBody={"content": {}})
RULES = document("/api/v1/races", "get", {"type": "string"})


def test_equal_names_of_two_services_stay_apart_and_problems_are_shared() -> None:
    merged = merge({"ingest": RACES, "leagues": LEAGUES}, [], TABLE, "/")
    schemas = merged["components"]["schemas"]
    assert set(schemas) == {"IngestItem", "LeaguesItem", "Problem"}
    get, post = merged["paths"]["/api/v1/races"]["get"], merged["paths"]["/api/v1/leagues"]["post"]
    assert (get["operationId"], post["operationId"]) == ("ingest_list", "leagues_list")
    assert get["responses"]["200"]["content"]["application/json"]["schema"]["$ref"] == "#/components/schemas/IngestItem"
    assert (get["tags"], post["tags"]) == (["ingest"], ["leagues"])
    validate(merged)


def test_only_what_can_be_called_is_documented_and_only_by_its_owner() -> None:
    merged = merge({"ingest": RACES, "scoring": RULES}, [], TABLE, "/")
    assert set(merged["paths"]) == {"/api/v1/races"}
    assert merged["paths"]["/api/v1/races"]["get"]["tags"] == ["ingest"]


def test_what_the_gateway_itself_answers_is_documented() -> None:
    merged = merge({"ingest": RACES, "leagues": LEAGUES}, [], TABLE, "https://paddock.example")
    get, post = merged["paths"]["/api/v1/races"]["get"], merged["paths"]["/api/v1/leagues"]["post"]
    assert set(get["responses"]) == {"200", "400", "401", "429", "503", "504"}
    assert set(post["responses"]) == {"200", "400", "401", "413", "429", "503", "504"}
    assert get["x-ratelimit-policy"] == "default"
    assert merged["servers"] == [{"url": "https://paddock.example"}]


def test_a_service_away_is_named_and_changes_nothing_else() -> None:
    whole = merge({"ingest": RACES, "leagues": LEAGUES}, [], TABLE, "/")
    less = merge({"ingest": RACES}, ["leagues"], TABLE, "/")
    assert less["x-missing-services"] == ["leagues"]
    assert "leagues did not answer" in less["info"]["description"]
    assert less["paths"]["/api/v1/races"] == whole["paths"]["/api/v1/races"]
    assert less["components"]["schemas"]["IngestItem"] == whole["components"]["schemas"]["IngestItem"]
