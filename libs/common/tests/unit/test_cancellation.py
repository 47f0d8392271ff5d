import asyncio
import contextlib

from common import cancellation


async def deaf_once() -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def test_a_loop_that_heeds_ends_although_its_cancellation_was_swallowed() -> None:
    async def endless() -> None:
        while True:
            cancellation.heed()
            await deaf_once()

    task = asyncio.create_task(endless())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=10)
    assert task.cancelled()


async def test_whoever_was_told_nothing_goes_on() -> None:
    cancellation.heed()
