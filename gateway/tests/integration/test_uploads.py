"""Bodies longer than a mebibyte, on the one route that takes them: streamed, counted, and given time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from gateway.tests.integration.conftest import serving

from devstack.testing import TokenMaker
from gateway.app import create_app
from gateway.routes import PICTURE_BYTES, TABLE
from gateway.settings import GatewaySettings

PATH = "/api/v1/users/me/avatar"
PIECE = 64 * 1024


class Taker:
    """A service that takes bodies, and can answer before it has all of one."""

    def __init__(self, tokens: TokenMaker) -> None:
        self.tokens = tokens
        self.requests = 0
        self.taken = 0
        """Bytes of all bodies."""
        self.begun = asyncio.Event()
        self.refuses = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = msgspec.json.encode(self.tokens.jwks)
        status = 200
        if scope["method"] == "PUT":
            self.requests += 1
            status = await self._take(receive)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _take(self, receive: Any) -> int:
        more = True
        while more:
            message = await receive()
            self.taken += len(message.get("body", b""))
            self.begun.set()
            more = message.get("more_body", False)
            if self.refuses:
                return 503
        return 200


class Counting:
    """The gateway, and how much of a body it had been given when its answer began."""

    def __init__(self, gateway: Any) -> None:
        self._gateway = gateway
        self.given = 0
        self.given_by_answer: int | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def counted() -> Any:
            message = await receive()
            self.given += len(message.get("body", b""))
            return message

        async def noted(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.given_by_answer = self.given
            await send(message)

        await self._gateway(scope, counted if scope["type"] == "http" else receive, noted)

    def drain(self) -> None:
        self._gateway.drain()


class Line:
    """A client on the way through a gateway to a service."""

    def __init__(self, client: httpx.AsyncClient, gateway: Counting, service: Taker) -> None:
        self.client = client
        self.gateway = gateway
        self.service = service

    async def put(self, content: Any, path: str = PATH) -> httpx.Response:
        return await self.client.put(path, content=content, headers=self.service.tokens.headers())


@contextlib.asynccontextmanager
async def laid(settings: GatewaySettings, tokens: TokenMaker, **changes: Any) -> AsyncIterator[Line]:
    service = Taker(tokens)
    async with serving(service) as url:
        urls = {"auth_url": url, "leagues_url": url}
        gateway = Counting(create_app(msgspec.structs.replace(settings, **urls, **changes)))
        async with serving(gateway) as outside, httpx.AsyncClient(base_url=outside, timeout=30) as client:
            yield Line(client, gateway, service)


@pytest.fixture
async def line(settings: GatewaySettings, tokens: TokenMaker) -> AsyncIterator[Line]:
    async with laid(settings, tokens) as line:
        yield line


async def pieces(length: int, pause: float = 0) -> AsyncIterator[bytes]:
    """A body without a declared length."""
    while length > 0:
        yield bytes(min(length, PIECE))
        length -= PIECE
        await asyncio.sleep(pause)


def test_one_route_takes_more_than_a_mebibyte() -> None:
    longer = {(route.method, route.template): route.body_bytes for route in TABLE if route.body_bytes != 1024 * 1024}
    assert longer == {("PUT", PATH): 10 * 1024 * 1024}


@pytest.mark.parametrize("chunked", [True, False])
async def test_ten_mebibytes_pass(line: Line, *, chunked: bool) -> None:
    response = await line.put(pieces(PICTURE_BYTES) if chunked else bytes(PICTURE_BYTES))
    assert response.status_code == 200
    assert line.service.taken == PICTURE_BYTES


async def test_a_picture_is_not_kept_on_its_way(line: Line) -> None:
    async def waits_for_the_service() -> AsyncIterator[bytes]:
        yield bytes(PIECE)
        await asyncio.wait_for(line.service.begun.wait(), 10)
        yield bytes(PIECE)

    assert (await line.put(waits_for_the_service())).status_code == 200
    assert line.service.taken == 2 * PIECE


async def test_a_byte_more_that_was_not_announced_is_refused_as_soon_as_it_is_there(line: Line) -> None:
    response = await line.put(pieces(PICTURE_BYTES + 20 * PIECE))
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert PICTURE_BYTES < (line.gateway.given_by_answer or 0) <= PICTURE_BYTES + PIECE
    assert line.service.taken <= PICTURE_BYTES


async def test_a_byte_more_that_was_announced_is_refused_unread(line: Line) -> None:
    response = await line.put(bytes(PICTURE_BYTES + 1))
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert response.headers["connection"] == "close"
    assert line.gateway.given_by_answer == 0
    assert line.service.requests == 0


async def test_other_routes_take_a_mebibyte_as_before(line: Line) -> None:
    response = await line.put(pieces(1024 * 1024 + PIECE), f"/api/v1/teams/{'0' * 32}/lineup")
    assert response.status_code == 413
    assert (line.gateway.given_by_answer or 0) <= 1024 * 1024 + PIECE


async def test_a_service_that_refuses_early_is_heard(line: Line) -> None:
    line.service.refuses = True
    assert (await line.put(bytes(PICTURE_BYTES))).status_code == 503
    assert line.service.taken <= PIECE * 4
    line.service.refuses = False
    assert (await line.put(bytes(PICTURE_BYTES))).status_code == 200


async def test_a_slow_line_has_time_for_a_picture_and_not_for_a_letter(
    settings: GatewaySettings, tokens: TokenMaker
) -> None:
    async with laid(settings, tokens, gateway_upstream_seconds=0.4) as line:
        assert (await line.put(pieces(6 * PIECE, pause=0.1))).status_code == 200
        late = await line.put(pieces(6 * PIECE, pause=0.1), f"/api/v1/teams/{'0' * 32}/lineup")
        assert late.status_code == 504
