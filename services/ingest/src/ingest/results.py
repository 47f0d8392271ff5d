"""The use case: read a session's classification, and when it is new store a version of it and tell."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from common import clock, outbox
from common.contracts.ingest import (
    Car,
    CarStatus,
    RaceFinished,
    ResultsAmended,
    ResultsSynced,
    ResultStatus,
    SessionKind,
)
from common.db import Database
from ingest import amendments, classification, entries, queries, records, upstream, weekends
from ingest.domain import UnexpectedError, content_hash
from ingest.jolpica import Body, Jolpica
from ingest.models import results, sessions
from ingest.queries import RaceRow, ResultRow
from ingest.records import Outcome
from ingest.weekends import KnownRace

PODIUM = 3


class MovedError(Exception):
    """The round's number now leads to another race: the calendar is out of date."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What the upstream says about a session; no cars before there is a result."""

    read_at: datetime
    """The instant before the question."""
    rows: tuple[upstream.ResultRow | upstream.QualifyingRow, ...]
    cars: list[Car]
    bodies: tuple[Body, ...]


async def sync_result(database: Database, jolpica: Jolpica, race_id: str, kind: SessionKind) -> Outcome:
    """Bring one session's classification up to date.

    Raises:
        UpstreamError: there is no complete answer; nothing is stored.
        UnexpectedError: the answer cannot be true; nothing is stored.
        MovedError: the answer is about another race; nothing is stored.
    """
    async with database.transaction() as session:
        found = await queries.race(session, race_id)
    if found is None:
        raise MovedError(f"{race_id} is not on the calendar any more")
    race, _ = found
    reading = await read(jolpica, race, kind)
    async with database.transaction() as session:
        events, outcome = await store(session, race, kind, reading)
        await records.record_run(
            session, f"result:{race_id}:{kind}", reading.read_at, clock.now(), outcome, changes=events
        )
    return outcome


async def read(jolpica: Jolpica, race: RaceRow, kind: SessionKind) -> Reading:
    """Ask the upstream for a session's classification."""
    read_at = clock.now()
    if kind is SessionKind.QUALIFYING:
        qualifying = await jolpica.qualifying(race.season, race.round)
        _require_same_race(race, [header for header, _ in qualifying.rows])
        rows = tuple(row for _, row in qualifying.rows)
        return Reading(read_at=read_at, rows=rows, cars=classification.qualifying_cars(rows), bodies=qualifying.bodies)
    ask = jolpica.sprint if kind is SessionKind.SPRINT else jolpica.results
    raced = await ask(race.season, race.round)
    _require_same_race(race, [header for header, _ in raced.rows])
    finishers = tuple(row for _, row in raced.rows)
    return Reading(read_at=read_at, rows=finishers, cars=classification.race_cars(finishers), bodies=raced.bodies)


def _require_same_race(race: RaceRow, headers: Sequence[upstream.Race]) -> None:
    known = KnownRace(race.race_id, race.circuit_id, race.date)
    for header in headers:
        if header.season != race.season or not weekends.is_same_race(header, known):
            raise MovedError(f"round {race.round} of {race.season} is not {race.race_id} but {header.race_name}")


async def store(session: AsyncSession, race: RaceRow, kind: SessionKind, reading: Reading) -> tuple[int, Outcome]:
    """Write a reading down; return how many events that made, and the outcome.

    A reading that began before the one that is stored is stale, and left alone.
    """
    await queries.lock_season(session, race.season)
    this = (sessions.c.race_id == race.race_id) & (sessions.c.kind == kind)
    checked_at = await session.scalar(select(sessions.c.checked_at).where(this))
    if checked_at is not None and checked_at >= reading.read_at:
        return 0, Outcome.UNCHANGED
    await session.execute(update(sessions).where(this).values(checked_at=reading.read_at, failed_at=None))
    await records.archive(session, reading.bodies, reading.read_at)
    latest = await queries.latest_result(session, race.race_id, kind)
    _require_no_loss(race, kind, latest, reading.cars)
    if not reading.cars:
        return 0, Outcome.EMPTY
    version = await _add_version(session, race, kind, reading, latest)
    if version is None:
        return 0, Outcome.UNCHANGED
    await entries.add_missing(session, race.season, reading.rows)
    await entries.derive_stints(session, race.season)
    events = int(await entries.announce(session, race.season))
    return events + await _tell(session, race, version), Outcome.CHANGED


def _require_no_loss(race: RaceRow, kind: SessionKind, latest: ResultRow | None, cars: Sequence[Car]) -> None:
    """A classification changes, but it does not lose cars: that would be a fault of the upstream."""
    if latest is None:
        return
    lost = {car.driver_id for car in latest.classification} - {car.driver_id for car in cars}
    if len(cars) < len(latest.classification):
        raise UnexpectedError(f"the {kind} of {race.race_id} has lost {', '.join(sorted(lost))}")


async def _add_version(
    session: AsyncSession, race: RaceRow, kind: SessionKind, reading: Reading, latest: ResultRow | None
) -> ResultRow | None:
    """Add the next version, unless it would say what the latest says."""
    content = content_hash(reading.cars)
    if latest is not None and latest.content_hash == content:
        return None
    version = ResultRow(
        race_id=race.race_id,
        session=kind,
        result_version=latest.result_version + 1 if latest else 1,
        status=ResultStatus.AMENDED if latest else ResultStatus.PROVISIONAL,
        reason=amendments.reason(latest.classification, reading.cars) if latest else None,
        content_hash=content,
        observed_at=reading.read_at,
        classification=reading.cars,
    )
    values = msgspec.structs.asdict(version) | {
        "classification": msgspec.to_builtins(reading.cars),
        "body_hashes": [body.content_hash for body in reading.bodies],
    }
    await session.execute(insert(results).values(values))
    return version


async def _tell(session: AsyncSession, race: RaceRow, version: ResultRow) -> int:
    """Publish what a new version means; return how many events that is."""
    facts = msgspec.structs.asdict(version) | {"season": race.season, "round": race.round}
    reason = facts.pop("reason")
    if reason is not None:
        await outbox.publish(session, ResultsAmended(**facts, reason=reason))
        return 1
    placed = [car for car in version.classification if car.status in {CarStatus.FINISHED, CarStatus.LAPPED}]
    finished = version.session is SessionKind.RACE and bool(placed)
    if finished:
        podium = [car.driver_id for car in placed[:PODIUM]]
        event = RaceFinished(
            season=race.season,
            round=race.round,
            race_id=race.race_id,
            name=race.name,
            winner=podium[0],
            podium=podium,
        )
        await outbox.publish(session, event)
    await outbox.publish(session, ResultsSynced(**facts))
    return 1 + finished
