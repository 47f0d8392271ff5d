"""The side that shows letters: a page for people, JSON for tests.

A letter's HTML is somebody else's: it is shown in a frame without scripts, forms and cookies, and may load nothing. Its
links stand outside the frame, where they can be followed.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, select_autoescape
from litestar import Litestar, Request, Response, delete, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException

from paddock_mailbox.letters import Box, Letter
from paddock_mailbox.smtp import Catcher, listen

HTML = "text/html"
GUARDED = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
PAGE = GUARDED | {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'none'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
}
FRAMED = GUARDED | {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
        "frame-ancestors 'self'"
    )
}
HOSTS = ["127.0.0.1", "localhost", "mailbox"]
"""Names under which the page may be asked for: no site of somebody's can have its own name lead here and read along."""
TEMPLATES = Environment(loader=PackageLoader("paddock_mailbox"), autoescape=select_autoescape(("html",)))


class Letters(msgspec.Struct, frozen=True, kw_only=True):
    """What was caught, the newest first."""

    items: list[Letter]


def _letter(state: State, number: int) -> Letter:
    box: Box = state.box
    letter = box.find(number)
    if letter is None:
        raise NotFoundException
    return letter


def _page(template: str, **values: object) -> Response[str]:
    return Response(TEMPLATES.get_template(template).render(**values), media_type=HTML, headers=PAGE)


@get("/")
async def index(state: State) -> Response[str]:
    """List the letters."""
    box: Box = state.box
    return _page("index.html", letters=box.all(), kept=box.kept)


@get("/letters/{number:int}")
async def show(state: State, number: int) -> Response[str]:
    """Show a letter: its links, its text, and its HTML in a frame."""
    return _page("letter.html", letter=_letter(state, number))


@get("/letters/{number:int}/html")
async def framed(state: State, number: int) -> Response[str]:
    """Give the HTML of a letter, for the frame."""
    return Response(_letter(state, number).html, media_type=HTML, headers=FRAMED)


@get("/messages")
async def messages(state: State, to: str | None = None) -> Response[Letters]:
    """List the letters as JSON; with ``to`` those to one address."""
    box: Box = state.box
    return Response(Letters(items=box.all(to)), headers=GUARDED)


@delete("/messages")
async def forget(state: State) -> None:
    """Forget all letters."""
    box: Box = state.box
    box.clear()


@get("/health/ready")
async def ready() -> dict[str, str]:
    """Answer once letters are taken: the app starts after the mail server."""
    return {"status": "ok"}


async def _refuse_other_names(request: Request[Any, Any, State]) -> Response[str] | None:
    name = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
    return None if name in HOSTS else Response("not under this name", status_code=421, media_type="text/plain")


def smtp_at(host: str, port: int) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    """Have letters taken there for as long as the app lives."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        server = await listen(Catcher(app.state.box), host, port)
        try:
            yield
        finally:
            server.close()

    return lifespan


def create_app(box: Box, host: str, smtp_port: int) -> Litestar:
    """Wire both sides."""
    return Litestar(
        route_handlers=[index, show, framed, messages, forget, ready],
        lifespan=[smtp_at(host, smtp_port)],
        before_request=_refuse_other_names,
        state=State({"box": box}),
        openapi_config=None,
        logging_config=None,
    )
