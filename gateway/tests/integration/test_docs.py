"""One document for everything, and a page that shows it without asking anybody else."""

import re
from typing import Any

import httpx
from openapi_spec_validator import validate

from common import migrate

Upstream = Any


def document(path: str) -> dict[str, Any]:
    operation = {"operationId": "list", "responses": {"200": {"description": "OK"}}}
    return {"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": {path: {"get": operation}}}


async def test_the_document_holds_every_service_that_answers_and_names_the_others(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    upstream.documents = {"ingest": document("/api/v1/races"), "scoring": document("/api/v1/prices")}
    merged = (await client.get("/openapi.json")).json()
    validate(merged)
    assert merged["openapi"].startswith("3.1")
    assert set(merged["paths"]) == {"/api/v1/races", "/api/v1/prices", "/api/v1/stream"}
    assert merged["x-missing-services"] == ["auth", "leagues", "analytics", "webhooks"]
    assert merged["paths"]["/api/v1/stream"]["get"]["operationId"] == "stream"
    parameters = {one["name"]: one["in"] for one in merged["paths"]["/api/v1/stream"]["get"]["parameters"]}
    assert parameters == {"topics": "query", "league": "query", "Last-Event-ID": "header"}
    assert set(merged["components"]["schemas"]) == {"Problem", "FieldError"}


async def test_documents_are_not_fetched_for_every_reader(client: httpx.AsyncClient, upstream: Upstream) -> None:
    for _ in range(3):
        await client.get("/openapi.json")
    fetched = [request["service"] for request in upstream.requests if request["path"] == "/schema/openapi.json"]
    assert sorted(fetched) == sorted(migrate.SERVICES)


async def test_the_page_needs_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self';" in page.headers["content-security-policy"]
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert all(link.startswith("/") for link in linked)
    assert "/docs/swagger-ui-bundle.js" in linked
    for link in linked:
        if link != "/openapi.json":
            asset = await client.get(link)
            assert asset.status_code == 200
            assert asset.headers["cache-control"] == "public, max-age=86400"
            assert "https://cdn" not in asset.text
    assert '"/openapi.json"' in (await client.get("/docs/start.js")).text
    assert (await client.get("/docs/nothing.js")).json()["code"] == "no_asset"
