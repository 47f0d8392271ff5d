"""What passes through to a service, what comes back, and what happens when the service does not answer."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from devstack.testing import TokenMaker

Upstream = Any
Starter = Callable[..., Awaitable[httpx.AsyncClient]]

SPELLINGS = [
    ("X-User-Id", "1"),
    ("x_user_id", "1"),
    ("X-USER-ID", "1"),
    ("X-Username", "root"),
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Host", "evil"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X_Forwarded_For", "203.0.113.9"),
    ("Forwarded", "for=203.0.113.9"),
    ("X-Real-IP", "203.0.113.9"),
    ("X-Auth-User", "root"),
    ("X-Original-URL", "/admin"),
    ("X-Rewrite-URL", "/admin"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("Proxy-Authorization", "Basic eA=="),
    ("TE", "trailers"),
    ("Trailer", "X-User-Id"),
    ("Upgrade", "h2c"),
    ("Keep-Alive", "timeout=5"),
    ("Cookie", "session=1"),
    ("Baggage", "user=1"),
]


async def test_a_request_reaches_its_service_with_path_query_and_body(
    client: httpx.AsyncClient, upstream: Upstream, tokens: TokenMaker
) -> None:
    response = await client.post("/api/v1/leagues?a=1&b=%20x", json={"name": "Apex"}, headers=tokens.headers())
    assert response.status_code == 200
    seen = upstream.requests[-1]
    assert (seen["service"], seen["method"], seen["path"]) == ("leagues", "POST", "/api/v1/leagues")
    assert (seen["query"], seen["length"]) == ("a=1&b=%20x", len(b'{"name":"Apex"}'))
    assert dict(seen["headers"])["content-type"] == "application/json"


@pytest.mark.parametrize(("name", "value"), SPELLINGS)
async def test_no_header_that_claims_something_reaches_a_service(
    client: httpx.AsyncClient, upstream: Upstream, name: str, value: str
) -> None:
    await client.get("/api/v1/races", headers={name: value})
    headers = upstream.requests[-1]["headers"]
    mine = {"host", "accept", "accept-encoding", "user-agent", "x-forwarded-for", "x-forwarded-proto"}
    assert {header for header, _ in headers} <= mine | {"x-request-id", "traceparent"}
    assert value not in {text for _, text in headers}


async def test_the_gateway_says_who_called_whatever_the_client_says(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    forged = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "203.0.113.10")]
    forged += [("Connection", "X-Forwarded-For, X-Request-Id, traceparent"), ("X-Request-Id", "lap-57-pit")]
    response = await client.get("/api/v1/races", headers=forged)
    headers = dict(upstream.requests[-1]["headers"])
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-request-id"] == "lap-57-pit" == response.headers["x-request-id"]


async def test_the_token_of_a_device_reaches_a_login_and_comes_once(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    body, device = {"username": "ann", "password": "Slipstream44"}, ("X-Device-Token", "pdd_of_this_device")
    await client.post("/api/v1/auth/login", json=body, headers=[device])
    assert dict(upstream.requests[-1]["headers"])["x-device-token"] == device[1]
    twice = await client.post("/api/v1/auth/login", json=body, headers=[device, ("X-Device-Token", "pdd_another")])
    assert twice.status_code == 400


async def test_a_header_named_by_connection_ends_at_the_gateway(client: httpx.AsyncClient, upstream: Upstream) -> None:
    await client.get("/api/v1/races", headers={"Accept-Language": "de", "Connection": "accept-language"})
    assert "accept-language" not in dict(upstream.requests[-1]["headers"])


async def test_a_trace_goes_on_through_the_gateway(client: httpx.AsyncClient, upstream: Upstream) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    await client.get("/api/v1/races", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert dict(upstream.requests[-1]["headers"])["traceparent"].split("-")[1] == trace


async def test_an_answer_comes_back_without_the_inner_connection(client: httpx.AsyncClient) -> None:
    response = await client.get("/api/v1/races?do=hop")
    assert response.status_code == 409
    assert response.headers["x-outer"] == "kept"
    assert not {"x-inner", "keep-alive", "server"} & set(response.headers)
    assert response.headers.get_list("x-request-id") == [response.headers["x-request-id"]]
    assert response.headers["x-request-id"] != "forged-by-service"


async def test_a_large_answer_is_streamed(client: httpx.AsyncClient) -> None:
    pieces = []
    async with client.stream("GET", "/api/v1/races?do=large") as response:
        pieces = [len(piece) async for piece in response.aiter_raw()]
    assert sum(pieces) == 3_000_000
    assert max(pieces) < 1_500_000


async def test_a_body_of_a_mebibyte_passes_in_pieces_and_a_longer_one_does_not(
    client: httpx.AsyncClient, upstream: Upstream, tokens: TokenMaker
) -> None:
    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 65_536

    passed = await client.post("/api/v1/leagues", content=pieces(16), headers=tokens.headers())
    assert passed.status_code == 200
    assert upstream.requests[-1]["length"] == 1024 * 1024
    refused = await client.post("/api/v1/leagues", content=pieces(20), headers=tokens.headers())
    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")


async def test_a_body_that_says_it_is_too_long_is_refused_and_never_reaches_a_service(
    client: httpx.AsyncClient, upstream: Upstream
) -> None:
    response = await client.post("/api/v1/auth/login", content=b"x" * 2_000_000)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert response.headers["connection"] == "close"
    assert upstream.requests == []


async def test_the_body_of_a_get_means_nothing_and_stays(client: httpx.AsyncClient, upstream: Upstream) -> None:
    response = await client.request("GET", "/api/v1/races", content=b"smuggled")
    assert response.status_code == 200
    assert upstream.requests[-1]["length"] == 0


async def test_two_tokens_in_one_request_are_refused(client: httpx.AsyncClient, tokens: TokenMaker) -> None:
    twice = [("Authorization", tokens.headers()["Authorization"])] * 2
    assert (await client.get("/api/v1/leagues", headers=twice)).status_code == 401


async def test_a_dead_service_is_a_503_within_a_second_and_the_others_live(start: Starter, upstream: Upstream) -> None:
    client = await start(ingest_url="http://127.0.0.1:1")
    began = time.monotonic()
    response = await client.get("/api/v1/races")
    assert time.monotonic() - began < 1
    assert (response.status_code, response.json()["code"]) == (503, "upstream_unavailable")
    assert response.headers["retry-after"] == "1"
    assert (await client.get("/api/v1/market")).status_code == 200
    assert upstream.requests[-1]["service"] == "leagues"


async def test_a_service_that_does_not_answer_in_time_is_a_504(start: Starter) -> None:
    client = await start(gateway_upstream_seconds=0.3)
    response = await client.get("/api/v1/races?do=hang")
    assert (response.status_code, response.json()["code"]) == (504, "upstream_timeout")


class Resetting:
    """A server that reads a request and ends the connection without an answer."""

    def __init__(self) -> None:
        self.requests = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
        writer.close()


async def test_only_a_get_is_sent_again_and_only_once(start: Starter, tokens: TokenMaker) -> None:
    resetting = Resetting()
    async with await asyncio.start_server(resetting.accept, "127.0.0.1", 0) as server:
        client = await start(leagues_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        got = await client.get("/api/v1/teams", headers=tokens.headers())
        assert (got.status_code, resetting.requests) == (503, 2)
        team = "/api/v1/teams/5e0c3c39-3f0f-4bd8-9b6e-0d2f3f3d6a10/lineup"
        put = await client.put(team, json={}, headers=tokens.headers())
        assert (put.status_code, resetting.requests) == (503, 3)
