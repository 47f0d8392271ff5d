"""Slow handlers under deploys and beside replicas (E14, E15)."""

import asyncio
import itertools
from typing import Any

import pytest

from common import topology
from devstack.testing import eventually
from lab import wire
from lab.events import LapDriven
from lab.process import Process

pytestmark = pytest.mark.timed

RESTARTS = 20
HANDLER_SECONDS = 10.0
IMPATIENT = {"common.messaging.STOP_SECONDS": 0.2, "common.app.GRACE_SECONDS": 1}
"""A stop that does not wait for a handler in hand, so that each one interrupts it."""
HANDLERS = ("here", "there")
ACK_WAIT_SECONDS = 1.0
REDELIVERY_SECONDS = 1.0
START_SECONDS = 1.0
"""What a fresh process may take to attach itself, on a busy machine."""


async def begun(bench: Any) -> list[tuple[str, Any, int]]:
    rows: list[tuple[str, Any, int]] = await bench.ledger.rows(
        "SELECT handler, at, process FROM runs WHERE step = 'begin' ORDER BY at"
    )
    return rows


async def test_twenty_deploys_during_slow_handlers_cost_an_event_nothing(bench: Any) -> None:
    work = {
        "handlers": "lab.handlers:slow",
        "options": {"url": bench.database_url, "seconds": HANDLER_SECONDS},
        "patches": IMPATIENT,
    }
    worker = bench.serve(**work)
    await wire.publish(bench.js, LapDriven(car="44", number=1))
    waits = []
    for restart in range(1, RESTARTS + 1):
        await runs(bench, restart)
        replacement = bench.serve(**work)
        await attached(replacement)
        assert await worker.stop() == 0
        stopped = (await bench.ledger.rows("SELECT max(at) FROM runs WHERE step = 'cancelled'"))[0][0]
        await runs(bench, restart + 1)
        waits.append(((await begun(bench))[-1][1] - stopped).total_seconds())
        worker = replacement

    async def finished() -> bool:
        return bool(await bench.ledger.value("SELECT count(*) = 2 FROM effects"))

    await eventually(finished, seconds=HANDLER_SECONDS + 15, what="the effects")
    assert max(waits) <= REDELIVERY_SECONDS, waits
    assert sorted(await bench.ledger.rows("SELECT handler, number FROM effects")) == [("here", 1), ("there", 1)]
    assert await bench.ledger.value("SELECT count(*) FROM inbox") == len(HANDLERS)
    assert await bench.ledger.value("SELECT count(*) FROM attempts") == 0, "the event is out of trouble"
    assert await wire.read_all(bench.js, topology.DEAD_LETTERS) == []
    assert len(await begun(bench)) == (RESTARTS + 1) * len(HANDLERS)
    print(f"E14: {RESTARTS} restarts, redelivered after at most {max(waits):.3f} s")  # noqa: T201 - a figure


async def attached(process: Process) -> None:
    async def ready() -> bool:
        return await process.status("/health/ready") == 200

    await eventually(ready, seconds=20, what="a release that is ready")


async def runs(bench: Any, releases: int) -> None:
    """Wait until the handlers run in so many releases, one after the other."""

    async def under_way() -> bool:
        return len(await begun(bench)) == releases * len(HANDLERS)

    await eventually(under_way, seconds=15, what=f"the handlers in release {releases}")


async def test_a_handler_slower_than_the_ack_wait_runs_once_beside_a_second_replica(bench: Any) -> None:
    work = {
        "handlers": "lab.handlers:slow",
        "options": {"url": bench.database_url, "seconds": 3.5 * ACK_WAIT_SECONDS},
        "patches": {
            "common.consumers.ACK_WAIT_SECONDS": ACK_WAIT_SECONDS,
            "common.delivery.ACK_WAIT_SECONDS": ACK_WAIT_SECONDS,
        },
    }
    replicas = [bench.serve(**work) for _ in range(2)]
    for replica in replicas:
        await attached(replica)
    await wire.publish(bench.js, LapDriven(car="44", number=1), LapDriven(car="63", number=1))

    async def finished() -> bool:
        return bool(await bench.ledger.value("SELECT count(*) = 4 FROM effects"))

    await eventually(finished, seconds=30, what="the effects")
    await asyncio.gather(*(replica.stop() for replica in replicas))
    durables = [info for info in await bench.js.consumers_info(topology.EVENTS) if info.config.durable_name]
    assert durables
    for info in durables:
        assert info.delivered.consumer_seq == 2, "the broker was told that they are at work"
    noted = await bench.ledger.rows("SELECT handler, key, step FROM runs ORDER BY id")
    for handler, car in itertools.product(HANDLERS, ("44", "63")):
        steps = [step for of, key, step in noted if (of, key) == (handler, car)]
        assert steps == ["begin", "end"], "one run, and so one at a time"
