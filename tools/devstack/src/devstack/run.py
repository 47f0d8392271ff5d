"""Running a stack in the foreground: start, wait, stop in order; signals mean what people expect of them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from devstack.stack import CancelledError, Stack

ECHO_SECONDS = 0.5
"""A signal this soon after the first is the same one, sent to the group and passed on by `make`."""
POLL_SECONDS = 0.2
KILLED = 130


def run(stack: Stack, *, on_ready: Callable[[threading.Event], None]) -> str | None:
    """Start ``stack``, run until a signal or a failure, stop it; answer why it failed, None when it did not.

    ``on_ready`` is given an event that is set when the run should end.
    """
    ending = threading.Event()
    with _signals(stack, ending):
        try:
            stack.start()
            on_ready(ending)
            while not ending.wait(POLL_SECONDS):
                if stack.watch.failed.is_set():
                    break
        except CancelledError:
            return None
        finally:
            stack.stop()
    return stack.watch.failure


@contextmanager
def _signals(stack: Stack, ending: threading.Event) -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP ends in order, the second at once."""
    first: list[float] = []

    def handle(_: int, __: FrameType | None) -> None:
        now = time.monotonic()
        if not first:
            first.append(now)
            ending.set()
            stack.cancel()
        elif now - first[0] > ECHO_SECONDS:
            stack.watch.kill_all()
            os._exit(KILLED)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
