"""The queue of deliveries: filled by events, emptied by whichever process is free, kept by the database alone.

A process claims what is due by moving its ``due_at`` to the end of a lease, so nobody else sees it until then, and
what it reports counts only while the lease is still its own. No transaction is open while something is being sent.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4
from weakref import WeakSet

import msgspec
from sqlalchemy import bindparam, event, func, select, text, update
from sqlalchemy import delete as sql_delete
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import BigInteger, DateTime, LargeBinary, Uuid

from webhooks.domain import Attempt, DeliveryStatus, DisabledReason, Format, Patience
from webhooks.models import Delivery, Endpoint, StoredMessage
from webhooks.rendering import Message

PRUNE_BATCH = 1000


class Bell:
    """Tells the senders of this process that something became due; those of others look for themselves."""

    def __init__(self) -> None:
        self._listeners: WeakSet[asyncio.Event] = WeakSet()

    @contextlib.contextmanager
    def heard(self) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever something becomes due."""
        listener = asyncio.Event()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def ring_after(self, session: AsyncSession) -> None:
        """Ring when the session's transaction has committed."""
        event.listen(session.sync_session, "after_commit", lambda _: self._ring(), once=True)

    def _ring(self) -> None:
        for listener in list(self._listeners):
            listener.set()


BELL = Bell()


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that this process may send until its lease ends."""

    delivery_id: UUID
    endpoint_id: UUID
    lease: UUID
    tries: int
    """This one included."""
    url: str
    form: Format
    disabled: bool
    sealed: list[bytes]
    """The endpoint's secrets, the newest first."""
    message: Message


_FAN_OUT = text("""
WITH wanted AS (
  SELECT endpoint_id FROM endpoints
  WHERE subjects @> ARRAY[CAST(:subject AS text)] AND disabled_at IS NULL AND created_at <= :happened_at
    AND (CAST(:subject AS text) <> 'leaderboard.updated' OR league_id IS NOT DISTINCT FROM :league_id)
), kept AS (
  INSERT INTO messages (event_id, subject, source, key, time, body)
  SELECT :event_id, CAST(:subject AS text), :source, :key, :time, :body WHERE EXISTS (SELECT FROM wanted)
  ON CONFLICT DO NOTHING
)
INSERT INTO deliveries (endpoint_id, event_id) SELECT endpoint_id, :event_id FROM wanted
ON CONFLICT DO NOTHING RETURNING delivery_id
""").bindparams(
    bindparam("event_id", type_=Uuid),
    bindparam("league_id", type_=Uuid),
    bindparam("happened_at", type_=DateTime(timezone=True)),
    bindparam("body", type_=LargeBinary),
)

_CLAIM = text("""
WITH due AS (
  SELECT delivery_id, row_number() OVER (PARTITION BY endpoint_id ORDER BY due_at) + coalesce(busy.flying, 0) AS place
  FROM deliveries LEFT JOIN unnest(:endpoints, :flying) AS busy(endpoint_id, flying) USING (endpoint_id)
  WHERE status = 'pending' AND due_at <= clock_timestamp()
), chosen AS (
  SELECT delivery_id FROM deliveries JOIN due USING (delivery_id)
  WHERE place <= :each AND status = 'pending' AND due_at <= clock_timestamp()
  ORDER BY place, due_at LIMIT :free FOR UPDATE OF deliveries SKIP LOCKED
)
UPDATE deliveries SET lease = gen_random_uuid(), due_at = clock_timestamp() + make_interval(secs => :lease_seconds)
FROM chosen, endpoints, messages
WHERE deliveries.delivery_id = chosen.delivery_id AND endpoints.endpoint_id = deliveries.endpoint_id
  AND messages.event_id = deliveries.event_id
RETURNING deliveries.delivery_id, deliveries.endpoint_id, deliveries.lease, deliveries.tries + 1 AS tries,
  endpoints.url, endpoints.format, endpoints.disabled_at IS NOT NULL AS disabled, endpoints.secret_sealed,
  CASE WHEN endpoints.old_secret_until > clock_timestamp() THEN endpoints.old_secret_sealed END AS old_secret_sealed,
  messages.event_id, messages.subject, messages.source, messages.key, messages.time, messages.body
""").bindparams(bindparam("endpoints", type_=ARRAY(Uuid)), bindparam("flying", type_=ARRAY(BigInteger)))

_NEXT = text("""
SELECT extract(epoch FROM min(due_at) - clock_timestamp()) FROM deliveries
WHERE status = 'pending' AND due_at > clock_timestamp()
""")

_LOG = text("""
INSERT INTO delivery_attempts (delivery_id, number, status_code, duration_ms, error)
SELECT :delivery_id, coalesce(max(number), 0) + 1, :status_code, :duration_ms, :error
FROM delivery_attempts WHERE delivery_id = :delivery_id
""").bindparams(bindparam("delivery_id", type_=Uuid))


async def fan_out(session: AsyncSession, message: Message, happened_at: datetime, league_id: UUID | None) -> None:
    """Make a delivery for every endpoint that wants the event and was there when it happened."""
    values = msgspec.structs.asdict(message) | {"happened_at": happened_at, "league_id": league_id}
    made = await session.execute(_FAN_OUT, values)
    if made.first():
        BELL.ring_after(session)


async def enqueue(session: AsyncSession, endpoint_id: UUID, message: Message) -> UUID:
    """Make one delivery of a message that only this endpoint gets; return its id."""
    session.add(StoredMessage(**msgspec.structs.asdict(message)))
    delivery = Delivery(delivery_id=uuid4(), endpoint_id=endpoint_id, event_id=message.event_id)
    await session.flush()
    session.add(delivery)
    await session.flush()
    BELL.ring_after(session)
    return delivery.delivery_id


