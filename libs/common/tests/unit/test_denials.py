"""The list of ended sessions: what it refuses, what it forgets, and that it stays small."""

import asyncio
import time
from uuid import uuid4

import pytest

from common import clock, denials
from common.denials import KEPT_SECONDS, LONGEST_TOKEN_SECONDS, SKEW_SECONDS, Denials
from common.settings import Settings


@pytest.fixture
def ended() -> Denials:
    return Denials(Settings(), "test")


def now() -> float:
    return clock.now().timestamp()


def test_a_session_is_refused_from_its_end_on_and_others_are_not(ended: Denials) -> None:
    session, at = uuid4(), now()
    ended.add(session, at)
    assert ended.denies(session, at - 900)
    assert ended.denies(session, at + SKEW_SECONDS)
    assert not ended.denies(session, at + SKEW_SECONDS + 1)
    assert not ended.denies(uuid4(), at - 900)


def test_the_later_of_two_ends_counts_in_whatever_order_they_come(ended: Denials) -> None:
    session, at = uuid4(), now()
    ended.add(session, at)
    ended.add(session, at - 600)
    assert ended.denies(session, at)


def test_an_end_is_forgotten_when_every_token_has_expired_and_not_before(ended: Denials) -> None:
    at = now()
    over, kept = uuid4(), uuid4()
    ended.add(over, at - KEPT_SECONDS - 1)
    ended.add(kept, at - LONGEST_TOKEN_SECONDS)
    assert not ended.denies(over, 0)
    assert ended.denies(kept, at - LONGEST_TOKEN_SECONDS)


def test_the_list_is_bounded_and_counts_what_it_had_to_forget(ended: Denials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denials, "DENIALS", 3)
    before = denials.DROPPED._value.get()
    sessions = [uuid4() for _ in range(5)]
    for session in sessions:
        ended.add(session, now())
    assert [ended.denies(session, now()) for session in sessions] == [False, False, True, True, True]
    assert denials.DROPPED._value.get() - before == 2


async def test_nobody_waits_where_nobody_follows(ended: Denials) -> None:
    began = time.monotonic()
    await ended.known()
    assert time.monotonic() - began < 0.1


async def test_callers_wait_for_the_past_a_moment_and_then_are_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denials, "START_SECONDS", 0.3)
    ended = Denials(Settings(nats_url="nats://127.0.0.1:1"), "test")
    following = asyncio.create_task(ended.run())
    await asyncio.sleep(0)
    began = time.monotonic()
    await asyncio.gather(*(ended.known() for _ in range(50)))
    assert 0.2 < time.monotonic() - began < 2
    await ended.known()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
