"""Cancellations that get lost: before Python 3.12 `asyncio.wait_for`, which our libraries use, can swallow one."""

import asyncio


def heed() -> None:
    """Raise `CancelledError` when this task was told to end and something on the way kept it from hearing.

    An endless loop calls this in each round, or whoever waits for its task to end waits for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
