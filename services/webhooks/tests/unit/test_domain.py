"""When a delivery is tried again, when it has failed, and when its endpoint has."""

from datetime import timedelta
from email.utils import format_datetime

import pytest

from common import clock
from webhooks.domain import (
    PAUSES_SECONDS,
    Attempt,
    DisabledReason,
    Failure,
    Patience,
    next_pause,
    read_retry_after,
)

DAY = 86_400.0


def failed(status: int | None = 500, retry_after: float | None = None) -> Attempt:
    error = Failure.STATUS if status else Failure.TIMEOUT
    return Attempt(status_code=status, duration_ms=1, error=error, retry_after=retry_after)


def test_pauses_grow_from_seconds_to_a_day_and_then_end() -> None:
    pauses = [next_pause(tries, failed(), 0.0, 1.0) for tries in range(1, 10)]
    assert pauses == [5, 30, 120, 900, 3600, 21_600, 43_200, 86_400, None]
    assert 43 < sum(PAUSES_SECONDS) / 3600 < 44


@pytest.mark.parametrize(("jitter", "pause"), [(-1.0, 24.0), (0.5, 33.0), (1.0, 36.0)])
def test_a_pause_differs_by_a_fifth_at_most(jitter: float, pause: float) -> None:
    assert next_pause(2, failed(), jitter, 1.0) == pytest.approx(pause)


def test_a_receiver_may_ask_for_more_patience_but_not_for_less_nor_for_ever() -> None:
    assert next_pause(1, failed(429, retry_after=60), 0.0, 1.0) == 60
    assert next_pause(2, failed(503, retry_after=0.5), 0.0, 1.0) == 30
    assert next_pause(1, failed(503, retry_after=1e9), 0.0, 1.0) == DAY


def test_who_is_gone_is_not_asked_again() -> None:
    assert next_pause(1, failed(410), 0.0, 1.0) is None


def test_a_disabled_endpoint_is_not_waited_for() -> None:
    skipped = Attempt(status_code=None, duration_ms=0, error=Failure.ENDPOINT_DISABLED)
    assert next_pause(1, skipped, 0.0, 1.0) is None


@pytest.mark.parametrize(
    ("status", "failures", "seconds", "reason"),
    [
        (500, 20, DAY, DisabledReason.FAILING),
        (None, 21, 2 * DAY, DisabledReason.FAILING),
        (500, 19, 3 * DAY, None),
        (500, 400, DAY - 1, None),
        (410, 1, 0.0, DisabledReason.GONE),
        (404, 1, 0.0, None),
    ],
)
def test_an_endpoint_is_disabled_when_it_failed_often_and_long_or_is_gone(
    status: int | None, failures: int, seconds: float, reason: DisabledReason | None
) -> None:
    assert Patience(failures=20, seconds=DAY).verdict(failed(status), failures, seconds) is reason


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("1.5", 1.5),
        (None, None),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_retry_after_is_read_or_ignored(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value) == seconds


def test_retry_after_may_be_a_date() -> None:
    later = clock.now() + timedelta(minutes=10)
    assert read_retry_after(format_datetime(later, usegmt=True)) == pytest.approx(600, abs=5)
    assert read_retry_after(format_datetime(later - timedelta(hours=1), usegmt=True)) is None
