"""`paddock events rebuild`: a projection computed anew from its events, while the service goes on.

Events are replayed into a schema beside the service's own (`paddock.shadow`) by the handlers that took them live, in
transactions that also note how far they came: a rebuild that was killed goes on from there. An event is replayed when
the service itself has applied it, which its inbox tells. One that waits, is being tried again or became a dead letter
is left to its consumer, which must find the tables as it left them: its handler may have more to do than to fill them.

For the swap writers are shut out for as long as it takes to replay what came last; readers notice nothing.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import asyncpg
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from sqlalchemy import Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from common import topology
from common.consumers import Consumer, Mode, read_envelope
from common.db import is_outage
from common.delivery import apply_new
from common.errors import PoisonError
from paddock import audit
from paddock.projections import Projection
from paddock.shadow import PROGRESS, WAITING, Shadow
from paddock.stored import EventCommandError, Reader, message_at

LOCK_KEY = 7_301_005
BATCH = 1000
NEAR = 500
"""So few events may be left for the time in which writers are shut out."""
ROUNDS = 20
"""Times that what came meanwhile is replayed with writers at work."""
LOCK_MILLISECONDS = 500
LOCK_TRIES = 240
LOCK_PAUSE_SECONDS = 0.25
REPORT_EVERY = 10_000

_APPLIED = "SELECT event_id FROM {live}.inbox WHERE consumer = :consumer AND event_id = ANY(:events)"
_WAIT = f"INSERT INTO {WAITING} VALUES (:consumer, :sequence, :event_id) ON CONFLICT DO NOTHING"  # noqa: S608
_TAKE_APPLIED = f"""
DELETE FROM {WAITING} AS waiting USING {{live}}.inbox AS inbox
WHERE (inbox.consumer, inbox.event_id) = (waiting.consumer, waiting.event_id)
RETURNING waiting.sequence
"""  # noqa: S608 - constants


class Rebuild:
    """One rebuild of one projection."""

    def __init__(
        self,
        projection: Projection,
        admin_url: str,
        js: JetStreamContext,
        *,
        keep_older: bool = False,
        sure: bool = False,
        report: Callable[[str], None] = print,
    ) -> None:
        """Prepare; ``keep_older`` and ``sure`` are what the operator says of a past that is not whole."""
        self._projection = projection
        self._shadow = Shadow(projection, admin_url)
        self._admin_url = admin_url
        self._js = js
        self._keep_older = keep_older
        self._sure = sure
        self._report = report
        self._feeding = projection.feeding()
        self._subjects = sorted({subject for consumer in self._feeding for subject in consumer.filters})
        self._sequence = 0
        self._replayed = 0

    async def run(self, *, anew: bool = False) -> list[str]:
        """Rebuild, from the beginning or where the last attempt ended; return a line for each table that changed."""
        lock = await asyncpg.connect(self._admin_url, timeout=10)
        try:
            take = "SELECT pg_try_advisory_lock($1, hashtext($2))"
            if not await lock.fetchval(take, LOCK_KEY, self._projection.service):
                raise EventCommandError(f"{self._projection.service} is being rebuilt by somebody else")
            await self._require_the_beginning()
            await self._begin(anew=anew)
            await audit.record(
                self._js, "events.rebuild", projection=self._projection.name, from_sequence=self._sequence
            )
            await self._approach()
            lines = await self._swap_when_possible()
            await audit.record(self._js, "events.rebuilt", projection=self._projection.name, changes=lines)
            return lines or ["nothing differed"]
        finally:
            await self._shadow.close()
            await lock.close()

    async def _require_the_beginning(self) -> None:
        state = (await self._js.stream_info(topology.EVENTS)).state
        if (state.first_seq > 1 or state.num_deleted) and not self._keep_older:
            raise EventCommandError(
                f"the stream begins at {state.first_seq} and lacks {state.num_deleted or 0} since: what they told"
                " would be lost. With --keep-older rows stay of which the stream knows nothing any more"
            )

    async def _begin(self, *, anew: bool) -> None:
        """Find how far the last attempt came. One of another projection, schema or stream is of no use."""
        shadow = self._shadow
        created = (await self._js.stream_info(topology.EVENTS)).created
        async with shadow.transaction() as session:
            schema = text(f"SELECT version_num FROM {shadow.live}.alembic_version")  # noqa: S608 - a constant
            version = await session.scalar(schema)
        origin = f"{created} {version}"
        if not anew and await shadow.exists():
            async with shadow.transaction() as session:
                progress = text(f"SELECT projection, stream, sequence FROM {PROGRESS}")  # noqa: S608 - a constant
                found = (await session.execute(progress)).first()
            if found and (found.projection, found.stream) == (self._projection.name, origin):
                self._sequence = found.sequence
                self._report(f"going on after event {self._sequence:,}")
                return
        await shadow.make()
        async with shadow.transaction() as session:
            row = {"projection": self._projection.name, "stream": origin}
            await session.execute(text(f"INSERT INTO {PROGRESS} VALUES (:projection, 0, :stream)"), row)  # noqa: S608

    async def _approach(self) -> None:
        """Replay with everybody at work until little is left."""
        for _ in range(ROUNDS):
            last = (await self._js.stream_info(topology.EVENTS)).state.last_seq
            async with Reader(self._js, self._subjects, self._sequence + 1) as reader:
                while self._sequence < last:
                    messages = await reader.fetch(BATCH)
                    async with self._shadow.transaction() as session:
                        await self._replay(session, messages, last)
            async with self._shadow.transaction() as session:
                await self._revisit(session)
            await self._shadow.analyze()
            async with self._shadow.transaction() as session:
                await self._projection.derive(session)
            if (await self._js.stream_info(topology.EVENTS)).state.last_seq - last <= NEAR:
                break
        await self._require_a_whole_inbox()

    async def _replay(self, session: AsyncSession, messages: Sequence[Msg], last: int) -> None:
        """Apply events up to ``last`` and note how far this is, all in the session's transaction."""
        messages = [message for message in messages if message.metadata.sequence.stream <= last]
        for consumer in self._feeding:
            await self._apply(session, consumer, [one for one in messages if one.subject in consumer.filters])
        sequence = messages[-1].metadata.sequence.stream if messages else last
        await session.execute(text(f"UPDATE {PROGRESS} SET sequence = :sequence"), {"sequence": sequence})  # noqa: S608
        before, self._replayed = self._replayed, self._replayed + len(messages)
        self._sequence = sequence
        if before // REPORT_EVERY != self._replayed // REPORT_EVERY:
            self._report(f"{self._replayed:,} events replayed, at {sequence:,} of {last:,}")

    async def _apply(self, session: AsyncSession, consumer: Consumer, messages: Sequence[Msg]) -> None:
        known: list[tuple[UUID, Msg]] = []
        for message in messages:
            try:
                known.append((read_envelope(message.headers).id, message))
            except PoisonError:
                self._report(f"{message.metadata.sequence.stream:,} is no event, left out")
        applied = await self._applied_live(session, consumer, [event_id for event_id, _ in known])
        waiting = [
            {"consumer": consumer.durable, "sequence": message.metadata.sequence.stream, "event_id": event_id}
            for event_id, message in known
            if event_id not in applied
        ]
        if waiting:
            await session.execute(text(_WAIT), waiting)
        ready = [message for event_id, message in known if event_id in applied]
        size = consumer.size if consumer.mode is Mode.BATCH else BATCH
        for begin in range(0, len(ready), size):
            await self._hand_over(session, consumer, ready[begin : begin + size])

    async def _hand_over(self, session: AsyncSession, consumer: Consumer, messages: Sequence[Msg]) -> None:
        try:
            await apply_new(consumer, messages, session)
        except Exception as error:
            if is_outage(error):
                raise
            sequences = [message.metadata.sequence.stream for message in messages]
            raise EventCommandError(
                f"{consumer.durable} has applied the events {sequences[0]} to {sequences[-1]} once and cannot do it"
                f" again: {error!r}. Nothing was changed"
            ) from error

    async def _applied_live(self, session: AsyncSession, consumer: Consumer, events: list[UUID]) -> set[UUID]:
        query = text(_APPLIED.format(live=self._shadow.live)).bindparams(bindparam("events", type_=ARRAY(Uuid)))
        return set(await session.scalars(query, {"consumer": consumer.durable, "events": events}))

    async def _revisit(self, session: AsyncSession) -> None:
        """Replay events that the service had not applied when they were read, and has since."""
        taken = await session.scalars(text(_TAKE_APPLIED.format(live=self._shadow.live)))
        found = [await message_at(self._js, sequence) for sequence in sorted(set(taken))]
        messages = [message for message in found if message is not None]
        for consumer in self._feeding:
            await self._apply(session, consumer, [one for one in messages if one.subject in consumer.filters])

    async def _require_a_whole_inbox(self) -> None:
        """Refuse when events were acknowledged and yet not applied, beyond the letters that tell of them.

        Acknowledgements are asked for first: what was acknowledged then is in the inbox now.
        """
        floors = {consumer.durable: await self._floor(consumer) for consumer in self._feeding}
        async with self._shadow.transaction() as session:
            await self._revisit(session)
            for durable, floor in floors.items():
                query = text(f"SELECT count(*) FROM {WAITING} WHERE consumer = :consumer AND sequence <= :floor")  # noqa: S608
                left = await session.scalar(query, {"consumer": durable, "floor": floor}) or 0
                letters = await self._letters(durable) if left else 0
                if left > letters and not self._sure:
                    raise EventCommandError(
                        f"{durable} is done with {left:,} events that its inbox does not have; {letters:,} of them are"
                        " dead letters. If the others were dropped from the dead letter queue, say --yes. If the inbox"
                        " has lost them, the rebuilt tables would too: give the consumer its past with `replay`"
                    )

    async def _floor(self, consumer: Consumer) -> int:
        """Return up to where a consumer has acknowledged everything."""
        try:
            info = await self._js.consumer_info(topology.EVENTS, consumer.durable)
        except nats.js.errors.NotFoundError:
            return 0
        return info.ack_floor.stream_seq if info.ack_floor else 0

    async def _letters(self, durable: str) -> int:
        try:
            info = await self._js.stream_info(topology.DEAD_LETTERS, subjects_filter=f"dlq.{durable}.>")
        except nats.js.errors.NotFoundError:
            return 0
        return sum((info.state.subjects or {}).values())

    async def _swap_when_possible(self) -> list[str]:
        for _ in range(LOCK_TRIES):
            try:
                return await self._swap()
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != "55P03":  # a lock was not available in time
                    raise
            await asyncio.sleep(LOCK_PAUSE_SECONDS)
        raise EventCommandError("somebody writes to the tables without a pause; run the command again to go on")

    async def _swap(self) -> list[str]:
        sequence = self._sequence
        try:
            async with self._shadow.transaction() as session:
                await self._shadow.shut_out_writers(session, LOCK_MILLISECONDS)
                begun = time.monotonic()
                last = (await self._js.stream_info(topology.EVENTS)).state.last_seq
                async with Reader(self._js, self._subjects, self._sequence + 1) as reader:
                    while self._sequence < last:
                        await self._replay(session, await reader.fetch(BATCH), last)
                await self._revisit(session)
                await self._projection.derive(session)
                await self._projection.adopt(session)
                lines = await self._shadow.swap(session, keep_older=self._keep_older)
                await self._shadow.drop(session)
        except BaseException:
            self._sequence = sequence
            raise
        self._report(f"swapped; writers waited for {time.monotonic() - begun:.1f} s")
        return lines
