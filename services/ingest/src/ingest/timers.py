"""`session.started` as a timer: set when the calendar is read, moved when the session moves."""

from datetime import datetime, timedelta

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from common import outbox
from common.contracts.ingest import SessionKind, SessionStarted

LATE = timedelta(days=1)
"""A session that is older than this when it is first heard of is history: it is not announced."""


class Planned(msgspec.Struct, frozen=True):
    """When a session starts, and in which round."""

    round: int
    starts_at: datetime


def is_news(was: Planned | None, planned: Planned, now: datetime) -> bool:
    """Tell whether a timer is to be set, or set anew.

    One that has gone off stays as it is, unless the session has been put off to a later time. A start that has passed
    meanwhile goes off at once.
    """
    if was is None:
        return planned.starts_at > now - LATE
    if was == planned:
        return False
    return was.starts_at > now or planned.starts_at > now


def slot(race_id: str, kind: SessionKind) -> str:
    """Name the one timer of a session."""
    return f"session.started:{race_id}:{kind}"


async def set_timer(session: AsyncSession, season: int, race_id: str, kind: SessionKind, planned: Planned) -> None:
    """Set or move a session's timer."""
    event = SessionStarted(
        season=season, round=planned.round, race_id=race_id, session=kind, starts_at=planned.starts_at
    )
    await outbox.publish(session, event, deliver_at=planned.starts_at, slot=slot(race_id, kind))


async def cancel_timer(session: AsyncSession, race_id: str, kind: SessionKind) -> None:
    """Take a session's timer back; nothing happens when it has gone off."""
    await outbox.cancel(session, slot(race_id, kind))
