"""A service, wired: the one place where database, relay, consumers, routes and limits are put together.

Nothing connects at import, and tests call the same function as `__main__`.
"""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import uvicorn
from litestar import Litestar
from litestar.datastructures import ResponseHeader, State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.plugins.opentelemetry import OpenTelemetryConfig, OpenTelemetryPlugin
from litestar.plugins.prometheus import PrometheusController
from litestar.types import ASGIApp, Scope
from litestar.types import ControllerRouterHandler as RouteHandler
from opentelemetry.trace import Span
from sqlalchemy.ext.asyncio import AsyncSession

from common import health, telemetry
from common.consumers import Consumers
from common.db import Database
from common.denials import Denials
from common.http import DocumentedErrors, RequestContext, handle_error
from common.key_set import KeySet
from common.liveness import Watchdog
from common.log import get_logger, setup_logging
from common.messaging import Bus
from common.relay import Relay
from common.security import DocumentedScopes, TokenVerifier, ask_who_calls, provide_admin, provide_principal
from common.settings import Settings

log = get_logger(__name__)

BODY_BYTES = 1024 * 1024
GRACE_SECONDS = 10
TICK_SECONDS = 1.0


async def provide_session(state: State) -> AsyncIterator[AsyncSession]:
    """Litestar dependency ``session``: one transaction per request, committed before the answer is sent."""
    database: Database = state.database
    async with database.transaction() as session:
        yield session


Background = Callable[[Litestar], Coroutine[Any, Any, None]]


def service_app(
    service: str,
    settings: Settings,
    *,
    title: str,
    route_handlers: Sequence[RouteHandler],
    consumers: Consumers | None = None,
    background: Sequence[Background] = (),
    dependencies: Mapping[str, Provide] | None = None,
) -> Litestar:
    """Wire a service: database, relay, consumers and background tasks live and die with the app."""
    database = Database(settings, service)
    bus = Bus(consumers, database, settings) if consumers else None
    relay = Relay(database, settings)
    denials = Denials(settings, service)
    keys = KeySet(settings.auth_url)
    tasks: list[tuple[str, Background]] = [("relay", lambda _: relay.run()), ("denials", denials.run)]
    if (consuming := bus) is not None:
        tasks.append(("consumers", lambda _: consuming.run()))
    tasks += [(task.__name__, task) for task in background]

    @contextlib.asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        try:
            async with in_background(app, tasks):
                try:
                    yield
                finally:
                    if bus:
                        await bus.drain()
        finally:
            await database.close()

    return Litestar(
        route_handlers=[*route_handlers, *health.routes(service, database, bus), Metrics],
        lifespan=[lifespan],
        dependencies={
            "session": Provide(provide_session),
            "principal": Provide(provide_principal),
            "admin": Provide(provide_admin),
            **(dependencies or {}),
        },
        exception_handlers={Exception: handle_error},
        guards=[ask_who_calls],
        middleware=[RequestContext()],
        plugins=[DocumentedErrors(), DocumentedScopes(service), OpenTelemetryPlugin(TRACING)],
        openapi_config=OpenAPIConfig(
            title=title,
            version="1",
            render_plugins=[JsonRenderPlugin()],  # pages for reading it, with scripts of others, are the gateway's
            components=Components(
                security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
            ),
        ),
        request_max_body_size=BODY_BYTES,
        response_headers=[ResponseHeader(name="X-Content-Type-Options", value="nosniff")],
        state=State(
            {
                "database": database,
                "settings": settings,
                "service": service,
                "denials": denials,
                "verifier": TokenVerifier(settings.token_issuer, settings.token_audience, keys, denials),
                "admin_verifier": TokenVerifier(settings.token_issuer, settings.token_admin_audience, keys, denials),
            }
        ),
        logging_config=None,
    )


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel until it took: before Python 3.12 `asyncio.wait_for`, which our libraries use, can swallow one."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.5)


def _first_name(scope: Scope) -> tuple[str, dict[str, Any]]:
    """Name the span of a request before its route is known; `RequestContext` knows it."""
    method = str(scope.get("method", ""))
    return method if method in METHODS else "HTTP", {}


def _forget_query(span: Span, scope: dict[str, Any]) -> None:
    """Keep what is asked for out of the trace: a query may hold an address."""
    if scope.get("query_string"):
        for name in ("http.url", "http.target"):
            span.set_attribute(name, scope["path"])


METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
TRACING = OpenTelemetryConfig(
    exclude=["/health", "/metrics"],
    exclude_spans=["receive", "send"],
    scope_span_details_extractor=_first_name,
    server_request_hook_handler=_forget_query,
)


class Metrics(PrometheusController):
    """``/metrics``, in no document."""

    include_in_schema = False


@contextlib.asynccontextmanager
async def in_background(app: Litestar, tasks: Sequence[tuple[str, Background]]) -> AsyncIterator[None]:
    """Run named tasks while the block lasts; what start-up allocated is no longer looked at by the collector."""
    running = [asyncio.create_task(_endless(name, task, app), name=name) for name, task in tasks]
    for name, _ in tasks:
        telemetry.TASK_RESTARTS.labels(name)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        await _cancel(running)


async def _endless(name: str, task: Background, app: Litestar) -> None:
    """Run a background task for the life of the app; a bug in it is logged and the task starts again."""
    while True:
        try:
            await task(app)
        except asyncio.CancelledError:
            raise
        except Exception:  # the edge of a task: nobody else would ever hear of it
            log.exception("background task failed", task=name)
        telemetry.TASK_RESTARTS.labels(name).inc()
        await asyncio.sleep(1)


@runtime_checkable
class Drainable(Protocol):
    """An app with answers that never end by themselves."""

    def drain(self) -> None:
        """End those answers; the process is about to stop."""
        ...


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, under the eyes of the watchdog."""
        self._loop = asyncio.get_running_loop()
        Watchdog(self._loop)
        await super().startup(sockets)

    async def main_loop(self) -> None:
        """Tick once a second, and at a signal; uvicorn's ten times cost an idle process as much as all its work."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._leaving.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave, now."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._leaving.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as uvicorn does, which waits for answers in flight, after the endless ones were told to end."""
        app: object = self.config.app
        if isinstance(app, Drainable):
            app.drain()
        await super().shutdown(sockets)


def serve(service: str, create_app: Callable[[Any], ASGIApp], settings: Settings) -> None:
    """Run the app until SIGTERM or SIGINT, drain, and exit with 0."""
    setup_logging(service, settings)
    telemetry.setup_tracing(service, settings)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # uvicorn raises it once more after a clean stop
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # uvicorn would believe X-Forwarded-For from anybody on this machine
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=16 * 1024,
    )
    with contextlib.suppress(KeyboardInterrupt):
        _Server(config).run()
