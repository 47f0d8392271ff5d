"""Bodies of requests: counted as they come, refused when too long, and never kept whole."""

import asyncio
from collections.abc import AsyncIterator

from litestar.exceptions import HTTPException
from litestar.types import HTTPScope, Receive

from common.http import BODY_BYTES

UNREAD_BYTES = 64 * 1024
LINGER_BYTES = 256 * 1024
LINGER_SECONDS = 0.5
"""For a body of `BODY_BYTES`."""
LENGTH_DIGITS = 18


class BodyTooLargeError(HTTPException):
    """The body is longer than the route takes."""

    status_code = 413


class ClientGoneError(Exception):
    """Nobody is left to answer."""


def check_declared_length(scope: HTTPScope, limit: int) -> None:
    """Refuse a body that says itself that it is too long, before any of it is read."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit():
                raise HTTPException(status_code=400)
            if _longer(value, limit):
                raise BodyTooLargeError


def leaves_body(scope: HTTPScope) -> bool:
    """Tell whether a request that is refused has more of a body on its way than is worth waiting for."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and _longer(value, UNREAD_BYTES))
        for name, value in scope["headers"]
    )


def _longer(length: bytes, limit: int) -> bool:
    return len(length) > LENGTH_DIGITS or not length.isdigit() or int(length) > limit


class Body:
    """A request's body, in the pieces it arrives in, counted."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._first = b""
        self.more = True
        self.length = 0

    @classmethod
    async def begun(cls, scope: HTTPScope, receive: Receive, limit: int) -> "Body":
        """Read the first piece, which is nearly always all of it. What a GET brings has no meaning and stays here."""
        body = cls(receive, limit)
        if scope["method"] == "GET":
            body.more = False
        else:
            body._first = await body._next()
        return body

    @property
    def payload(self) -> bytes | AsyncIterator[bytes] | None:
        """What to give to the client library: nothing, all of it, or the pieces as they come."""
        return self._pieces() if self.more else self._first or None

    @property
    def too_large(self) -> bool:
        """True once more was sent than is taken."""
        return self.length > self._limit

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield self._first
        while self.more:
            yield await self._next()

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        self.more = message.get("more_body", False)
        piece = message.get("body", b"")
        self.length += len(piece)
        if self.too_large:
            raise BodyTooLargeError
        return piece


async def linger(receive: Receive, body_bytes: int) -> None:
    """Read on after a refusal, so that a client that is still sending finds the answer and not a reset.

    What is read is dropped, and it is little more than the route, which takes ``body_bytes``, would have read anyway.
    """
    read, more = 0, True
    try:
        async with asyncio.timeout(LINGER_SECONDS * body_bytes / BODY_BYTES):
            while more and read < body_bytes + LINGER_BYTES:
                message = await receive()
                if message["type"] != "http.request":
                    return
                more = message.get("more_body", False)
                read += len(message.get("body", b""))
    except TimeoutError:
        return
