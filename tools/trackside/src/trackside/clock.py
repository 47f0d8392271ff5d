"""The one place where trackside reads the time."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Answers the present instant, in UTC and aware of it."""


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)
