"""When to ask for what: a pure function of the calendar, of what is known, and of how the last try went.

Nothing is asked while nothing happens. A session is asked about from some time after its start until its result is
there, and then now and then for as long as penalties may come. What a stop has missed is due at once.
"""

from datetime import UTC, datetime, timedelta
from typing import Self

import msgspec

from common.contracts.ingest import SessionKind
from ingest.settings import IngestSettings

POLLED = (SessionKind.QUALIFYING, SessionKind.SPRINT, SessionKind.RACE)
"""The sessions whose classification the upstream has."""
PATIENCE = 60
"""A question that was in vain for long is asked ever more rarely: in proportion to the time that has passed."""
MOVED_POLLS = 10
"""An upstream whose calendar and results contradict each other must not be asked for the calendar at every poll."""
FAILURE_PAUSE_AT_MOST = timedelta(hours=1)

AT_ONCE = datetime.min.replace(tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that decide when."""

    calendar: timedelta
    delay: timedelta
    poll: timedelta
    recheck: timedelta
    window: timedelta

    @classmethod
    def of(cls, settings: IngestSettings) -> Self:
        """Read them from the settings."""
        return cls(
            calendar=timedelta(seconds=settings.calendar_seconds),
            delay=timedelta(seconds=settings.result_delay_seconds),
            poll=timedelta(seconds=settings.poll_seconds),
            recheck=timedelta(seconds=settings.recheck_seconds),
            window=timedelta(days=settings.recheck_days),
        )


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What decides when a session is asked about next."""

    season: int
    race_id: str
    kind: SessionKind
    starts_at: datetime
    checked_at: datetime | None
    """When the upstream last gave an answer, whatever it was."""
    failed_at: datetime | None
    """When the last try failed, if none has succeeded since."""
    has_result: bool


def calendar_due(pace: Pace, checked_at: datetime | None, failed_at: datetime | None, *, moved: bool) -> datetime:
    """Tell when the calendar is asked for next. ``moved``: a result has shown that it is out of date."""
    if failed_at is not None:
        return failed_at + pace.poll
    if checked_at is None:
        return AT_ONCE
    return checked_at + (min(pace.calendar, MOVED_POLLS * pace.poll) if moved else pace.calendar)


def result_due(pace: Pace, watch: Watch) -> datetime:
    """Tell when a session is asked about next."""
    opens = watch.starts_at + pace.delay
    closes = max(opens, watch.starts_at + pace.window)
    if watch.checked_at is not None and watch.checked_at >= closes:
        return NEVER
    if watch.failed_at is not None and watch.failed_at >= opens:
        pause = min(_growing(pace, watch.failed_at - opens), max(pace.poll, FAILURE_PAUSE_AT_MOST))
        return watch.failed_at + pause
    if watch.checked_at is None or watch.checked_at < opens:
        return opens
    if watch.has_result:
        due = watch.checked_at + pace.recheck
        return due if due <= closes else NEVER
    return watch.checked_at + _growing(pace, watch.checked_at - opens)


def _growing(pace: Pace, waited: timedelta) -> timedelta:
    return max(pace.poll, waited / PATIENCE)
