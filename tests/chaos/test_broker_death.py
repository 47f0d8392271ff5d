"""What the broker has acknowledged it has, once, however often it is killed (E22)."""

import asyncio
import random
from collections import Counter
from typing import Any

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from common import topology
from common.contracts import encode
from lab import wire
from lab.events import LapDriven

DEATHS = 30
PUBLISHERS = 50
SEED = 3
TIMEOUT_SECONDS = 1.0


class Publisher:
    """Publishes without pause, again under the same id until it is acknowledged."""

    def __init__(self, js: JetStreamContext, number: int) -> None:
        self._js = js
        self._number = number
        self.acked: dict[str, int] = {}
        """Sequence by id."""
        self.uncertain = 0

    async def run(self, over: asyncio.Event) -> None:
        """Publish until told to stop; what was begun is brought to an end."""
        lap = 0
        while not over.is_set():
            lap += 1
            await self._insist(LapDriven(car=str(self._number), number=lap), f"{self._number}-{lap}")

    async def _insist(self, event: LapDriven, name: str) -> None:
        headers = {"Nats-Msg-Id": name}
        while True:
            try:
                ack = await self._js.publish(
                    event.subject, encode(event), stream=topology.EVENTS, headers=headers, timeout=TIMEOUT_SECONDS
                )
            except (TimeoutError, nats.errors.Error):
                self.uncertain += 1
                await asyncio.sleep(0.05)
            else:
                self.acked[name] = ack.seq
                return


async def test_thirty_deaths_of_the_broker_cost_no_acknowledged_event(bench: Any) -> None:
    chance = random.Random(SEED)  # noqa: S311 - not a secret
    over = asyncio.Event()
    client = await topology.connect(bench.broker.url, "tests")
    client.options["reconnect_time_wait"] = 0.1
    publishers = [Publisher(client.jetstream(), number) for number in range(PUBLISHERS)]
    tasks = [asyncio.create_task(publisher.run(over)) for publisher in publishers]
    for death in range(DEATHS):
        known = sum(len(publisher.acked) for publisher in publishers)
        async with asyncio.timeout(20):
            while sum(len(publisher.acked) for publisher in publishers) < known + PUBLISHERS:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await asyncio.sleep(chance.uniform(0, 0.3))
        assert not [task for task in tasks if task.done()], f"a publisher gave up after {death} deaths"
        await asyncio.to_thread(bench.broker.kill)
        await asyncio.to_thread(bench.broker.revive)
    over.set()
    async with asyncio.timeout(30):
        await asyncio.gather(*tasks)
    await client.close()

    acked = {name: seq for publisher in publishers for name, seq in publisher.acked.items()}
    async with wire.connected(bench.broker.url) as js:
        stored = await wire.read_all(js, topology.EVENTS)
    names = Counter((message.headers or {})["Nats-Msg-Id"] for message in stored)
    places = {(message.headers or {})["Nats-Msg-Id"]: message.metadata.sequence.stream for message in stored}
    uncertain = sum(publisher.uncertain for publisher in publishers)
    print(f"E22: {DEATHS} deaths, {len(acked):,} acknowledged, {uncertain} published again")  # noqa: T201 - a figure
    assert [name for name, count in names.items() if count > 1] == []
    assert acked.keys() - names.keys() == set(), "acknowledged and lost"
    assert {name: seq for name, seq in acked.items() if places[name] != seq} == {}
    assert uncertain >= DEATHS, "some of the deaths hit a publish on its way"
