"""The scorer: works off the marks for as long as the process runs.

Replicas share the work by an advisory lock for each season. It is held by the transaction that scores, so it cannot
outlive a crash.
"""

import asyncio
import contextlib

import asyncpg
from litestar import Litestar
from prometheus_client import Counter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from common.db import Database, is_outage
from common.log import get_logger
from scoring import marks, rounds, standings
from scoring.settings import ScoringSettings

log = get_logger(__name__)

LOCK_KEY = 7_301_003
"""First half of the advisory lock's key; the second is the season."""
IDLE_SECONDS = 1.0
"""How often to look for marks nobody told of: those of a replica that died."""
REST_SECONDS = 30.0
"""How long a season that cannot be scored, which is a bug, waits for the next try while the others go on."""
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0)
WORK_MEMORY = "64MB"
FAILURES = Counter("scoring_failures_total", "Attempts to score a round that ended in an error of ours")


async def run(app: Litestar) -> None:
    """Score until cancelled; the background task of the service."""
    await Scorer(app.state.database, app.state.settings).run()


class Scorer:
    """Takes marks and scores the rounds they ask for."""

    def __init__(self, database: Database, settings: ScoringSettings) -> None:
        self._database = database
        self._settings = settings
        self._wake = asyncio.Event()
        self._rests_until: dict[int, float] = {}

    async def run(self) -> None:
        """Work until cancelled; an outage of the database is waited out."""
        attempt = 0
        while True:
            try:
                await self._listen()
            except Exception as error:
                if not (is_outage(error) or isinstance(error, asyncpg.InterfaceError)):
                    raise
                pause = BACKOFF_SECONDS[min(attempt, len(BACKOFF_SECONDS) - 1)]
                attempt += 1
                log.warning("scorer interrupted", error=repr(error), retry_in_seconds=pause)
                await asyncio.sleep(pause)

    async def _listen(self) -> None:
        connection = await self._database.connect_raw("scorer")
        try:
            connection.add_termination_listener(lambda *_: self._wake.set())
            await connection.add_listener(marks.CHANNEL, lambda *_: self._wake.set())
            while not connection.is_closed():
                self._wake.clear()
                await self.settle()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), timeout=IDLE_SECONDS)
                if self._wake.is_set():
                    await asyncio.sleep(self._settings.coalesce_seconds)
            raise ConnectionResetError("the connection that listens is closed")
        finally:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=1)

    async def settle(self) -> None:
        """Score until no season has a mark that can be worked off now."""
        async with self._database.transaction() as session:
            seasons = await marks.waiting_seasons(session)
        now = asyncio.get_running_loop().time()
        for season in seasons:
            if self._rests_until.get(season, now) > now:
                continue
            try:
                await self._settle_season(season)
            except Exception as error:
                if is_outage(error):
                    raise
                FAILURES.inc()
                self._rests_until[season] = now + REST_SECONDS
                log.exception("season cannot be scored", season=season, retry_in_seconds=REST_SECONDS)

    async def _settle_season(self, season: int) -> None:
        scored = 0
        while await self.step(season) is not None:
            scored += 1
        if scored:
            async with self._database.transaction() as session:
                await self._limits(session)
                await standings.prune(session, season)

    async def step(self, season: int) -> int | None:
        """Score one waiting round of a season; return it, or nothing when none waits or another replica is at it."""
        async with self._database.transaction() as session:
            lock = text("SELECT pg_try_advisory_xact_lock(:key, :season)")
            if not await session.scalar(lock, {"key": LOCK_KEY, "season": season}):
                return None
            await self._limits(session)
            return await rounds.score_next(session, season, league_events=self._settings.league_events)

    async def _limits(self, session: AsyncSession) -> None:
        """Scoring a million teams may take longer than a request, and sorts more."""
        await session.execute(text(f"SET LOCAL statement_timeout = '{self._settings.statement_seconds}s'"))
        await session.execute(text(f"SET LOCAL work_mem = '{WORK_MEMORY}'"))
