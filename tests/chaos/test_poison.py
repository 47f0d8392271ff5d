"""An event that can never be processed: five tries, one letter, and nobody waits behind it (E11)."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from common import topology
from common.contracts import encode
from devstack.testing import eventually
from lab import wire
from lab.events import LapDriven

pytestmark = pytest.mark.timed

SCALE = 10
"""A hundredth of 1, 5, 25 and 60 s would be lost in the noise of a busy machine; a tenth is not."""
DELAYS = [1 / SCALE, 5 / SCALE, 25 / SCALE, 60 / SCALE]
NOISE_SECONDS = 0.1
"""What a busy machine adds to each try, over the 20 % that are the broker's and ours."""
FASTER = {
    "common.delivery.BUG_DELAYS_SECONDS": DELAYS,
    "common.consumers.ACK_WAIT_SECONDS": 2,
    "common.delivery.ACK_WAIT_SECONDS": 2,
}
DURABLE = "auth_drive_laps-driven"


@pytest.fixture
def bad() -> LapDriven:
    return LapDriven(car="bad", number=1)


def letters_of(bench: Any) -> Callable[[], Any]:
    async def read() -> Any:
        return await wire.read_all(bench.js, topology.DEAD_LETTERS, "dlq.>")

    return read


async def test_a_failing_event_is_tried_five_times_and_leaves_one_letter_that_tells_all(
    bench: Any, bad: LapDriven
) -> None:
    worker = bench.start(handlers="lab.handlers:poison", options={"url": bench.database_url}, patches=FASTER)
    (event_id,) = await wire.publish(bench.js, bad)
    await eventually(letters_of(bench), seconds=sum(DELAYS) * 1.2 + 20, what="the letter")
    (letter,) = await letters_of(bench)()
    (original,) = await wire.read_all(bench.js, topology.EVENTS)
    assert worker.alive

    tries = [row[0] for row in await bench.ledger.rows("SELECT at FROM runs ORDER BY id")]
    waits = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(tries)]
    assert len(tries) == 5
    for wait, wanted in zip(waits, DELAYS, strict=True):
        assert 0.8 * wanted <= wait <= 1.2 * wanted + NOISE_SECONDS, waits
    assert await bench.ledger.value("SELECT count(*) FROM effects") == 0

    assert letter.subject == f"dlq.{DURABLE}.{original.metadata.sequence.stream}"
    assert letter.data == encode(bad)
    assert original.headers is not None
    kept = {name: value for name, value in original.headers.items() if name.startswith("ce-")}
    assert kept.items() <= letter.headers.items()
    trace_id = original.headers["traceparent"].split("-")[1]
    assert letter.headers["traceparent"] == original.headers["traceparent"]
    told = {name: value for name, value in letter.headers.items() if name.startswith("paddock-")}
    assert told.pop("paddock-time")
    assert told == {
        "paddock-consumer": DURABLE,
        "paddock-subject": "laps.driven",
        "paddock-stream-seq": str(original.metadata.sequence.stream),
        "paddock-tries": "5",
        "paddock-error": "ZeroDivisionError",
        "paddock-reason": "the gearbox is gone",
        "paddock-trace-id": trace_id,
        "paddock-origin": "bus",
    }
    assert letter.headers["ce-id"] == str(event_id)


async def test_events_of_other_keys_do_not_wait_for_a_failing_one(bench: Any, bad: LapDriven) -> None:
    bench.start(handlers="lab.handlers:poison", options={"url": bench.database_url}, patches=FASTER)
    await wire.publish(bench.js, bad)

    async def tried() -> bool:
        return bool(await bench.ledger.value("SELECT count(*) >= 2 FROM runs WHERE key = 'bad'"))

    async def finished() -> bool:
        return bool(await bench.ledger.value("SELECT count(*) = 100 FROM effects"))

    await eventually(tried, seconds=30, what="the second try")
    await wire.publish(bench.js, *(LapDriven(car=f"car {number}", number=number) for number in range(100)))
    await eventually(finished, seconds=30, what="a hundred other events")
    first, last = (await bench.ledger.rows("SELECT min(at), max(at) FROM effects"))[0]
    assert (last - first).total_seconds() < 2
    assert await letters_of(bench)() == [], "the failing event was still in trouble"


async def test_what_is_no_event_becomes_a_letter_on_its_first_try_and_nothing_ends_without_one(bench: Any) -> None:
    bench.start(handlers="lab.handlers:poison", options={"url": bench.database_url}, patches=FASTER)
    good = LapDriven(car="44", number=1)
    js, subject = bench.js, good.subject
    ended = await wire.client_of(js).subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>")

    def headers(**changes: str | None) -> dict[str, str]:
        told = wire.headers_of(good, uuid4()) | {name.replace("_", "-"): value for name, value in changes.items()}
        return {name: value for name, value in told.items() if value is not None}

    await js.publish(subject, b"{not json", headers=headers())
    await js.publish(subject, b'{"car": 44}', headers=headers())
    await js.publish(subject, encode(good), headers=headers(ce_type="paddock.laps.driven.v9"))
    await js.publish(subject, encode(good), headers=headers(ce_id=None))
    await js.publish(subject, encode(good), headers=headers(ce_id="no uuid"))
    await js.publish(subject, encode(good))
    await wire.publish(js, good)

    async def all_dealt_with() -> bool:
        return len(await letters_of(bench)()) == 6 and await bench.ledger.value("SELECT count(*) = 1 FROM effects")

    await eventually(all_dealt_with, seconds=20, what="six letters and one effect")
    letters = await letters_of(bench)()
    assert {letter.headers["paddock-tries"] for letter in letters} == {"1"}
    assert {letter.headers["paddock-error"] for letter in letters} == {"PoisonError"}
    assert [letter.headers["paddock-stream-seq"] for letter in letters] == ["1", "2", "3", "4", "5", "6"]

    terminated = {json.loads((await ended.next_msg(timeout=5)).data)["stream_seq"] for _ in letters}
    assert terminated == {int(letter.headers["paddock-stream-seq"]) for letter in letters}
    assert ended.pending_msgs == 0


async def test_a_death_between_the_letter_and_the_end_of_its_delivery_leaves_one_letter(
    bench: Any, tmp_path: Path
) -> None:
    marker = tmp_path / "died"
    changes = {
        "handlers": "lab.handlers:poison",
        "options": {"url": bench.database_url},
        "patches": FASTER,
        "faults": ["lab.faults:die_before_term"],
        "environ": {"LAB_DIE_ONCE": str(marker)},
    }
    worker = bench.start(**changes)
    event = LapDriven(car="44", number=1)
    await bench.js.publish(event.subject, b"{", headers=wire.headers_of(event, uuid4()))
    assert await worker.wait() == 137
    assert len(await letters_of(bench)()) == 1, "it died after the letter"
    bench.start(**changes)

    async def over() -> bool:
        info = await bench.js.consumer_info(topology.EVENTS, DURABLE)
        return bool(info.ack_floor.stream_seq == 1)

    await eventually(over, seconds=20, what="the end of the delivery")
    assert len(await letters_of(bench)()) == 1
