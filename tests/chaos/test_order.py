"""The laps of a car are written in their order, whatever fails and whoever dies (E16)."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from devstack.testing import eventually
from lab import wire
from lab.events import LapDriven

pytestmark = pytest.mark.timed

CARS = 50
LAPS = 200
PARTITIONS = 4
ONE_IN = 20
"""5 % of the laps fail once."""
PER_SECOND = 300
SCALED = {
    name: [seconds / 100 for seconds in values]
    for module in ("common.delivery", "common.ordered")
    for name, values in {
        f"{module}.BUG_DELAYS_SECONDS": (1, 5, 25, 60),
        f"{module}.OUTAGE_DELAYS_SECONDS": (1, 2, 5, 10, 30),
    }.items()
}


async def test_ten_thousand_laps_of_fifty_cars_keep_their_order_through_failures_and_deaths(bench: Any) -> None:
    work = {
        "handlers": "lab.handlers:in_order",
        "options": {"partitions": PARTITIONS, "every": ONE_IN},
        "patches": SCALED,
    }
    laps = [LapDriven(car=str(car), number=number) for number in range(LAPS) for car in range(CARS)]
    for begin in range(0, len(laps), 1000):
        await wire.publish(bench.js, *laps[begin : begin + 1000])
    loop = asyncio.get_running_loop()
    started = loop.time()
    workers = [bench.start(**work) for _ in range(2)]
    for share in (1, 2):

        async def reached(wanted: int = len(laps) * share // 4) -> bool:
            return bool(await bench.ledger.value("SELECT count(*) >= $1 FROM effects", wanted))

        await eventually(reached, seconds=60, what=f"{share} quarters of the laps")
        leader = await leader_of(bench, workers)
        await leader.kill()
        workers.remove(leader)
        workers.append(bench.start(**work))

    async def finished() -> bool:
        return bool(await bench.ledger.value("SELECT count(*) >= $1 FROM effects", len(laps)))

    await eventually(finished, seconds=90, what="every lap")
    seconds = loop.time() - started
    written: dict[str, list[int]] = {}
    for car, number in await bench.ledger.rows("SELECT key, number FROM effects ORDER BY id"):
        written.setdefault(car, []).append(number)
    inversions = {car: numbers for car, numbers in written.items() if numbers != list(range(LAPS))}
    assert inversions == {}, "each lap once and in its order"
    assert len(written) == CARS
    print(f"E16: {len(laps) / seconds:,.0f} laps/s, two deaths included; cores {os.cpu_count()}")  # noqa: T201 - a figure
    assert len(laps) / seconds >= PER_SECOND


async def leader_of(bench: Any, workers: list[Any]) -> Any:
    """The process that holds a partition's lock."""
    rows = await bench.ledger.rows(
        "SELECT a.client_port FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
        "WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database() ORDER BY l.objid LIMIT 1"
    )
    ports = {row[0] for row in rows}
    for worker in workers:
        if ports & local_ports(worker.pid):
            return worker
    raise AssertionError(f"nobody holds a partition: {rows}")


def local_ports(pid: int) -> set[int]:
    """The ports from which a process has TCP connections."""
    home = Path(f"/proc/{pid}")
    targets = [str(fd.readlink()) for fd in (home / "fd").iterdir()]
    sockets = {target[len("socket:[") : -1] for target in targets if target.startswith("socket:[")}
    rows = (home / "net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return {int(row.split()[1].split(":")[1], 16) for row in rows if row.split()[9] in sockets}
