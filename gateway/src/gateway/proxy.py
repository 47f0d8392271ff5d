"""The way to a service and back: one pooled client, bodies streamed both ways, headers by one policy.

A request takes along only the headers of an allow-list, so no spelling of an identity or hop-by-hop header can pass;
what the gateway knows itself (client address, request id, trace) is set afterwards. A request is sent twice at most,
and only a GET that no answer was seen of.
"""

import asyncio
from typing import cast

import aiohttp
from litestar.exceptions import HTTPException
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, HTTPScope, Receive, Send
from opentelemetry import propagate
from opentelemetry.trace import SpanKind
from yarl import URL

from common import telemetry
from common.errors import UnavailableError
from common.http import BODY_BYTES, request_id_of
from common.log import get_logger
from gateway.bodies import Body, BodyTooLargeError, check_declared_length
from gateway.routes import TABLE, Identity, Route, canonical
from gateway.settings import GatewaySettings

log = get_logger(__name__)

CONNECTIONS_PER_SERVICE = 256
KEEP_ALIVE_SECONDS = 3.0
"""Less than the 5 s after which uvicorn closes, so that no request is sent into a closing connection."""
RETRY_AFTER_SECONDS = 1
RETRY_PAUSE_SECONDS = 0.05
SLOWEST_BYTES_PER_SECOND = 128 * 1024
"""Of a client that sends more than `BODY_BYTES`."""

FORWARDED = frozenset(
    (
        *(b"accept", b"accept-encoding", b"accept-language", b"authorization", b"user-agent", b"idempotency-key"),
        *(b"content-encoding", b"content-language", b"content-type", b"range"),
        *(b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"x-device-token"),
    )
)
"""The request headers that a service gets to see."""
SINGLE = frozenset((b"authorization", b"content-type", b"idempotency-key", b"x-device-token"))
"""Two of these would leave it to each reader which one counts."""
POLICY = b"content-security-policy"
DROPPED = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te"),
        *(b"trailer", b"transfer-encoding", b"upgrade", b"server", b"date", b"x-request-id", b"x-content-type-options"),
        *(b"strict-transport-security", b"referrer-policy", POLICY, b"x-frame-options"),
        *(b"ratelimit", b"ratelimit-policy"),
    )
)
"""The answer's headers that end here: those of the connection, and those that the gateway sets itself."""


def forwarded_headers(scope: HTTPScope, route: Route, client: str) -> list[tuple[str, str]]:
    """Return what a service gets of the request's headers, and what the gateway says about it."""
    named = {
        name.strip().lower()
        for header, value in scope["headers"]
        if header == b"connection"
        for name in value.split(b",")
    }
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name not in FORWARDED or name in named or (name == b"authorization" and route.identity is Identity.IGNORED):
            continue
        if name not in headers:
            headers[name] = value
        elif name in SINGLE:
            raise HTTPException(status_code=400)
        else:
            headers[name] += b", " + value
    own = {"X-Forwarded-For": client, "X-Forwarded-Proto": scope["scheme"], "X-Request-Id": request_id_of(scope)}
    propagate.inject(own)
    return [(name.decode(), value.decode("latin-1")) for name, value in headers.items()] + list(own.items())


def returned_headers(raw: tuple[tuple[bytes, bytes], ...], *, page: bool) -> list[tuple[bytes, bytes]]:
    """Return what a client gets of an answer's headers."""
    headers = [(name.lower(), value) for name, value in raw]
    named = {name.strip().lower() for header, value in headers if header == b"connection" for name in value.split(b",")}
    dropped = DROPPED - {POLICY} if page else DROPPED
    return [(name, value) for name, value in headers if name not in dropped and name not in named]


