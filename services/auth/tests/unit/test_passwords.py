import asyncio
import os
import sys
import threading
import time
from statistics import median

import msgspec
import pytest
from prometheus_client import REGISTRY

from auth.passwords import PasswordHasher
from auth.settings import AuthSettings
from common.errors import UnavailableError


def hasher(**changes: int | str) -> PasswordHasher:
    return PasswordHasher(msgspec.structs.replace(AuthSettings(bcrypt_cost=4), **changes))


async def test_a_password_is_verified_by_its_hash_and_no_other_password_is() -> None:
    own = hasher()
    stored = await own.hash("Slipstream44")
    assert "Slipstream44" not in stored
    assert await own.verify("Slipstream44", stored)
    assert not await own.verify("Slipstream45", stored)


@pytest.mark.parametrize(
    ("password", "other"),
    [
        ("x" * 72 + "1", "x" * 72 + "2"),
        ("x" * 256, "x" * 255),
        ("Front\x00Left1", "Front\x00Right2"),
        ("Front\x00Left1", "Front"),
        ("🏎" * 100 + "a", "🏎" * 100 + "b"),
        ("é", "e\u0301"),
    ],
)
async def test_no_byte_of_a_password_is_ignored(password: str, other: str) -> None:
    own = hasher()
    stored = await own.hash(password)
    assert await own.verify(password, stored)
    assert not await own.verify(other, stored)


async def test_equal_passwords_have_different_hashes() -> None:
    own = hasher()
    assert await own.hash("Slipstream44") != await own.hash("Slipstream44")


async def test_the_pepper_is_part_of_the_hash() -> None:
    stored = await hasher().hash("Slipstream44")
    assert not await hasher(password_pepper="another pepper, long enough for it").verify("Slipstream44", stored)


async def test_the_cost_of_a_hash_is_the_setting() -> None:
    assert (await hasher(bcrypt_cost=5).hash("Slipstream44")).startswith("$2b$05$")


async def test_nobody_has_no_password_and_is_as_slow_to_check_as_somebody() -> None:
    own = hasher(bcrypt_cost=8)
    stored = await own.hash("Slipstream44")
    seconds: dict[str | None, list[float]] = {stored: [], None: []}
    for _ in range(7):
        for known, taken in seconds.items():
            started = time.perf_counter()
            assert not await own.verify("Wrong password 1", known)
            taken.append(time.perf_counter() - started)
    assert 0.5 < median(seconds[None]) / median(seconds[stored]) < 2


async def test_more_than_the_queue_holds_are_told_to_come_back() -> None:
    own = hasher(bcrypt_cost=8, hash_threads=1, hash_queue=2)
    done = await asyncio.gather(*(own.hash("Slipstream44") for _ in range(10)), return_exceptions=True)
    refused = [outcome for outcome in done if isinstance(outcome, UnavailableError)]
    assert len(refused) == 7
    assert {(error.code, error.retry_after) for error in refused} == {("busy", 2)}
    assert await own.hash("Slipstream44"), "room again once the queue is empty"


@pytest.mark.parametrize("cost", [4, 6, 8])
async def test_a_check_costs_the_same_whatever_the_hash_was_made_with(cost: int) -> None:
    stored = await hasher(bcrypt_cost=cost).hash("Slipstream44")
    for known, password, right in (
        (stored, "Slipstream44", True),
        (stored, "Wrong 1", False),
        (None, "Wrong 1", False),
    ):
        before = REGISTRY.get_sample_value("auth_password_rounds_total") or 0
        assert await hasher(bcrypt_cost=8).verify(password, known) is right
        assert (REGISTRY.get_sample_value("auth_password_rounds_total") or 0) - before == 2**8


async def test_what_is_missing_of_a_cheaper_hash_is_computed_besides() -> None:
    cheap = await hasher(bcrypt_cost=4).hash("Slipstream44")
    own = hasher(bcrypt_cost=10)
    seconds: dict[str | None, list[float]] = {cheap: [], None: []}
    for _ in range(5):
        for known, taken in seconds.items():
            started = time.perf_counter()
            await own.verify("Wrong password 1", known)
            taken.append(time.perf_counter() - started)
    assert 0.5 < min(seconds[None]) / min(seconds[cheap]) < 2


async def test_a_hash_of_another_cost_is_stale() -> None:
    stored = await hasher(bcrypt_cost=5).hash("Slipstream44")
    assert [hasher(bcrypt_cost=cost).is_stale(stored) for cost in (4, 5, 6)] == [True, False, True]


async def test_a_request_with_a_place_hashes_as_often_as_it_needs_to() -> None:
    own = hasher(hash_threads=1, hash_queue=0)
    with own.place() as place:
        stored = await place.hash("Slipstream44")
        assert await place.verify("Slipstream44", stored)
        with pytest.raises(UnavailableError):
            await own.hash("Slipstream44")
    assert await own.verify("Slipstream44", stored)


async def test_a_place_is_free_again_after_an_error() -> None:
    own = hasher(hash_threads=1, hash_queue=0)
    for _ in range(3):
        with pytest.raises(IndexError):
            await own.verify("Slipstream44", "not a hash")
    assert own.inside == 0


async def test_no_more_are_hashed_at_once_than_there_are_threads_for() -> None:
    own = hasher(bcrypt_cost=9, hash_threads=2, hash_queue=20)
    hashing = asyncio.gather(*(own.hash("Slipstream44") for _ in range(10)))
    most = 0
    while not hashing.done():
        names = [thread.name for thread in threading.enumerate()]
        most = max(most, len([name for name in names if name.startswith(f"{own.thread_name}_")]))
        await asyncio.sleep(0.001)
    assert most == 2


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux alone")
async def test_passwords_are_hashed_at_the_lowest_priority_and_the_loop_keeps_its_own() -> None:
    own = hasher()
    await own.hash("Slipstream44")
    threads = {thread.name: thread.native_id or 0 for thread in threading.enumerate()}
    hashing = [tid for name, tid in threads.items() if name.startswith(f"{own.thread_name}_")]
    assert hashing
    assert {os.getpriority(os.PRIO_PROCESS, tid) for tid in hashing} == {19}
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < 19


async def test_hashing_leaves_the_event_loop_alone() -> None:
    own = hasher(bcrypt_cost=10)
    hashing = asyncio.create_task(own.hash("Slipstream44"))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100
