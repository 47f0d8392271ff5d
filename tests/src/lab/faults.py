"""Faults that a worker puts into itself: at the edges of libraries, so that no line of the product knows of them."""

import asyncio
import os
import time
from datetime import timedelta
from typing import Any

from nats.aio.msg import Msg
from sqlalchemy.ext.asyncio import AsyncSession

from common import clock, inbox

DIED = 137


def no_inbox() -> None:
    """Take every event for new: what the system would be without its inbox."""

    async def all_new(session: AsyncSession, consumer: str, event_ids: Any) -> set[Any]:  # noqa: ARG001 - as the original
        return set(event_ids)

    async def always(session: AsyncSession, consumer: str, event_id: Any) -> bool:  # noqa: ARG001 - as the original
        return True

    inbox.claim_all = all_new
    inbox.claim = always


def late_acks() -> None:
    """Let time pass between the commit and its acknowledgement, where a death does most harm."""
    acknowledge = Msg.ack_sync

    async def late(message: Msg, timeout: float = 1) -> Any:  # noqa: ASYNC109 - as the library has it
        await asyncio.sleep(0.02)
        return await acknowledge(message, timeout)

    Msg.ack_sync = late  # type: ignore[method-assign]


def die_before_term() -> None:
    """Die between the dead letter and the end of its delivery, once for each file that is not there."""
    terminate = Msg.term

    async def die(message: Msg) -> None:
        marker = os.environ["LAB_DIE_ONCE"]
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return await terminate(message)
        os._exit(DIED)

    Msg.term = die  # type: ignore[method-assign]


def clock_an_hour_early() -> None:
    """Have a clock that is an hour ahead."""
    _shift(timedelta(hours=1))


def clock_an_hour_late() -> None:
    """Have a clock that is an hour behind."""
    _shift(timedelta(hours=-1))


def _shift(error: timedelta) -> None:
    right, seconds = clock.now, time.time
    clock.now = lambda: right() + error
    time.time = lambda: seconds() + error.total_seconds()
