"""`GET /api/v1/stream`: events as they happen, by server-sent events."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

import aiohttp
import msgspec
from litestar import Request, get
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.types import ASGIApp, Receive, Scope, Send

from common import clock
from common.denials import Denials
from common.errors import (
    FieldError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    PaddockError,
    UnauthorizedError,
    UnavailableError,
)
from common.http import problems, request_id_of
from common.security import Principal
from gateway.feed import Feed, Listener
from gateway.memory import TOPICS, league_channel
from gateway.proxy import Forwarder
from gateway.settings import GatewaySettings

RETRY_MILLISECONDS = 2000
LIFE_SECONDS = 3600
"""A stream ends after so long; the client connects again, and whether it still may listen is asked again."""
GOODBYE_SECONDS = 1.0
BURST = 64

GAP = b"event: gap\ndata: {}\n\n"
"""Some events since ``Last-Event-ID`` are gone: read the state anew."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
DESCRIPTION = "Events as `text/event-stream`: `id` is the position to resume from, `event` the topic, `data` its body."
EVENTS = ResponseSpec(str, description=DESCRIPTION, media_type="text/event-stream", generate_examples=False)


@get(
    "/api/v1/stream",
    tags=["live"],
    operation_id="stream",
    responses={200: EVENTS, **problems(401, 403, 404, 422, 503)},
)
async def stream(
    request: Request[Any, Any, Any],
    state: State,
    topics: Annotated[str | None, Parameter(description=f"Separated by commas, of: {', '.join(TOPICS)}")] = None,
    league: Annotated[UUID | None, Parameter(description="Also the leaderboard of this league of yours")] = None,
    last_event_id: Annotated[str | None, Parameter(header="Last-Event-ID", description="Resume after this one")] = None,
) -> ASGIApp:
    """Listen to the race weekend: what is scored, locked, started and amended, as it happens.

    A personal access token needs the scope `stream:read`, and for a league `scoring:read` too. The stream ends with the
    login or the token that it was asked for with.
    """
    channels = set(_topics(topics))
    if league:
        await _require_access(state.forwarder, request, league)
        channels.add(league_channel(league))
    feed: Feed = state.feed
    settings: GatewaySettings = state.settings
    listener = await feed.join(channels, _sequence(last_event_id))
    return Stream(feed, listener, settings.gateway_heartbeat_seconds, _ender(request, state.denials))


class Stream:
    """One listener's answer, as an ASGI app."""

    def __init__(self, feed: Feed, listener: Listener, heartbeat_seconds: float, ended: Callable[[], bool]) -> None:
        self._feed = feed
        self._ended = ended
        self._listener = listener
        self._heartbeat_seconds = heartbeat_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Write until the client leaves, is cut off, or the stream's life is over."""
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_gone(receive))
        self._listener.stop = writing.cancel
        try:
            await asyncio.wait({writing, leaving}, timeout=LIFE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._feed.leave(self._listener)
            writing.cancel()
            left = leaving.done()
            leaving.cancel()
            await asyncio.gather(writing, leaving, return_exceptions=True)
        if not left:
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        opening = b"retry: %d\n\n" % RETRY_MILLISECONDS + (GAP if self._listener.missed else b"")
        await _chunk(send, opening)
        waiting = self._listener.waiting
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_seconds):
                    frames = [(await waiting.get()).frame]
            except TimeoutError:
                frames = [b":\n\n"]
            if self._ended():
                return
            while len(frames) < BURST and not waiting.empty():
                frames.append(waiting.get_nowait().frame)
            await _chunk(send, b"".join(frames))


def _ender(request: Request[Any, Any, Any], denials: Denials) -> Callable[[], bool]:
    """Return what tells whether the caller's session has ended since now."""
    principal: Principal | None = request.scope.get("state", {}).get("principal")
    joined_at = clock.now().timestamp()
    return lambda: principal is not None and denials.denies(principal.session_id, joined_at)


async def _chunk(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _topics(text: str | None) -> list[str]:
    wanted = [topic.strip() for topic in (text or "").split(",") if topic.strip()]
    unknown = sorted(set(wanted) - set(TOPICS))
    if unknown:
        error = FieldError(field="topics", message=f"one of {', '.join(TOPICS)}")
        raise InvalidError("unknown_topic", "There is no such topic.", errors=[error])
    return wanted or list(TOPICS)


def _sequence(last_event_id: str | None) -> int | None:
    """Read an id of ours; anything else is as good as none."""
    text = (last_event_id or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None  # noqa: PLR2004 - fits 2**53


async def _require_access(forwarder: Forwarder, request: Request[Any, Any, Any], league: UUID) -> None:
    """Ask scoring whether the caller may see the league's leaderboard; raise what it refuses with."""
    headers = {"X-Request-Id": request_id_of(request.scope)}
    if token := request.headers.get("authorization"):
        headers["Authorization"] = token
    url = forwarder.url("scoring", f"/api/v1/leagues/{league}/leaderboard?limit=1")
    try:
        async with forwarder.session.get(url, headers=headers, allow_redirects=False) as response:
            status, body = response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise UnavailableError("upstream_unavailable", "Scoring does not answer right now.", retry_after=1) from error
    if status == 403:  # noqa: PLR2004 - forbidden
        raise _forbidden(body)
    refusals: dict[int, PaddockError] = {
        401: UnauthorizedError("invalid_token", "The leaderboard of a league needs an access token."),
        404: NotFoundError("no_league", "There is no such league."),
    }
    if refusal := refusals.get(status):
        raise refusal
    if status != 200:  # noqa: PLR2004 - OK
        raise UnavailableError("upstream_unavailable", "Scoring does not answer right now.", retry_after=1)


class _Refused(msgspec.Struct):
    code: str = ""


def _forbidden(body: bytes) -> ForbiddenError:
    """Tell a token that may not ask from a person who is not in the league."""
    try:
        code = msgspec.json.decode(body, type=_Refused).code
    except msgspec.MsgspecError:
        code = ""
    if code == "insufficient_scope":
        return ForbiddenError(code, "The token lacks the scope scoring:read, which the leaderboard of a league takes.")
    return ForbiddenError("not_a_member", "You are not in this league.")
