"""The edge: what happens to every request before and after the one place that answers it.

    request id, trace > path > token > limits > a service, or the gateway's own routes > security headers

It is plain ASGI around Litestar, because a proxied request has no use for a second router, and because errors of the
router itself must leave with the same headers as everything else.
"""

import time

import msgspec
import structlog
from litestar import Litestar, Request
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import (
    HTTPScope,
    LifeSpanReceive,
    LifeSpanScope,
    LifeSpanSend,
    Message,
    Receive,
    Scope,
    Send,
)
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram

from common import telemetry
from common.addresses import client_address, limit_subject
from common.errors import ForbiddenError, PaddockError, TooManyRequestsError
from common.http import Problem, RequestContext, handle_error
from common.security import Principal
from gateway.bodies import ClientGoneError, leaves_body, linger
from gateway.feed import Feed
from gateway.headers import Dress, Headers, header
from gateway.identity import Identities
from gateway.limits import Limiter
from gateway.proxy import Forwarder
from gateway.quotas import Demand, policies_of
from gateway.routes import GATEWAY, TABLE, Identity, Limit, Route, Table, canonical, read_path
from gateway.settings import GatewaySettings

HEADER_BYTES = 16 * 1024
HEADER_FIELDS = 100

REQUESTS = Counter("gateway_requests_total", "Requests by route and status", ["service", "method", "route", "status"])
SECONDS = Histogram("gateway_request_seconds", "Time from request to the end of the answer", ["service", "route"])


class LimitProblem(Problem, frozen=True, kw_only=True):
    """The problem of a 429, which repeats ``Retry-After`` for clients that read bodies only."""

    retry_after: int


