"""The server as an application: Jolpica's addresses, the control routes, health."""

import asyncio

import msgspec
from litestar import Litestar, Request, Response, get
from litestar.datastructures import State as AppState
from litestar.di import Provide

from trackside import addresses, faults, pages
from trackside.clock import Clock, utc_now
from trackside.config import PUBLIC_URL, Config
from trackside.control import control
from trackside.faults import Fault
from trackside.server import Server

ERGAST = "/ergast/f1/"
CACHE_CONTROL = "max-age=600"
"""What the real server sends; a client that keeps to it sees a result up to ten minutes late."""
FRONT_MATTER = {"Cache-Control": CACHE_CONTROL, "Vary": "Accept, origin", "X-Content-Type-Options": "nosniff"}

Reply = Response[bytes]


def _reply(server: Server, content: bytes, status: int = 200, media_type: str = "application/json") -> Reply:
    headers = {"X-Trackside": server.label} | (FRONT_MATTER if status == 200 else {})  # noqa: PLR2004 - OK
    return Response(content, status_code=status, media_type=media_type, headers=headers)


def _page_of_html(server: Server, content: bytes, status: int) -> Reply:
    return _reply(server, content, status, "text/html")


def _detail(text: str) -> bytes:
    return msgspec.json.encode({"detail": text})


def _refusal(server: Server, fault: Fault) -> Reply | None:
    """The answer of a fault that needs no body to spoil."""
    match fault.kind:
        case "429":
            return _reply(server, faults.THROTTLED, 429)
        case "500":
            return _page_of_html(server, faults.SERVER_ERROR_PAGE, 500)
        case "503":
            return _page_of_html(server, faults.UNAVAILABLE_PAGE, 503)
        case "html404":
            return _page_of_html(server, faults.NOT_FOUND_PAGE, 404)
        case _:
            return None


def _answer(server: Server, request: Request[None, None, AppState], path: str, *, short: bool) -> Reply:
    """The answer of a server in good health, but for a row too few."""
    query = request.query_params
    try:
        address = addresses.parse(path)
        page = addresses.page(query.get("limit"), query.get("offset"))
    except addresses.UnknownAddressError:
        return _page_of_html(server, faults.NOT_FOUND_PAGE, 404)
    except addresses.BadRequestError as error:
        return _reply(server, _detail(str(error)), 400)
    url = PUBLIC_URL + request.url.path.lower()
    return _reply(server, pages.render(address, server.season(), page, url, short=short))


@get(["/ergast/f1", "/ergast/f1/{path:path}"])
async def ergast(request: Request[None, None, AppState], server: Server, path: str = "") -> Reply:
    """Everything that Jolpica serves."""
    server.requests[request.url.path] += 1
    if not server.throttle.admits(server.now()):
        return _reply(server, faults.THROTTLED, 429)
    fault = server.faults.take(request.url.path)
    if fault is not None and (refusal := _refusal(server, fault)):
        return refusal
    if fault is not None and fault.kind == "slow":
        await asyncio.sleep(fault.seconds)
    reply = _answer(server, request, path, short=fault is not None and fault.kind == "short")
    if fault is not None and reply.status_code == 200:  # noqa: PLR2004 - OK
        return _reply(server, faults.spoil(fault.kind, reply.content))
    return reply


@get("/health/ready", sync_to_thread=False)
def ready() -> dict[str, str]:
    """Always ready: the season is there before the first request."""
    return {"status": "ready"}


def create_app(config: Config, clock: Clock = utc_now) -> Litestar:
    """Build the season and the application that serves it.

    Raises:
        ConfigError: the season cannot be served so.
    """
    server = Server(config, clock)
    return Litestar(
        route_handlers=[ergast, control, ready],
        dependencies={"server": Provide(lambda: server, sync_to_thread=False)},
        state=AppState({"server": server}),
        openapi_config=None,
        logging_config=None,
    )
