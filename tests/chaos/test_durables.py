"""Durables that vanish or are changed under running consumers (E7 without the keeper's half, E18)."""

import asyncio
import time
from typing import Any

import pytest
from nats.js.api import ConsumerConfig

from common import topology
from devstack.testing import eventually
from lab import wire
from lab.events import ChunkScored, LapDriven, LapTimed

RECREATED_SECONDS = 15
RECONCILED_SECONDS = 30
STARVED_SECONDS = 6.0
CORE_SHARE = 0.10
"""How much of a core consumers may use that have nothing to consume from."""
DRIVE, CLOCK, COUNT = "auth_drive_laps-driven", "auth_clock_laps-timed", "auth_count_laps-chunk"


@pytest.fixture
async def service(bench: Any) -> Any:
    """A service whose three handlers have each handled something."""
    process = bench.serve(handlers="lab.handlers:plain")
    await wire.publish(bench.js, *laps(1))
    await eventually(lambda: handled(bench, 1), seconds=30, what="the first lap")
    return process


def laps(number: int) -> tuple[LapDriven, LapTimed, ChunkScored]:
    return LapDriven(car="44", number=number), LapTimed(car="44", number=number), ChunkScored(number=number)


async def handled(bench: Any, number: int) -> bool:
    rows = await bench.ledger.rows("SELECT handler FROM effects WHERE number = $1", number)
    return sorted(handler for (handler,) in rows) == ["clock", "count", "drive"]


async def cores_used(process: Any, seconds: float) -> float:
    """Share of a core over a time in which nothing is awaited but the time."""
    begun, used = time.monotonic(), process.cpu_seconds()
    await asyncio.sleep(seconds)
    return float((process.cpu_seconds() - used) / (time.monotonic() - begun))


async def test_a_deleted_durable_is_made_anew_and_its_events_flow(bench: Any, service: Any) -> None:
    for durable in (DRIVE, CLOCK, COUNT):
        await bench.js.delete_consumer(topology.EVENTS, durable)
    begun = time.monotonic()
    await wire.publish(bench.js, *laps(2))
    await eventually(lambda: handled(bench, 2), seconds=RECREATED_SECONDS, what="events for durables that were deleted")
    took = time.monotonic() - begun
    assert await bench.ledger.value("SELECT count(*) FROM effects WHERE number = 1") == 3, "old events came once more"
    assert await service.metric("consumers_recreated_total") == 3
    print(f"E7: recreated and consuming after {took:.1f} s")  # noqa: T201 - a figure


async def test_a_deleted_stream_costs_little_and_its_return_is_noticed(bench: Any, service: Any) -> None:
    await bench.js.delete_stream(topology.EVENTS)
    share = await cores_used(service, STARVED_SECONDS)
    assert share <= CORE_SHARE
    assert service.alive
    assert await service.status("/health/live") == 200
    await topology.apply(bench.js)
    begun = time.monotonic()
    await wire.publish(bench.js, *laps(2))
    await eventually(lambda: handled(bench, 2), seconds=RECREATED_SECONDS, what="events of the new stream")
    print(f"E7: {share:.1%} of a core while starved, consuming {time.monotonic() - begun:.1f} s after")  # noqa: T201


async def test_consumers_with_nothing_to_do_use_next_to_nothing(service: Any) -> None:
    assert await cores_used(service, STARVED_SECONDS) <= CORE_SHARE / 2


async def test_changed_durables_are_noticed_and_set_right(bench: Any, service: Any) -> None:
    async def live(durable: str) -> ConsumerConfig:
        config: ConsumerConfig = (await bench.js.consumer_info(topology.EVENTS, durable)).config
        return config

    before = {durable: await live(durable) for durable in (DRIVE, CLOCK, COUNT)}
    changed = {
        DRIVE: before[DRIVE].evolve(ack_wait=5),
        CLOCK: before[CLOCK].evolve(filter_subject="laps.driven"),
        COUNT: before[COUNT].evolve(max_deliver=3),
    }
    for config in changed.values():
        await bench.js.add_consumer(topology.EVENTS, config)
    seen: dict[str, float] = {}

    async def all_seen() -> bool:
        for durable in changed:
            if await service.metric("consumer_config_drift", consumer=durable):
                seen.setdefault(durable, time.monotonic() - begun)
        return seen.keys() == changed.keys()

    async def as_before() -> bool:
        return all([same(await live(durable), before[durable]) for durable in changed])

    begun = time.monotonic()
    await eventually(all_seen, seconds=RECONCILED_SECONDS, what="the metric of drift for each durable")
    left = RECONCILED_SECONDS - (time.monotonic() - begun)
    await eventually(as_before, seconds=left, what="durables as the code says")
    await wire.publish(bench.js, *laps(2))
    await eventually(lambda: handled(bench, 2), seconds=20, what="events after the repair")
    print(f"E18: drift seen and set right after {max(seen.values()):.1f} s")  # noqa: T201 - a figure


def same(one: ConsumerConfig, other: ConsumerConfig) -> bool:
    fields = ("ack_wait", "filter_subject", "max_deliver", "max_ack_pending")
    return all(getattr(one, field) == getattr(other, field) for field in fields)
