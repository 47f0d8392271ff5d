"""For tests of this server, and of those who poll it: a server in the same process, under a clock one moves by hand.

Needs httpx, which the server itself does not.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

from litestar import Litestar
from litestar.testing import TestClient

START = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)

Client = TestClient[Litestar]
Serve = Callable[..., AbstractContextManager[Client]]
"""Starts a server; keywords are those of `trackside.config.Config`."""


class Hands:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime = START) -> None:
        self.start = start
        self.at = start

    def __call__(self) -> datetime:
        """The instant the clock shows."""
        return self.at

    def move(self, seconds: float) -> None:
        """Show an instant so many seconds after the start."""
        self.at = self.start + timedelta(seconds=seconds)
