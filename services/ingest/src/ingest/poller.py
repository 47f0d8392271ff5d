"""The poller: asks the upstream for what is due, one thing at a time, in one replica of all.

What is due is worked out anew each time from what is stored, so a stop, a crash or a takeover loses nothing.
"""

import asyncio
from datetime import datetime, timedelta

import asyncpg
from litestar import Litestar
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from common import clock, telemetry
from common.db import Database, is_outage
from common.log import get_logger
from ingest import lease, polling, queries, records, results, seasons
from ingest.budget import BudgetSpentError
from ingest.domain import UnexpectedError
from ingest.jolpica import Jolpica, UpstreamError
from ingest.lease import Lease, LeaseLostError
from ingest.models import sessions
from ingest.polling import Pace, Watch
from ingest.records import Outcome
from ingest.results import MovedError
from ingest.settings import IngestSettings

log = get_logger(__name__)

LOOK_SECONDS = 1.0
"""The longest the poller sleeps before it looks whether it is still the one, and what is due."""
RETRY_SECONDS = 1.0

_REFUSALS = (UpstreamError, BudgetSpentError, UnexpectedError, MovedError)
"""What ends one run and leaves the others alone."""


async def poll(app: Litestar) -> None:
    """Poll for the life of the app."""
    settings: IngestSettings = app.state.settings
    database: Database = app.state.database
    jolpica = Jolpica(settings)
    try:
        await Poller(database, jolpica, settings).run()
    finally:
        await jolpica.close()


class Poller:
    """Keeps the seasons and their results up to date."""

    def __init__(self, database: Database, jolpica: Jolpica, settings: IngestSettings) -> None:
        self._database = database
        self._jolpica = jolpica
        self._season = settings.season
        self._pace = Pace.of(settings)
        self._calendar_checked_at: datetime | None = None
        self._calendar_failed_at: datetime | None = None
        self._calendar_moved = False

    async def run(self) -> None:
        """Poll until cancelled, whenever this replica is the one. A database that is away is waited for."""
        while True:
            try:
                async with lease.hold(self._database) as right:
                    log.info("polling", upstream_season=self._season)
                    self._calendar_checked_at = self._calendar_failed_at = None
                    while True:
                        await right.confirm()
                        await self.turn(right)
            except LeaseLostError as error:
                log.warning("polling lease lost", error=str(error))
            except (OSError, TimeoutError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if not is_outage(error) and not isinstance(error, TimeoutError):
                    raise
                log.warning("polling interrupted", error=repr(error))
            await asyncio.sleep(RETRY_SECONDS)

    async def turn(self, right: Lease) -> None:
        """Do everything that is due, then sleep until something else is, or for a moment."""
        if self._calendar_due() <= clock.now():
            await self._sync_season()
        for watch in await self._watches():
            if polling.result_due(self._pace, watch) <= clock.now():
                await right.confirm()
                await self._sync_result(watch)
                if self._calendar_moved:
                    break
        times = [polling.result_due(self._pace, watch) for watch in await self._watches()]
        await asyncio.sleep(pause(min([*times, self._calendar_due()]), clock.now()))

    def _calendar_due(self) -> datetime:
        return polling.calendar_due(
            self._pace, self._calendar_checked_at, self._calendar_failed_at, moved=self._calendar_moved
        )

    async def _watches(self) -> list[Watch]:
        async with self._database.transaction() as session:
            return await queries.watches(session)

    async def _sync_season(self) -> None:
        started_at = clock.now()
        try:
            with telemetry.span("sync season"):
                await seasons.sync_season(self._database, self._jolpica, self._season)
        except _REFUSALS as error:
            self._calendar_failed_at = clock.now()
            await self._record_failure(f"season:{self._season}", started_at, error)
        else:
            self._calendar_checked_at = clock.now()
            self._calendar_failed_at = None
            self._calendar_moved = False

    async def _sync_result(self, watch: Watch) -> None:
        started_at = clock.now()
        try:
            with telemetry.span("sync result"):
                outcome = await results.sync_result(self._database, self._jolpica, watch.race_id, watch.kind)
        except _REFUSALS as error:
            await self._record_failure(f"result:{watch.race_id}:{watch.kind}", started_at, error, watch)
            self._calendar_moved = self._calendar_moved or isinstance(error, MovedError)
        else:
            if outcome is Outcome.CHANGED:
                log.info("classification stored", race_id=watch.race_id, session=watch.kind)

    async def _record_failure(
        self, what: str, started_at: datetime, error: Exception, watch: Watch | None = None
    ) -> None:
        log.warning("run failed", what=what, error=repr(error))
        async with self._database.transaction() as session:
            if watch is not None:
                this = (sessions.c.race_id == watch.race_id) & (sessions.c.kind == watch.kind)
                await session.execute(update(sessions).where(this).values(failed_at=started_at))
            await records.record_run(session, what, started_at, clock.now(), Outcome.FAILED, error=repr(error))


def pause(due: datetime, now: datetime) -> float:
    """Tell how many seconds to sleep when something is due."""
    return min(LOOK_SECONDS, max(0.0, (due - now) / timedelta(seconds=1)))
