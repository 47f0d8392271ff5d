"""Relays share the partitions, a missing one's are taken over, and one that cannot publish holds nothing."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg

from common import telemetry
from common.relay import IDLE_SECONDS, PARTITIONS, Partitions
from devstack.testing import eventually


def value(metric: Any) -> float:
    return float(metric._value.get())


async def shares(track: Any) -> list[int]:
    return sorted(Counter(await track.holders()).values())


async def test_relays_share_the_partitions_and_take_over_those_of_one_that_is_gone(track: Any) -> None:
    async def are(*expected: int) -> None:
        async def shared() -> bool:
            return await shares(track) == [*expected]

        await eventually(shared, seconds=20, what=f"shares of {expected}")

    track.relay()
    await are(PARTITIONS)
    track.relay()
    await are(8, 8)
    track.relay()
    await are(4, 6, 6)
    await track.stop()
    await are(8, 8)
    await track.stop()
    await are(PARTITIONS)


async def test_events_of_every_partition_leave_while_partitions_change_hands(track: Any) -> None:
    track.relay()
    track.relay()
    for number in range(100):
        await track.drive(f"car {number}", *range(3))
    await track.drained()
    await track.stop()
    await track.drive("one more", 0)
    await track.drained()
    assert await track.value(f"SELECT count(DISTINCT hashtext(key) & {PARTITIONS - 1}) FROM outbox") == PARTITIONS
    assert len(await track.streamed()) == 301


async def test_a_relay_of_the_release_before_works_alone_until_it_is_gone(
    track: Any, watcher: asyncpg.Connection
) -> None:
    """It held one exclusive lock for the whole schema."""
    assert await watcher.fetchval("SELECT pg_try_advisory_lock(7301001, hashtext('auth'))")
    newcomer = await track.database.connect_raw("relay")
    partitions = Partitions(newcomer, "auth")
    await partitions.share()
    assert partitions.held == []
    await watcher.execute("SELECT pg_advisory_unlock(7301001, hashtext('auth'))")
    await partitions.share()
    assert partitions.held == [*range(PARTITIONS)]
    await newcomer.close()


async def test_while_nats_is_away_nothing_is_held_and_the_age_of_the_outbox_is_told(track: Any) -> None:
    track.relay()
    await track.all_held()
    await asyncio.to_thread(track.broker.kill)
    await track.drive("1", 1, 2, 3)

    async def let_go() -> bool:
        return not await track.holders() and value(telemetry.OUTBOX_PENDING) == 3

    await eventually(let_go, seconds=20, what="no locks")

    async def growing() -> bool:
        return value(telemetry.OUTBOX_OLDEST) > 3

    await eventually(growing, seconds=20, what="the age of the oldest event")
    await asyncio.to_thread(track.broker.restart)
    await track.drained()

    async def empty() -> bool:
        return (value(telemetry.OUTBOX_PENDING), value(telemetry.OUTBOX_OLDEST)) == (0, 0)

    await eventually(empty, seconds=20, what="metrics of an empty outbox")


async def test_an_event_leaves_within_milliseconds_of_its_commit(track: Any) -> None:
    track.relay()
    await track.all_held()
    for number in range(50):
        await track.drive("1", number)
    await track.drained()
    query = (
        "SELECT percentile_cont(ARRAY[0.1, 0.5]) WITHIN GROUP (ORDER BY extract(epoch FROM published_at - created_at))"
    )
    quick, usual = await track.value(f"{query} FROM outbox")
    assert quick < 0.05
    assert usual < IDLE_SECONDS / 4, "woken, and not by the clock"
