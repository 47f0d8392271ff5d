"""`paddock events reconcile`: builds the stream of events anew from the services' outboxes when JetStream lost it.

An outbox keeps every event for longer than the stream does, with the place that it had. Events are published again in
that order, with the same ids, so inboxes drop what was applied before the loss. Sequences go on above the highest that
any outbox knows, so that nobody who remembers a place is led to an earlier one.

While old events are on their way new ones must not overtake them: until the end the stream takes nothing but what is
published below ``reconcile.``, and stores it under the event's own subject. Relays wait, and the outboxes keep.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import asyncpg
import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import StreamConfig, StreamInfo, SubjectTransform

from common import clock, migrate, topology
from common.relay import headers_of
from common.retention import STREAM_KEPT
from paddock import audit
from paddock.stored import EventCommandError, Reader

GATE = "reconcile"
BATCH = 1000
ACK_SECONDS = 30
PAGE = 2000
CREATE_TRIES = 5
BORDER = timedelta(hours=1)
"""An event this close to the stream's max age is left out: the stream may have dropped it for its age."""
SKEW = timedelta(seconds=5)
"""How far the clocks of PostgreSQL and NATS may be apart."""
SETTLE_SECONDS = 2.0
"""In which relays note what a stream that is gone now has acknowledged to them."""

_PUBLISHED = """
SELECT id, event_id, stream_seq, published_at FROM outbox
WHERE published_at > $1 AND stream_seq IS NOT NULL ORDER BY stream_seq
"""
_HIGHEST = "SELECT coalesce(max(stream_seq), 0) FROM outbox"
_KNOWN = "SELECT event_id::text FROM outbox WHERE event_id::text = ANY($1)"
_BODIES = """
SELECT id, event_id, subject, key, source, body, traceparent, created_at, deliver_at FROM outbox WHERE id = ANY($1)
"""
_MARK = """
UPDATE outbox SET stream_seq = acked.seq FROM unnest($1::bigint[], $2::bigint[]) AS acked (id, seq)
WHERE outbox.id = acked.id
"""


@dataclass(frozen=True, order=True)
class Event:
    """An event that was published, and where it is kept."""

    in_this_stream: bool
    """Whether it was published after the present stream was made; such ones come after the others."""
    sequence: int
    service: str
    row: int
    event_id: str


@dataclass(frozen=True)
class Found:
    """What the outboxes know."""

    highest: int
    """The highest place any of their events ever had."""
    events: list[Event]
    """Those that the stream should still have, in the order they had."""