async def enqueue_again(session: AsyncSession, endpoint_id: UUID, delivery_id: UUID) -> bool:
    """Start a delivery that has ended from the beginning; return False when it has not ended."""
    this = (Delivery.delivery_id == delivery_id) & (Delivery.endpoint_id == endpoint_id)
    ended = Delivery.status != DeliveryStatus.PENDING.value
    again = update(Delivery).where(this, ended).values(status="pending", tries=0, due_at=func.now())
    started = (await session.execute(again.returning(Delivery.delivery_id))).first() is not None
    if started:
        BELL.ring_after(session)
    return started


async def claim(
    session: AsyncSession, flying: Mapping[UUID, int], *, free: int, each: int, lease_seconds: float
) -> list[Job]:
    """Take up to ``free`` deliveries that are due, by turns from each endpoint, ``each`` under way at most.

    ``flying`` is how many this process has under way for an endpoint already.
    """
    rows = await session.execute(
        _CLAIM,
        {
            "endpoints": list(flying.keys()),
            "flying": list(flying.values()),
            "free": free,
            "each": each,
            "lease_seconds": lease_seconds,
        },
    )
    return [_job(row) for row in rows]


def _job(row: Any) -> Job:  # noqa: ANN401 - a row of the statement above
    return Job(
        delivery_id=row.delivery_id,
        endpoint_id=row.endpoint_id,
        lease=row.lease,
        tries=row.tries,
        url=row.url,
        form=Format(row.format),
        disabled=row.disabled,
        sealed=[sealed for sealed in (row.secret_sealed, row.old_secret_sealed) if sealed is not None],
        message=Message(
            event_id=row.event_id, subject=row.subject, source=row.source, key=row.key, time=row.time, body=row.body
        ),
    )


async def next_in(session: AsyncSession) -> float | None:
    """Tell in how many seconds the next delivery becomes due; None when nothing waits."""
    seconds = await session.scalar(_NEXT)
    return None if seconds is None else float(seconds)


async def record(
    session: AsyncSession, job: Job, attempt: Attempt, pause: float | None, patience: Patience
) -> DisabledReason | None:
    """Write down how an attempt ended, unless the lease was lost; return why the endpoint was disabled, if it was.

    ``pause`` is the seconds until the next attempt; without one a delivery that failed has failed for good.
    """
    status = DeliveryStatus.DELIVERED if attempt.delivered else DeliveryStatus.FAILED
    change: dict[str, Any] = {"status": status.value, "due_at": None}
    if not attempt.delivered and pause is not None:
        change = {"due_at": func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, pause)}
    endpoint = select(Endpoint.endpoint_id).where(Endpoint.endpoint_id == job.endpoint_id)
    await session.execute(endpoint.with_for_update(read=True, key_share=True))  # before its delivery, as a removal does
    mine = (Delivery.delivery_id == job.delivery_id) & (Delivery.lease == job.lease)
    kept = update(Delivery).where(mine).values(lease=None, tries=job.tries, **change).returning(Delivery.delivery_id)
    if (await session.execute(kept)).first() is None:
        return None
    await session.execute(
        _LOG,
        {
            "delivery_id": job.delivery_id,
            "status_code": attempt.status_code,
            "duration_ms": attempt.duration_ms,
            "error": attempt.error,
        },
    )
    return await _judge(session, job, attempt, patience)


async def _judge(session: AsyncSession, job: Job, attempt: Attempt, patience: Patience) -> DisabledReason | None:
    """Count what the attempt says of its endpoint."""
    this = Endpoint.endpoint_id == job.endpoint_id
    if attempt.delivered:
        well = update(Endpoint).where(this, Endpoint.failures > 0).values(failures=0, failing_since=None)
        await session.execute(well)
        return None
    if job.disabled:
        return None
    since = func.coalesce(Endpoint.failing_since, func.now())
    failed = update(Endpoint).where(this).values(failures=Endpoint.failures + 1, failing_since=since)
    counted = failed.returning(
        Endpoint.failures, func.extract("epoch", func.now() - Endpoint.failing_since), Endpoint.disabled_at
    )
    row = (await session.execute(counted)).first()
    reason = patience.verdict(attempt, row[0], float(row[1])) if row else None
    if row is None or row[2] is not None or reason is None:
        return None
    await session.execute(update(Endpoint).where(this).values(disabled_at=func.now(), disabled_reason=reason.value))
    return reason


async def give_back(session: AsyncSession, leases: Sequence[UUID]) -> None:
    """Let others send at once what this process will not."""
    mine = Delivery.lease.in_(leases)
    await session.execute(update(Delivery).where(mine).values(lease=None, due_at=func.clock_timestamp()))


async def prune(session: AsyncSession, days: int) -> int:
    """Forget up to a batch of events, and what became of them, that are older than so many days; return how many."""
    old = select(StoredMessage.event_id).where(
        StoredMessage.received_at < func.now() - func.make_interval(0, 0, 0, days)
    )
    forgotten = sql_delete(StoredMessage).where(StoredMessage.event_id.in_(old.limit(PRUNE_BATCH)))
    result = await session.execute(forgotten.returning(StoredMessage.event_id))
    return len(result.all())


async def endpoint_states(session: AsyncSession) -> dict[str, int]:
    """Count the endpoints that are enabled and those that are not."""
    enabled = func.count().filter(Endpoint.disabled_at.is_(None))
    counted = (await session.execute(select(enabled, func.count(Endpoint.endpoint_id)).select_from(Endpoint))).one()
    return {"enabled": counted[0], "disabled": counted[1] - counted[0]}