class Forwarder:
    """The client to all services."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._urls = {name: url.rstrip("/") for name, url in settings.services.items()}
        self._timeouts = {length: _timeout(settings, length) for length in {route.body_bytes for route in TABLE}}
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the pool; connections come with the first requests."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, limit_per_host=CONNECTIONS_PER_SERVICE, keepalive_timeout=KEEP_ALIVE_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            auto_decompress=False,
            timeout=self._timeouts[BODY_BYTES],
        )
        self._session._retry_connection = False  # noqa: SLF001 - aiohttp would send a PUT twice without telling

    async def close(self) -> None:
        """Close the pool."""
        if self._session:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The pool, for calls of the gateway's own."""
        if self._session is None:
            raise RuntimeError("the forwarder is not open")
        return self._session

    def url(self, service: str, target: str) -> URL:
        """Return the address of a path and query, which are taken as they are."""
        return URL(self._urls[service] + target, encoded=True)

    async def forward(
        self, scope: HTTPScope, receive: Receive, send: Send, *, route: Route, segments: tuple[str, ...], client: str
    ) -> None:
        """Pass one request on and its answer back; raise before the answer has begun, or leave it unfinished after."""
        with telemetry.span(f"{route.method} {route.service}", SpanKind.CLIENT):
            headers = forwarded_headers(scope, route, client)
            check_declared_length(scope, route.body_bytes)
            body = await Body.begun(scope, receive, route.body_bytes)
            query = scope["query_string"].decode("latin-1")
            url = self.url(route.service, canonical(segments) + (f"?{query}" if query else ""))
            response = await self._answered(route, url, headers, body)
        try:
            await _relay(response, send, page=route.page)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("answer broken off", upstream=route.service, error=repr(error))
        finally:
            response.release()

    async def _answered(
        self, route: Route, url: URL, headers: list[tuple[str, str]], body: Body
    ) -> aiohttp.ClientResponse:
        """Return the answer when it has begun; once more for a GET whose connection failed before that."""
        try:
            return await self._send(route, url, headers, body)
        except UnavailableError as error:
            failure = error.__cause__
            if route.method != "GET" or isinstance(failure, aiohttp.ServerTimeoutError):
                raise
        await asyncio.sleep(RETRY_PAUSE_SECONDS)
        return await self._send(route, url, headers, body)

    async def _send(self, route: Route, url: URL, headers: list[tuple[str, str]], body: Body) -> aiohttp.ClientResponse:
        try:
            return await self.session.request(
                route.method,
                url,
                headers=headers,
                data=body.payload,
                allow_redirects=False,
                timeout=self._timeouts[route.body_bytes],
            )
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            raise _unavailable(route) from error
        except TimeoutError as error:
            log.warning("no answer in time", upstream=route.service, route=route.template)
            raise HTTPException(status_code=504, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}) from error
        except (aiohttp.ClientError, OSError) as error:
            if body.too_large:
                raise BodyTooLargeError from error
            raise _unavailable(route) from error


def _timeout(settings: GatewaySettings, body_bytes: int) -> aiohttp.ClientTimeout:
    """Give a longer body the time that a slow line needs for it."""
    return aiohttp.ClientTimeout(
        total=settings.gateway_upstream_seconds + (body_bytes - BODY_BYTES) / SLOWEST_BYTES_PER_SECOND,
        connect=2 * settings.gateway_connect_seconds,
        sock_connect=settings.gateway_connect_seconds,
    )


def _unavailable(route: Route) -> UnavailableError:
    detail = f"The {route.service} service does not answer right now. Try again shortly."
    return UnavailableError("upstream_unavailable", detail, retry_after=RETRY_AFTER_SECONDS)


async def _relay(response: aiohttp.ClientResponse, send: Send, *, page: bool) -> None:
    start: HTTPResponseStartEvent = {
        "type": "http.response.start",
        "status": response.status,
        "headers": returned_headers(response.raw_headers, page=page),
    }
    await send(start)
    content = response.content
    while not content.at_eof():
        piece = await content.readany()
        await send(_piece(piece, more=not content.at_eof()))
        if content.at_eof():
            return
    await send(_piece(b"", more=False))


def _piece(body: bytes, *, more: bool) -> HTTPResponseBodyEvent:
    return cast("HTTPResponseBodyEvent", {"type": "http.response.body", "body": body, "more_body": more})
