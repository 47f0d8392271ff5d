"""The broker is away for minutes, frozen, or behind a network that swallows everything (E6, E8).

The three scenarios wait much and work little, so they run at the same time, once, and each test looks at one of them.
"""

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from common import topology
from devstack.testing import eventually
from lab import wire
from lab.events import LapDriven
from lab.wire import Wire

pytestmark = pytest.mark.timeout(400)

AWAY_SECONDS = 150.0
STALLED_SECONDS = 60.0
DETECTED_SECONDS = 30.0
RESUMED_SECONDS = 5.0
LAG_SECONDS = 0.25
PAUSE_SECONDS = 0.05
SLOWER = 1.2
NOISE_SECONDS = 0.010
"""Of the 99th percentile, over the 20 %: a request takes a few milliseconds, and so does a busy scheduler."""


@dataclass
class Visitor:
    """Reads and writes over HTTP without pause, and watches the probes."""

    process: Any
    seconds: list[float] = field(default_factory=list)
    """How long each request took."""
    written: int = 0
    lags: list[float] = field(default_factory=list)
    live: list[int] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)

    async def visit(self, until: asyncio.Event, first: int) -> None:
        """Make requests until told to stop."""
        base = f"http://127.0.0.1:{self.process.port}"
        async with httpx.AsyncClient(base_url=base, timeout=10) as client:
            while not until.is_set():
                for method, path in (("GET", "/laps"), ("POST", f"/laps/{first + self.written}")):
                    begun = time.perf_counter()
                    response = await client.request(method, path)
                    self.seconds.append(time.perf_counter() - begun)
                    response.raise_for_status()
                    self.written += method == "POST"
                    await asyncio.sleep(PAUSE_SECONDS)

    async def watch(self, until: asyncio.Event) -> None:
        """Ask once a second how the process is."""
        await self.process.get("/lag")
        while not until.is_set():
            await asyncio.sleep(1)
            self.lags.append((await self.process.get("/lag")).json())
            self.live.append(await self.process.status("/health/live"))
            self.ready.append(await self.process.status("/health/ready"))

    def p99(self) -> float:
        """The 99th percentile in seconds."""
        return statistics.quantiles(self.seconds, n=100)[98]


async def ready(process: Any) -> bool:
    return bool(await process.status("/health/ready") == 200)


async def connected(process: Any) -> bool:
    return bool(await process.metric("broker_connected") == 1)


async def consumed(bench: Any, number: int) -> bool:
    return bool(
        await bench.ledger.value("SELECT count(*) = 1 FROM effects WHERE handler = 'drive' AND number = $1", number)
    )


async def drained(bench: Any) -> bool:
    return bool(await bench.ledger.value("SELECT count(*) = 0 FROM outbox WHERE published_at IS NULL"))


async def begin(bench: Any, **changes: Any) -> Any:
    """Start a service that has consumed an event."""
    process = bench.serve(handlers="lab.handlers:plain", **changes)
    await eventually(lambda: ready(process), seconds=30, what="a service that is ready")
    await eventually(lambda: connected(process), seconds=30, what="its consumers")
    await wire.publish(bench.js, LapDriven(car="44", number=1))
    await eventually(lambda: consumed(bench, 1), seconds=30, what="the first event")
    return process


@dataclass
class Outage:
    """What was seen of one scenario."""

    detected: float = 0.0
    resumed: float = 0.0
    drained: float = 0.0
    visitor: Visitor | None = None
    control: Visitor | None = None
    health: str = ""
    written: int = 0
    streamed: int = 0
    effects: int = 0


async def away(make: Callable[[], Awaitable[Any]]) -> Outage:
    """Kill the broker of one service for minutes; another, whose broker lives, tells what the machine can do."""
    bench, other = await make(), await make()
    process, control = await asyncio.gather(begin(bench), begin(other))
    outage = Outage(visitor=Visitor(process), control=Visitor(control))
    assert outage.visitor is not None
    assert outage.control is not None
    over = asyncio.Event()
    await asyncio.to_thread(bench.broker.kill)
    visits = [asyncio.create_task(visitor.visit(over, 1000)) for visitor in (outage.visitor, outage.control)]
    visits.append(asyncio.create_task(outage.visitor.watch(over)))
    done, _ = await asyncio.wait(visits, timeout=AWAY_SECONDS)
    outage.health = (await process.get("/health")).json()["status"]
    over.set()
    await asyncio.gather(*visits)
    assert not done
    await asyncio.to_thread(bench.broker.revive)
    begun = time.monotonic()
    async with wire.connected(bench.broker.url) as js:
        await wire.publish(js, LapDriven(car="44", number=2))
        await eventually(lambda: consumed(bench, 2), seconds=30, what="an event after the outage")
        outage.resumed = time.monotonic() - begun
        await eventually(lambda: drained(bench), seconds=30, what="an empty outbox")
        outage.drained = time.monotonic() - begun
        outage.written = outage.visitor.written
        outage.streamed = len(await wire.read_all(js, topology.EVENTS, "laps.timed"))

    async def all_applied() -> bool:
        outage.effects = await bench.ledger.value("SELECT count(*) FROM effects WHERE handler = 'clock'")
        return outage.effects >= outage.written

    await eventually(all_applied, seconds=60, what="every event that was written meanwhile")
    return outage