class Answer:
    """An answer on its way out: gets its last headers, and remembers its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.extra: Headers = []
        self.status = 0
        """0 until the answer has begun."""

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self.extra]
        await self._send(message)

    async def whole(self, status: int, headers: Headers, body: bytes, *, more: bool = False) -> None:
        """Send everything at once; with ``more`` the connection stays busy although nothing is missing."""
        length = (b"content-length", str(len(body)).encode())
        await self.send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await self.send({"type": "http.response.body", "body": body, "more_body": more})


class Edge:
    """The gateway as an ASGI app."""

    def __init__(
        self,
        settings: GatewaySettings,
        *,
        local: Litestar,
        limiter: Limiter,
        identities: Identities,
        forwarder: Forwarder,
        feed: Feed,
    ) -> None:
        self.local = local
        self._table = Table(TABLE)
        self._hops = settings.gateway_trusted_hops
        self._policies = policies_of(settings)
        self._dress = Dress(settings)
        self._context = RequestContext()
        self._limiter = limiter
        self._identities = identities
        self._forwarder = forwarder
        self._feed = feed

    async def __call__(
        self, scope: Scope | LifeSpanScope, receive: Receive | LifeSpanReceive, send: Send | LifeSpanSend
    ) -> None:
        """Answer one connection, or pass the lifespan on."""
        if scope["type"] == "lifespan":
            await self.local(scope, receive, send)
        elif scope["type"] == ScopeType.HTTP:
            await self._request(scope, receive, send)  # type: ignore[arg-type] # an HTTP scope comes with these
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "not served"})  # type: ignore[arg-type]

    def drain(self) -> None:
        """End the live streams; the process is about to stop."""
        self._feed.drain()

    async def _request(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._dress.complete(list(message["headers"]), scope)
            await send(message)

        parent = (header(scope, b"traceparent") or b"").decode("latin-1")
        with telemetry.span(scope["method"], SpanKind.SERVER, traceparent=parent):
            await self._context.handle(scope, receive, dressed, self._answer)  # type: ignore[arg-type] # narrowed above

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Answer a request, and count it whatever became of it."""
        answer = Answer(send)
        started = time.perf_counter()
        route, segments, refusal = self._route(scope)
        try:
            if (leave := self._dress.preflight(scope)) is not None:
                await answer.whole(204, leave, b"")
            else:
                await self._pass(scope, receive, answer, route=route, segments=segments, refusal=refusal)
        except ClientGoneError:
            answer.status = answer.status or 499
        except Exception as error:  # the outermost edge: any error becomes a problem
            if answer.status:
                raise
            await self._refuse(scope, receive, answer, error, body_bytes=route.body_bytes)
        finally:
            REQUESTS.labels(route.service, route.method, route.template, answer.status).inc()
            SECONDS.labels(route.service, route.template).observe(time.perf_counter() - started)

    def _route(self, scope: HTTPScope) -> tuple[Route, tuple[str, ...], HTTPException | None]:
        """Choose the route; a request for none is refused later, after it was counted."""
        try:
            segments = read_path(scope["raw_path"])
            _check_headers(scope)
            route = self._table.find(scope["method"], segments)
        except HTTPException as error:
            return Route(GATEWAY, "other", "none", Identity.IGNORED, Limit.DEFAULT), (), error
        trace.get_current_span().update_name(f"{route.method} {route.template}")
        return route, segments, None

    async def _pass(
        self,
        scope: HTTPScope,
        receive: Receive,
        answer: Answer,
        *,
        route: Route,
        segments: tuple[str, ...],
        refusal: HTTPException | PaddockError | None,
    ) -> None:
        """Let a request through to whoever answers it, or raise why not. Refused requests count too."""
        client = client_address(scope, self._hops)
        structlog.contextvars.bind_contextvars(client=client)
        principal = None
        try:
            principal = await self._identities.identify(scope, route.identity, client)
        except PaddockError as error:
            refusal = refusal or error
        await self._charge(answer, route, client, principal)
        if refusal:
            raise refusal
        if route.service == GATEWAY:
            _check_scope(route, principal)
            scope.setdefault("state", {})["principal"] = principal
            scope["path"] = "/" + "/".join(segments)
            scope["raw_path"] = canonical(segments).encode()
            await self.local(scope, receive, answer.send)
        else:
            await self._forwarder.forward(scope, receive, answer.send, route=route, segments=segments, client=client)

    async def _charge(self, answer: Answer, route: Route, client: str, principal: Principal | None) -> None:
        if route.limit is Limit.NONE:
            return
        demands = [Demand(self._policies[route.limit], limit_subject(client))]
        if principal:
            kind = "admin" if route.identity is Identity.ADMIN else "user"
            demands.append(Demand(self._policies[kind], str(principal.user_id)))
        verdict = await self._limiter.take(demands)
        answer.extra += verdict.headers()
        if verdict.retry_after:
            raise TooManyRequestsError("rate_limited", "Rate limit exceeded", retry_after=verdict.retry_after)

    async def _refuse(
        self, scope: HTTPScope, receive: Receive, answer: Answer, error: Exception, *, body_bytes: int
    ) -> None:
        """Answer with the problem; a body that nobody read ends the connection."""
        response = handle_error(Request(scope), error)
        problem = response.content
        if isinstance(error, TooManyRequestsError):
            problem = LimitProblem(**msgspec.structs.asdict(problem), retry_after=error.retry_after or 0)
        headers = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
        headers.append((b"content-type", b"application/problem+json"))
        unread = leaves_body(scope)
        if unread:
            headers.append((b"connection", b"close"))
        await answer.whole(response.status_code or 500, headers, msgspec.json.encode(problem), more=unread)
        if unread:
            await linger(receive, body_bytes)
            await answer.send({"type": "http.response.body", "body": b"", "more_body": False})


def _check_scope(route: Route, principal: Principal | None) -> None:
    """Hold a token with scopes to what a route of our own asks; services do so for theirs."""
    if principal and principal.scopes is not None and route.scope not in {None, *principal.scopes}:
        raise ForbiddenError("insufficient_scope", f"The token lacks the scope {route.scope}.")


def _check_headers(scope: HTTPScope) -> None:
    headers = scope["headers"]
    fields = list(headers)
    if len(fields) > HEADER_FIELDS or sum(len(name) + len(value) for name, value in fields) > HEADER_BYTES:
        raise HTTPException(status_code=431)
