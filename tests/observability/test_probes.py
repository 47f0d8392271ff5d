"""O5: what the probes say while something is away, and what becomes of a process whose loop is stuck."""

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import httpx

from common import liveness
from devstack.testing import eventually
from lab.process import Process

if TYPE_CHECKING:
    from tests.observability.conftest import Bench

OUTAGE_SECONDS = 60.0
BOUND_SECONDS = 5.0


class Prober:
    """Asks a process twice a second, as its supervisor does, and keeps each answer with its time."""

    def __init__(self, process: Process, path: str) -> None:
        self._process = process
        self._path = path
        self.answers: list[tuple[float, int]] = []

    async def run(self) -> None:
        while True:
            asked_at = time.monotonic()
            self.answers.append((asked_at, await self._process.status(self._path)))
            await asyncio.sleep(0.5)

    def between(self, start: float, end: float) -> set[int]:
        return {status for at, status in self.answers if start <= at <= end}


async def first(prober: Prober, status: int, after: float) -> float:
    """Wait for a status; return how many seconds after ``after`` the question was asked."""

    async def seen() -> float | None:
        return next((at - after + 0.001 for at, answer in prober.answers if at >= after and answer == status), None)

    return float(await eventually(seen, seconds=30, what=f"the answer {status}"))


async def test_an_outage_of_postgres_shows_in_ready_within_5_s_both_ways_and_never_in_live(bench: "Bench") -> None:
    process = await bench.serve()
    live, ready = Prober(process, "/health/live"), Prober(process, "/health/ready")
    probing = [asyncio.create_task(prober.run()) for prober in (live, ready)]
    began = time.monotonic()
    await asyncio.to_thread(bench.postgres.kill)
    gone = time.monotonic()
    assert await first(ready, 503, gone) < BOUND_SECONDS
    await asyncio.sleep(OUTAGE_SECONDS)
    back = time.monotonic()
    await asyncio.to_thread(bench.postgres.restart)
    served = time.monotonic()
    assert await first(ready, 200, back) < BOUND_SECONDS + served - back
    for task in probing:
        task.cancel()
    assert live.between(began, time.monotonic()) == {200}
    assert ready.between(gone + BOUND_SECONDS, back) == {503}
    assert process.alive


async def test_without_nats_the_api_stays_ready_and_the_page_for_people_says_that_consumers_wait(
    bench: "Bench",
) -> None:
    process = await bench.serve()
    await asyncio.to_thread(bench.broker.kill)

    async def page(status: str) -> bool:
        return bool((await process.get("/health")).json()["status"] == status)

    await eventually(lambda: page("degraded"), seconds=20, what="the page says degraded")
    for _ in range(8):
        assert await process.status("/health/live") == 200
        assert await process.status("/health/ready") == 200
        await asyncio.sleep(0.5)
    consumers = (await process.get("/health")).json()["checks"][1]
    assert (consumers["name"], consumers["ok"]) == ("consumers", False)
    await asyncio.to_thread(bench.broker.restart)
    await eventually(lambda: page("ok"), seconds=30, what="the page says ok")


async def test_many_who_ask_cost_one_look_at_the_database(bench: "Bench") -> None:
    process = await bench.serve()

    async def checkouts() -> float:
        return await process.metric("database_pool_wait_seconds_count") or 0

    before = await checkouts()
    began = time.monotonic()
    statuses = await asyncio.gather(*(process.status("/health/ready") for _ in range(100)))
    looks = (time.monotonic() - began) / 2.0 + 2
    assert set(statuses) == {200}
    # The relay and the marks of the bus use the pool too, but not a hundred times.
    assert await checkouts() - before <= looks + 20


async def test_a_process_whose_loop_is_stuck_is_not_alive_and_ends_within_15_s_with_its_stacks_in_the_log(
    bench: "Bench",
) -> None:
    process = await bench.serve()
    stuck_at = time.monotonic()
    asking = asyncio.create_task(_ask(process, "/stuck/60"))
    await eventually(lambda: _silent(process), seconds=5, what="no sign of life")
    code = await process.wait(30)
    took = time.monotonic() - stuck_at
    await asking
    assert code == liveness.EXIT_CODE
    assert took < 15 + liveness.LAST_WORDS_SECONDS
    log = process.log.read_text()
    assert "get_stuck" in log, "the stack of the loop's thread is not in the log"
    assert "event loop stuck" in log


async def test_a_process_that_was_stopped_for_longer_than_that_is_not_taken_for_stuck(bench: "Bench") -> None:
    process = await bench.serve()
    process.signal(signal.SIGSTOP)
    await asyncio.sleep(18)
    process.signal(signal.SIGCONT)
    await eventually(lambda: _answers(process), seconds=10, what="a sign of life")
    await asyncio.sleep(3)
    assert process.alive
    assert await process.status("/health/live") == 200


async def test_a_loop_that_was_late_is_told_by_the_metric(bench: "Bench") -> None:
    process = await bench.serve()
    await _ask(process, "/stuck/3")
    lag = await process.metric("event_loop_lag_seconds")
    assert lag is not None
    assert 1.5 < lag < 10


async def test_a_stop_takes_no_tick_longer_than_it_must(bench: "Bench") -> None:
    process = await bench.serve()
    began = time.monotonic()
    assert await process.stop() == 0
    assert time.monotonic() - began < 8


async def _ask(process: Process, path: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", timeout=70) as client:
        try:
            await client.get(path)
        except httpx.TransportError:
            return


async def _silent(process: Process) -> bool:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", timeout=1) as client:
        try:
            return (await client.get("/health/live")).status_code != 200
        except httpx.TransportError:
            return True


async def _answers(process: Process) -> bool:
    return await process.status("/health/live") == 200