class Reconciliation:
    """One run; to be used as an async context manager."""

    def __init__(self, js: JetStreamContext, admin_url: str, report: Callable[[str], None] = print) -> None:
        self._js = js
        self._admin_url = admin_url
        self._report = report
        self._outboxes: dict[str, asyncpg.Connection] = {}

    async def __aenter__(self) -> Self:
        for service in migrate.SERVICES:
            settings = {"role": migrate.role_of(service), "search_path": service}
            connection = await asyncpg.connect(self._admin_url, timeout=10, server_settings=settings)
            if await connection.fetchval("SELECT to_regclass('outbox') IS NOT NULL"):
                self._outboxes[service] = connection
            else:
                await connection.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._outboxes.values():
            await connection.close()

    async def run(self, *, dry: bool = False, sure: bool = False) -> list[str]:
        """Bring the stream to what the outboxes say; return what was done."""
        live = await self._stream()
        found = await self._found(live)
        anew = live is None or live.state.last_seq < found.highest
        self._tell(live, found)
        if live is not None and anew:
            await self._require_all_known(live, sure=sure)
            self._report(f"the stream is younger than the outboxes: it is made again from {found.highest + 1:,} on")
        missing = found.events if anew else await self._missing(found.events)
        if dry:
            return [f"would publish {len(missing):,} events"]
        await audit.record(self._js, "events.reconcile", events=len(missing), anew=anew, highest=found.highest)
        try:
            if anew:
                await self._make(found.highest + 1, instead_of=live)
                await asyncio.sleep(SETTLE_SECONDS)
            published = 0
            while missing := await self._missing((await self._found(live)).events):
                published += await self._publish(missing)
            if _is_closed(await self._stream()):
                await self._open()
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise EventCommandError(f"interrupted: {error!r}; run the command again to go on") from error
        return [f"published {published:,} events"]

    def _tell(self, live: StreamInfo | None, found: Found) -> None:
        kept = f"outboxes: {len(found.events):,} events of the stream's age, the highest place was {found.highest:,}"
        state = live.state if live is not None else None
        has = f"{state.messages:,} events from {state.first_seq:,} to {state.last_seq:,}" if state else "none"
        self._report(kept)
        self._report(f"stream: {has}")

    async def _stream(self) -> StreamInfo | None:
        try:
            return await self._js.stream_info(topology.EVENTS)
        except nats.js.errors.NotFoundError:
            return None

    async def _found(self, live: StreamInfo | None) -> Found:
        since = clock.now() - STREAM_KEPT + BORDER
        made = live.created if live is not None else None
        highest, events = 0, []
        for service, outbox in self._outboxes.items():
            highest = max(highest, await outbox.fetchval(_HIGHEST))
            for row in await outbox.fetch(_PUBLISHED, since):
                later = made is not None and row["published_at"] > made - SKEW
                events.append(Event(later, row["stream_seq"], service, row["id"], str(row["event_id"])))
        return Found(highest, sorted(events))

    async def _missing(self, events: Sequence[Event]) -> list[Event]:
        """Pick what the stream does not have; set right what it has at another place than the outbox says."""
        places = await self._places() if events else {}
        moved = [(event, places[event.event_id]) for event in events if event.event_id in places]
        await self._mark([(event, place) for event, place in moved if event.sequence != place])
        return [event for event in events if event.event_id not in places]

    async def _places(self) -> dict[str, int]:
        """Read where each event of the stream is."""
        places = {}
        async with Reader(self._js, [">"], 1, headers_only=True) as reader:
            while messages := await reader.fetch(PAGE):
                for message in messages:
                    event_id = (message.headers or {}).get("ce-id", "")
                    places[event_id] = message.metadata.sequence.stream
        return places

    async def _require_all_known(self, live: StreamInfo, *, sure: bool) -> None:
        """Refuse to replace a stream that has events which no outbox has."""
        unknown = await self._places()
        for outbox in self._outboxes.values():
            for row in await outbox.fetch(_KNOWN, list(unknown)):
                unknown.pop(row["event_id"], None)
        if unknown and not sure:
            raise EventCommandError(
                f"the stream ends at {live.state.last_seq:,}, where the outboxes have been before, so it has to be made"
                f" again; but {len(unknown):,} of its events are in no outbox, the first at {min(unknown.values()):,}."
                " With --yes they are given up"
            )

    async def _make(self, first: int, *, instead_of: StreamInfo | None) -> None:
        """Make the stream, closed to everybody but us."""
        config = _config().evolve(
            first_seq=first,
            subjects=[f"{GATE}.>"],
            subject_transform=SubjectTransform(src=f"{GATE}.>", dest=">"),
            num_replicas=instead_of.config.num_replicas if instead_of else 1,
        )
        for _ in range(CREATE_TRIES):
            if await self._stream() is not None:
                await self._js.delete_stream(topology.EVENTS)
            try:
                await self._js.add_stream(config)
            except nats.js.errors.BadRequestError:  # somebody was quicker, with the usual configuration
                continue
            return
        raise EventCommandError("somebody makes the stream again all the time; stop the keeper and run this again")

    async def _open(self) -> None:
        """Let everybody publish again."""
        live = (await self._js.stream_info(topology.EVENTS)).config
        await self._js.update_stream(_config().evolve(first_seq=live.first_seq, num_replicas=live.num_replicas))

    async def _publish(self, events: Sequence[Event]) -> int:
        """Publish in order and note the new places; a batch is whole before the next begins."""
        prefix = f"{GATE}." if _is_closed(await self._stream()) else ""
        for begin in range(0, len(events), BATCH):
            batch = events[begin : begin + BATCH]
            rows = await self._rows(batch)
            futures = []
            for event in batch:
                row = rows[event.service, event.row]
                subject, headers = f"{prefix}{row['subject']}", headers_of(row)
                publishing = self._js.publish_async(subject, row["body"], stream=topology.EVENTS, headers=headers)
                futures.append(await publishing)
            acks = await asyncio.wait_for(asyncio.gather(*futures), ACK_SECONDS)
            if any(ack.duplicate for ack in acks):
                minutes = topology.DEDUPLICATION_SECONDS // 60
                raise EventCommandError(f"JetStream still remembers events that were deleted; wait {minutes} minutes")
            await self._mark([(event, ack.seq) for event, ack in zip(batch, acks, strict=True)])
            self._report(f"{begin + len(batch):,} of {len(events):,} events published")
        return len(events)

    async def _mark(self, places: Sequence[tuple[Event, int]]) -> None:
        for service, outbox in self._outboxes.items():
            mine = [(event.row, place) for event, place in places if event.service == service]
            if mine:
                await outbox.execute(_MARK, [row for row, _ in mine], [place for _, place in mine])

    async def _rows(self, events: Sequence[Event]) -> dict[tuple[str, int], Any]:
        rows: dict[tuple[str, int], Any] = {}
        for service, outbox in self._outboxes.items():
            ids = [event.row for event in events if event.service == service]
            if ids:
                rows |= {(service, row["id"]): row for row in await outbox.fetch(_BODIES, ids)}
        return rows


def _config() -> StreamConfig:
    return next(config for config in topology.STREAMS if config.name == topology.EVENTS)


def _is_closed(live: StreamInfo | None) -> bool:
    return live is not None and live.config.subjects == [f"{GATE}.>"]