async def recover(bench: Any, process: Any, outage: Outage, mend: Callable[[], Any], began: float) -> None:
    """See the stall found out, mend it when its time has come, and see events in both directions."""
    await eventually(lambda: unreachable(process), seconds=DETECTED_SECONDS + 10, what="a broker known to be away")
    outage.detected = time.monotonic() - began
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", timeout=10) as client:
        (await client.post("/laps/1000")).raise_for_status()
    await asyncio.sleep(max(0.0, began + STALLED_SECONDS - time.monotonic()))
    assert await process.status("/health/live") == 200
    mend()
    begun = time.monotonic()
    async with wire.connected(bench.broker.url) as js:
        await wire.publish(js, LapDriven(car="44", number=2))
        await eventually(lambda: consumed(bench, 2), seconds=40, what="an event after the stall")
        outage.resumed = time.monotonic() - begun
        await eventually(lambda: drained(bench), seconds=40, what="an empty outbox")
        outage.drained = time.monotonic() - begun
        outage.streamed = len(await wire.read_all(js, topology.EVENTS, "laps.timed"))
    outage.written = 1


async def unreachable(process: Any) -> bool:
    return not await connected(process)


async def frozen(make: Callable[[], Awaitable[Any]]) -> Outage:
    """Freeze the broker: it holds its connections and answers nothing."""
    bench, outage = await make(), Outage()
    process = await begin(bench)
    process_id = bench.broker.pid
    send(process_id, signal.SIGSTOP)
    try:
        await recover(bench, process, outage, lambda: send(process_id, signal.SIGCONT), time.monotonic())
    finally:
        send(process_id, signal.SIGCONT)
    return outage


async def swallowed(make: Callable[[], Awaitable[Any]]) -> Outage:
    """Cut the network between service and broker without a word to either."""
    bench, outage = await make(), Outage()
    path = Wire(bench.broker.port)
    await path.start()
    try:
        process = await begin(bench, nats_url=path.url)
        path.cut()
        await recover(bench, process, outage, path.mend, time.monotonic())
        await process.kill()
    finally:
        await path.stop()
    return outage


def send(process_id: int, number: signal.Signals) -> None:
    os.kill(process_id, number)


@pytest.fixture(scope="module")
async def outages(benches: Callable[[], Awaitable[Any]]) -> dict[str, Outage | BaseException]:
    """All three at once."""
    scenarios = (away, frozen, swallowed)
    seen = await asyncio.gather(*(scenario(benches) for scenario in scenarios), return_exceptions=True)
    return dict(zip((scenario.__name__ for scenario in scenarios), seen, strict=True))


def seen(outages: dict[str, Any], name: str) -> Outage:
    outage = outages[name]
    if isinstance(outage, BaseException):
        raise outage
    assert isinstance(outage, Outage)
    return outage


async def test_a_broker_that_is_away_for_minutes_is_not_felt_over_http(outages: dict[str, Any]) -> None:
    outage = seen(outages, "away")
    visitor, control = outage.visitor, outage.control
    assert visitor is not None
    assert control is not None
    ours, theirs = visitor.p99() * 1000, control.p99() * 1000
    figures = f"p99 {ours:.1f} ms, {theirs:.1f} ms beside it, worst lag {max(visitor.lags):.3f} s"
    print(f"E6: {figures}; consuming after {outage.resumed:.2f} s, drained after {outage.drained:.2f} s")  # noqa: T201
    assert len(visitor.lags) > AWAY_SECONDS / 5
    assert visitor.p99() <= SLOWER * control.p99() + NOISE_SECONDS, figures
    assert max(visitor.lags) <= LAG_SECONDS, figures
    assert set(visitor.live) == {200}
    assert set(visitor.ready) == {200}, "the outbox takes what is written"
    assert outage.health == "degraded"


async def test_after_minutes_without_a_broker_everything_goes_on_within_seconds(outages: dict[str, Any]) -> None:
    outage = seen(outages, "away")
    assert outage.resumed <= RESUMED_SECONDS
    assert outage.written > AWAY_SECONDS / 3
    assert outage.streamed == outage.written
    assert outage.effects == outage.written


@pytest.mark.parametrize("scenario", ["frozen", "swallowed"])
async def test_a_broker_that_holds_its_connections_and_says_nothing_is_found_out(
    outages: dict[str, Any], scenario: str
) -> None:
    outage = seen(outages, scenario)
    print(f"E8 {scenario}: detected after {outage.detected:.1f} s, resumed after {outage.resumed:.1f} s")  # noqa: T201
    assert outage.detected <= DETECTED_SECONDS
    assert outage.resumed <= RESUMED_SECONDS
    assert outage.drained <= RESUMED_SECONDS
    assert outage.streamed == outage.written
