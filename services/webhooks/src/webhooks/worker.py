"""The worker: takes what is due, sends it, writes down what became of it. Any number of processes share the queue.

It sleeps until the next delivery is due or the bell rings, and looks every few seconds at what others may have left.
"""

import asyncio
import collections
import contextlib
import random
import time
from uuid import UUID

from litestar import Litestar
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Gauge, Histogram
from sqlalchemy.exc import SQLAlchemyError

from common import telemetry
from common.db import Database, is_outage
from common.log import get_logger
from webhooks import queue
from webhooks.domain import Attempt, Patience, next_pause
from webhooks.queue import BELL, Job
from webhooks.sender import Sender
from webhooks.settings import WebhooksSettings
from webhooks.targets import Guard

log = get_logger(__name__)

LOOK_SECONDS = 5.0
"""The longest a delivery waits that another process made and did not live to send."""
RETRY_SECONDS = 1.0
TIDY_SECONDS = 60.0

DELIVERIES = Counter("webhook_deliveries_total", "Attempts by what became of the delivery", ["outcome"])
DELIVERY_SECONDS = Histogram("webhook_delivery_seconds", "Time of one attempt")
ENDPOINTS = Gauge("webhook_endpoints", "Endpoints that are sent to, and those that are not", ["state"])


async def send_webhooks(app: Litestar) -> None:
    """Send for the life of the app."""
    settings: WebhooksSettings = app.state.settings
    guard: Guard = app.state.guard
    sender = Sender(settings, guard)
    try:
        await Worker(app.state.database, sender, settings).run()
    finally:
        await sender.close()


class Worker:
    """Sends deliveries, a bounded number at once and of those a few to one endpoint."""

    def __init__(self, database: Database, sender: Sender, settings: WebhooksSettings) -> None:
        self._database = database
        self._sender = sender
        self._settings = settings
        self._patience = Patience(failures=settings.disable_after_failures, seconds=settings.disable_after_seconds)
        self._flying: dict[asyncio.Task[None], Job] = {}
        self._tidied_at = float("-inf")

    async def run(self) -> None:
        """Work until cancelled; then what is on its way is left to others at once. An outage is waited out."""
        with BELL.heard() as wake:
            try:
                while True:
                    wake.clear()
                    pause = await self._turn(wake)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await wake.wait()
            finally:
                await self._give_back()

    async def _turn(self, wake: asyncio.Event) -> float:
        """Start whatever is due and there is room for; return how long to sleep if nothing happens."""
        try:
            free = self._settings.concurrency - len(self._flying)
            if not free:
                return LOOK_SECONDS
            async with self._database.transaction() as session:
                jobs = await queue.claim(
                    session,
                    self._under_way(),
                    free=free,
                    each=self._settings.endpoint_concurrency,
                    lease_seconds=self._settings.lease_seconds,
                )
                next_in = await queue.next_in(session)
            for job in jobs:
                task = asyncio.create_task(self._deliver(job), name=f"delivery {job.delivery_id}")
                self._flying[task] = job
                task.add_done_callback(lambda ended: self._landed(ended, wake))
            await self._tidy()
        except (OSError, SQLAlchemyError) as error:
            if not is_outage(error):
                raise
            log.warning("deliveries interrupted", error=repr(error))
            return RETRY_SECONDS
        return LOOK_SECONDS if next_in is None else min(LOOK_SECONDS, next_in)

    def _under_way(self) -> collections.Counter[UUID]:
        return collections.Counter(job.endpoint_id for job in self._flying.values())

    def _landed(self, task: asyncio.Task[None], wake: asyncio.Event) -> None:
        self._flying.pop(task, None)
        wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("delivery not recorded, its lease will end", task=task.get_name(), exc_info=error)

    async def _deliver(self, job: Job) -> None:
        with telemetry.span("send webhook", SpanKind.CLIENT), DELIVERY_SECONDS.time():
            attempt = await self._sender.send(job)
        jitter = random.uniform(-1, 1)  # noqa: S311 - not a secret
        pause = next_pause(job.tries, attempt, jitter, self._settings.retry_factor)
        if attempt.delivered:
            pause = None
        async with self._database.transaction() as session:
            disabled = await queue.record(session, job, attempt, pause, self._patience)
        _count(job, attempt, pause)
        if disabled is not None:
            log.warning("endpoint disabled", endpoint_id=str(job.endpoint_id), reason=disabled.value)

    async def _tidy(self) -> None:
        """Now and then forget what is old, and count the endpoints."""
        if time.monotonic() - self._tidied_at < TIDY_SECONDS:
            return
        self._tidied_at = time.monotonic()
        forgotten = queue.PRUNE_BATCH
        while forgotten == queue.PRUNE_BATCH:
            async with self._database.transaction() as session:
                forgotten = await queue.prune(session, self._settings.log_days)
        async with self._database.transaction() as session:
            for state, number in (await queue.endpoint_states(session)).items():
                ENDPOINTS.labels(state).set(number)

    async def _give_back(self) -> None:
        """Stop what is on its way. A receiver may get it twice, which is what `webhook-id` is for."""
        leases = [job.lease for job in self._flying.values()]
        for task in self._flying:
            task.cancel()
        await asyncio.gather(*self._flying, return_exceptions=True)
        if leases:
            with contextlib.suppress(OSError, SQLAlchemyError):
                async with self._database.transaction() as session:
                    await queue.give_back(session, leases)


def _count(job: Job, attempt: Attempt, pause: float | None) -> None:
    outcome = "delivered" if attempt.delivered else "failed" if pause is None else "retried"
    DELIVERIES.labels(outcome).inc()
    if not attempt.delivered:
        log.info(
            "delivery failed",
            delivery_id=str(job.delivery_id),
            endpoint_id=str(job.endpoint_id),
            tries=job.tries,
            status=attempt.status_code,
            error=attempt.error,
            retry_in_seconds=pause,
        )
