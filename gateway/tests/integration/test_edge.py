"""What every answer has, what no request gets through, and what operators see."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from common.settings import Environment

Upstream = Any
Starter = Callable[..., Awaitable[httpx.AsyncClient]]

PATHS = ["/api/v1/races", "/api/v1/leagues", "/nowhere", "/api/v1/races;x", "/health", "/metrics", "/openapi.json"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_has_its_security_headers_once(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    assert headers.get_list("x-content-type-options") == ["nosniff"]
    assert headers.get_list("content-security-policy") == ["default-src 'none'; frame-ancestors 'none'; sandbox"]
    assert headers.get_list("referrer-policy") == ["no-referrer"]
    assert headers["cache-control"] == "no-store"
    assert len(headers.get_list("x-request-id")) == 1
    assert not {"server", "strict-transport-security", "access-control-allow-origin"} & set(headers)


async def test_a_page_keeps_its_own_policy_and_nothing_else_does(client: httpx.AsyncClient) -> None:
    for path, policy in (
        ("/verify", "default-src 'none'; script-src 'sha256-x'"),
        ("/api/v1/races", "default-src 'none'; frame-ancestors 'none'; sandbox"),
    ):
        headers = (await client.get(path, params={"do": "policy"})).headers
        assert headers.get_list("content-security-policy") == [policy]
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"


async def test_production_insists_on_tls(start: Starter) -> None:
    client = await start(paddock_env=Environment.PRODUCTION)
    assert (await client.get("/api/v1/races")).headers["strict-transport-security"].startswith("max-age=31536000")


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    unknown = await client.get("/api/v1/nothing")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert unknown.headers["content-type"] == "application/problem+json"
    assert unknown.json()["request_id"] == unknown.headers["x-request-id"]
    method = await client.delete("/api/v1/leagues")
    assert (method.status_code, method.headers["allow"]) == (405, "GET, POST")
    for name in ("TRACE", "CONNECT", "HEAD", "OPTIONS", "PROPFIND"):
        assert (await client.request(name, "/api/v1/leagues")).status_code == 405


async def raw(client: httpx.AsyncClient, *lines: bytes) -> bytes:
    """Send bytes as they are and return all that comes back."""
    address = urlsplit(str(client.base_url))
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"\r\n".join([*lines, b"Host: test", b"Connection: close", b"", b""]))
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    "target",
    [
        b"//api/v1/races",
        b"/api/v1//races",
        b"/api/v1/races/../leagues",
        b"/api/v1/races/%2e%2e/leagues",
        b"/api/v1/races%2f..%2fleagues",
        b"/api/v1/races;/../leagues",
        b"/api/v1/races%252f",
        b"/api/v1/races/%c0%ae",
        b"/api/v1/races/%00",
        b"/docs/../metrics",
        b"/health//live",
        b"/api/v1//stream",
    ],
)
async def test_no_spelling_of_a_path_gets_past_the_table(
    client: httpx.AsyncClient, upstream: Upstream, target: bytes
) -> None:
    answer = await raw(client, b"GET " + target + b" HTTP/1.1")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"malformed_request"' in answer
    assert upstream.requests == []


async def test_an_absolute_address_chooses_no_other_host(client: httpx.AsyncClient, upstream: Upstream) -> None:
    answer = await raw(client, b"GET http://evil.example/api/v1/races HTTP/1.1")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert (upstream.requests[-1]["service"], upstream.requests[-1]["path"]) == ("ingest", "/api/v1/races")


async def test_a_request_with_two_lengths_is_one_request_or_none(client: httpx.AsyncClient, upstream: Upstream) -> None:
    lines = [b"POST /api/v1/auth/login HTTP/1.1", b"Content-Length: 5", b"Transfer-Encoding: chunked"]
    await raw(client, *lines)
    await raw(client, lines[0], b"Content-Length: 5", b"Content-Length: 6")
    assert upstream.requests == []


async def test_headers_and_paths_have_a_size(client: httpx.AsyncClient, upstream: Upstream) -> None:
    fields = {f"X-{number}": "x" for number in range(120)}
    assert (await client.get("/api/v1/races", headers=fields)).status_code == 431
    assert (await client.get("/api/v1/races", headers={"X-Long": "x" * 17_000})).json()["code"] == "headers_too_large"
    assert (await client.get("/api/v1/races/" + "x" * 9_000)).json()["code"] == "uri_too_long"
    assert upstream.requests == []


async def test_browsers_of_allowed_origins_only_may_call(start: Starter) -> None:
    client = await start(gateway_cors_origins="https://play.example, https://beta.example/")
    ask = {"Origin": "https://beta.example", "Access-Control-Request-Method": "POST"}
    allowed = await client.options("/api/v1/leagues", headers=ask)
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == "https://beta.example"
    assert "Authorization" in allowed.headers["access-control-allow-headers"]
    refused = await client.options("/api/v1/leagues", headers={**ask, "Origin": "https://evil.example"})
    assert refused.status_code == 405
    assert "access-control-allow-origin" not in refused.headers
    called = await client.get("/api/v1/leagues", headers={"Origin": "https://play.example"})
    assert called.status_code == 401
    assert called.headers["access-control-allow-origin"] == "https://play.example"
    assert called.headers["vary"] == "Origin"


async def test_health_names_who_is_away_and_stays_ready(start: Starter) -> None:
    client = await start(scoring_url="http://127.0.0.1:1", nats_url="nats://127.0.0.1:1")
    assert (await client.get("/health/live")).json() == {"status": "alive"}
    assert (await client.get("/health/ready")).status_code == 200
    health = (await client.get("/health")).json()
    away = {check["name"] for check in health["checks"] if not check["ok"]}
    assert (health["status"], away) == ("degraded", {"scoring", "nats"})
    assert {check["name"] for check in health["checks"]} >= {"auth", "ingest", "leagues", "analytics", "redis"}


async def test_metrics_name_routes_and_not_paths(client: httpx.AsyncClient) -> None:
    await client.get("/api/v1/races/2026-monza")
    await client.get("/made/up/path")
    metrics = (await client.get("/metrics")).text
    assert 'route="/api/v1/races/{race_id}",service="ingest",status="200"' in metrics
    assert 'method="other",route="none",service="gateway",status="404"' in metrics
    assert "2026-monza" not in metrics
