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


def put(owner: Any, name: str, value: Any) -> None:
    """Replace a method of a library."""
    setattr(owner, name, value)


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

    put(Msg, "ack_sync", late)


def die_before_term() -> None:
    """Die between the dead letter and the end of its delivery, once for each file that is not there."""
    respond, terminate = Msg.respond, Msg.term

    def die_once() -> None:
        try:
            os.close(os.open(os.environ["LAB_DIE_ONCE"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os._exit(DIED)

    async def responding(message: Msg, data: bytes) -> None:
        if data.startswith(Msg.Ack.Term):
            die_once()
        await respond(message, data)

    async def terminating(message: Msg) -> None:
        die_once()
        await terminate(message)

    put(Msg, "respond", responding)
    put(Msg, "term", terminating)


def clock_an_hour_early() -> None:
    """Have a clock that is an hour ahead."""
    _shift(timedelta(hours=1))


def clock_an_hour_late() -> None:
    """Have a clock that is an hour behind."""
    _shift(timedelta(hours=-1))


def _shift(error: timedelta) -> None:
    right, seconds = clock.now, time.time
    put(clock, "now", lambda: right() + error)
    put(time, "time", lambda: seconds() + error.total_seconds())
