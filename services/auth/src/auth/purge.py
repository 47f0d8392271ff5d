"""What has no use any more is removed: by one replica at a time, in batches, again and again.

Nothing that is removed was still believed: what has expired is refused whether its row is there or not. The audit log
is not among it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from time import monotonic

from litestar import Litestar
from prometheus_client import Counter
from sqlalchemy import ColumnElement, CursorResult, and_, delete, inspect, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from auth import access_tokens, avatars, deletion, registration_keys
from auth.models import Allowance, Familiar, Guard, LoginSession, Mail, Model, OneTimeToken
from auth.objects import Objects
from auth.settings import AuthSettings
from common import cancellation, clock
from common.db import Database, is_outage
from common.log import get_logger

log = get_logger(__name__)

LOCK_KEY = 7_301_006
"""First half of the advisory lock's key; the second is a hash of the schema."""
BATCH = 1000
ACCOUNTS_AT_ONCE = 100
MOST_BATCHES = 200
"""Of one kind in one run; what is left waits for the next."""
SESSION_DAYS = 30
"""How long a session that has ended is kept, for whoever looks what happened."""
ACCESS_TOKEN_DAYS = 30
LINK_DAYS = 1
GUARD_DAYS = 1
FAMILIAR_DAYS = 90
MAIL_DAYS = 30
SWEEP_SECONDS = 24 * 3600
START_SECONDS = 60

PURGED = Counter("auth_purged_total", "Rows, accounts and pictures removed as they had no use any more", ["kind"])
FAILURES = Counter("auth_purge_failures_total", "Times that a kind could not be removed", ["kind"])

Step = Callable[[datetime], Awaitable[int]]
"""Removes one batch of what has no use at that time, and tells how many it was."""


class Purge:
    """Removes what has no use any more, kind by kind."""

    def __init__(self, settings: AuthSettings, database: Database, store: Objects | None) -> None:
        """Know what is to be removed; without a ``store`` neither pictures nor accounts."""
        self._settings = settings
        self._database = database
        self._steps = {**self._rows(), **(self._accounts(store) if store else {})}
        self._swept_at = float("-inf")

    async def run(self) -> Mapping[str, int] | None:
        """Remove everything once and return how many of each kind; nothing when somebody else is at it."""
        async with _alone(self._database) as alone:
            if not alone:
                return None
            return {kind: await self._all_of(kind, step) for kind, step in self._steps.items()}

    async def _all_of(self, kind: str, step: Step) -> int:
        now, total = clock.now(), 0
        try:
            for _ in range(MOST_BATCHES):
                removed = await step(now)
                PURGED.labels(kind).inc(removed)
                total += removed
                if not removed:
                    break
        except Exception:  # the edge of a task: one kind that cannot be removed must not keep the others
            FAILURES.labels(kind).inc()
            log.exception("not purged", kind=kind)
        if total:
            log.info("purged", kind=kind, count=total)
        return total

    def _rows(self) -> dict[str, Step]:
        return {
            "sessions": self._step(LoginSession, self._dead_sessions),
            "one_time_tokens": self._step(OneTimeToken, lambda now: OneTimeToken.expires_at < now - _days(LINK_DAYS)),
            "mails": self._step(Mail, lambda now: Mail.created_at < now - _days(MAIL_DAYS)),
            "guards": self._step(Guard, _idle_guards),
            "familiar": self._step(Familiar, lambda now: Familiar.last_used_at < now - _days(FAMILIAR_DAYS)),
            "allowances": self._step(Allowance, lambda now: Allowance.due < now),
            "access_tokens": self._in_transaction(
                lambda session, now: access_tokens.delete_expired_tokens(session, now - _days(ACCESS_TOKEN_DAYS), BATCH)
            ),
            "registration_keys": self._in_transaction(
                lambda session, now: registration_keys.delete_expired(session, now, BATCH)
            ),
        }

    def _accounts(self, store: Objects) -> dict[str, Step]:
        async def erase(now: datetime) -> int:
            return await deletion.erase_due(self._database, store, now, limit=ACCOUNTS_AT_ONCE)

        async def sweep(now: datetime) -> int:
            if monotonic() < self._swept_at + SWEEP_SECONDS:
                return 0
            removed = await avatars.sweep(self._database, store, now, limit=BATCH)
            if not removed:
                self._swept_at = monotonic()
            return removed

        return {"accounts": erase, "pictures": sweep}

    def _dead_sessions(self, now: datetime) -> ColumnElement[bool]:
        kept = now - _days(SESSION_DAYS)
        idle = LoginSession.rotated_at < kept - self._settings.refresh_idle
        return or_(LoginSession.expires_at < kept, LoginSession.revoked_at < kept, idle)

    def _step(self, model: type[Model], useless: Callable[[datetime], ColumnElement[bool]]) -> Step:
        """Remove rows by a condition; those that somebody works on are left for the next time."""
        key = inspect(model).primary_key

        async def remove(session: AsyncSession, now: datetime) -> int:
            some = select(*key).where(useless(now)).limit(BATCH).with_for_update(skip_locked=True)
            result = await session.execute(delete(model).where(tuple_(*key).in_(some)))
            return result.rowcount if isinstance(result, CursorResult) else 0

        return self._in_transaction(remove)

    def _in_transaction(self, remove: Callable[[AsyncSession, datetime], Awaitable[int]]) -> Step:
        async def step(now: datetime) -> int:
            async with self._database.transaction() as session:
                return await remove(session, now)

        return step


def _idle_guards(now: datetime) -> ColumnElement[bool]:
    over = or_(Guard.locked_until.is_(None), Guard.locked_until < now)
    return and_(over, Guard.last_at < now - _days(GUARD_DAYS))


def _days(count: int) -> timedelta:
    return timedelta(days=count)


async def keep_purging(app: Litestar) -> None:
    """Purge now and then, until cancelled; a process that has just begun has better things to do."""
    purge: Purge = app.state.purge
    settings: AuthSettings = app.state.settings
    await asyncio.sleep(START_SECONDS)
    while True:
        cancellation.heed()
        try:
            await purge.run()
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning("nothing purged", error=repr(error))
        await asyncio.sleep(settings.purge_minutes * 60)


@contextlib.asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[bool]:
    """Tell whether nobody else purges while the block lasts."""
    connection = await database.connect_raw("purge")
    try:
        yield await connection.fetchval("SELECT pg_try_advisory_lock($1, hashtext(current_schema()))", LOCK_KEY)
    finally:
        await connection.close(timeout=5)
