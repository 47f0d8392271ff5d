"""When the upstream is asked, and when it is left alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from common.contracts.ingest import SessionKind
from ingest.polling import AT_ONCE, NEVER, Pace, Watch, calendar_due, result_due
from ingest.settings import IngestSettings
from ingest.timers import Planned, is_news

START = datetime(2026, 3, 8, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
PACE = Pace.of(IngestSettings())


def due(**facts: Any) -> datetime:
    known: dict[str, Any] = {"checked_at": None, "failed_at": None, "has_result": False, **facts}
    return result_due(PACE, Watch(season=2026, race_id="2026-x", kind=SessionKind.RACE, starts_at=START, **known))


def test_nothing_is_asked_before_an_hour_after_the_start() -> None:
    assert due() == START + HOUR


def test_an_answer_from_before_the_session_counts_for_nothing() -> None:
    assert due(checked_at=START - DAY) == START + HOUR


def test_a_result_that_is_not_there_is_asked_for_every_minute() -> None:
    checked_at = START + HOUR + 20 * MINUTE
    assert due(checked_at=checked_at) == checked_at + MINUTE


def test_a_result_that_does_not_come_is_asked_for_ever_more_rarely() -> None:
    checked_at = START + HOUR + 2 * DAY
    assert due(checked_at=checked_at) == checked_at + 48 * MINUTE


def test_a_result_that_never_comes_is_given_up() -> None:
    assert due(checked_at=START + 15 * DAY) == NEVER
    asked, now = 0, START + HOUR
    while (now := due(checked_at=now)) != NEVER:
        asked += 1
    assert asked < 450


def test_a_result_is_looked_at_daily_for_two_weeks() -> None:
    now, looks = START + 2 * HOUR, 0
    while (now := due(checked_at=now, has_result=True)) != NEVER:
        looks += 1
    assert looks == 13


def test_a_session_missed_by_a_stop_of_months_is_asked_about_once() -> None:
    assert due() < START + 90 * DAY
    assert due(checked_at=START + 90 * DAY) == NEVER
    assert due(checked_at=START + 90 * DAY, has_result=True) == NEVER


def test_a_failure_is_tried_again_after_a_minute_and_later_after_an_hour_at_most() -> None:
    assert due(failed_at=START + 2 * HOUR) == START + 2 * HOUR + MINUTE
    assert due(failed_at=START + 90 * DAY) == START + 90 * DAY + HOUR
    assert due(failed_at=START + 3 * HOUR, checked_at=START + 2 * HOUR) == START + 3 * HOUR + 2 * MINUTE


def test_the_calendar_is_read_at_the_start_and_then_daily() -> None:
    assert calendar_due(PACE, None, None, moved=False) == AT_ONCE
    assert calendar_due(PACE, START, None, moved=False) == START + DAY


def test_a_calendar_that_fails_is_tried_again_after_a_minute() -> None:
    assert calendar_due(PACE, None, START, moved=False) == START + MINUTE


def test_a_calendar_that_a_result_contradicts_is_read_soon_but_not_at_every_poll() -> None:
    assert calendar_due(PACE, START, None, moved=True) == START + 10 * MINUTE


NOW = START


@pytest.mark.parametrize(
    ("was", "planned", "expected"),
    [
        (None, HOUR, True),
        (None, -HOUR, True),
        (None, -25 * HOUR, False),
        (HOUR, HOUR, False),
        (HOUR, 2 * HOUR, True),
        (HOUR, -HOUR, True),
        (-HOUR, HOUR, True),
        (-2 * HOUR, -HOUR, False),
    ],
    ids=[
        "new and to come",
        "new and today",
        "new and long past",
        "unchanged",
        "put off",
        "brought forward into the past",
        "put off after its start",
        "corrected after its start",
    ],
)
def test_a_timer_is_set_when_there_is_something_to_tell(
    was: timedelta | None, planned: timedelta, *, expected: bool
) -> None:
    before = None if was is None else Planned(1, NOW + was)
    assert is_news(before, Planned(1, NOW + planned), NOW) is expected


def test_a_waiting_timer_learns_of_a_new_round_number() -> None:
    assert is_news(Planned(2, NOW + HOUR), Planned(1, NOW + HOUR), NOW)
    assert not is_news(Planned(2, NOW - HOUR), Planned(1, NOW - HOUR), NOW)
