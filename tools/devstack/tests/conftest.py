"""Waiting for a condition, and processes that hold something."""

import time
from collections.abc import Callable

import pytest

Until = Callable[[Callable[[], bool], str], None]


@pytest.fixture
def until() -> Until:
    """Wait on a condition with a deadline of ten seconds."""

    def wait(condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, f"never came: {what}"
            time.sleep(0.01)

    return wait
