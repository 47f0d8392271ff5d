"""The use case: read a season's calendar and entries, write down what changed, and tell."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from common import clock
from common.contracts.ingest import Race, SessionKind, Stint
from common.db import Database
from ingest import entries, queries, records, seats, timers, upstream, weekends
from ingest.domain import UnexpectedError
from ingest.jolpica import Body, Jolpica, MissingError
from ingest.models import constructors, drivers, races, seasons, sessions
from ingest.records import Outcome
from ingest.timers import Planned


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What the upstream says about a season."""

    season: int
    read_at: datetime
    """The instant before the first question."""
    simulated: bool
    calendar: tuple[upstream.Race, ...]
    drivers: tuple[upstream.Driver, ...]
    constructors: tuple[upstream.Constructor, ...]
    entered: list[Stint]
    """Who is entered for whom; empty once there are results, for they know better."""
    bodies: tuple[Body, ...]


async def sync_season(database: Database, jolpica: Jolpica, season: str) -> int:
    """Bring a season, a year or ``current``, up to date; return its year.

    Raises:
        UpstreamError: there is no complete answer; nothing is stored.
        UnexpectedError: the answer cannot be true; nothing is stored.
    """
    reading = await read(database, jolpica, season)
    async with database.transaction() as session:
        events = await store(session, reading)
        outcome = Outcome.CHANGED if events else Outcome.UNCHANGED
        await records.record_run(
            session, f"season:{reading.season}", reading.read_at, clock.now(), outcome, changes=events
        )
        await records.forget_runs(session, reading.read_at)
    return reading.season


async def read(database: Database, jolpica: Jolpica, season: str) -> Reading:
    """Ask the upstream for everything about a season but its results."""
    read_at = clock.now()
    calendar = await jolpica.calendar(season)
    year = weekends.season_of(calendar.rows)
    found_drivers = await jolpica.drivers(year)
    found_constructors = await jolpica.constructors(year)
    async with database.transaction() as session:
        driven = await queries.has_results(session, year)
    stints: list[Stint] = []
    bodies: tuple[Body, ...] = ()
    if not driven:
        stints, bodies = await _entered(jolpica, year, found_drivers.rows, found_constructors.rows)
    return Reading(
        season=year,
        read_at=read_at,
        simulated=calendar.simulated,
        calendar=calendar.rows,
        drivers=found_drivers.rows,
        constructors=found_constructors.rows,
        entered=stints,
        bodies=(*calendar.bodies, *found_drivers.bodies, *found_constructors.bodies, *bodies),
    )


async def _entered(
    jolpica: Jolpica, season: int, drivers: Sequence[upstream.Driver], teams: Sequence[upstream.Constructor]
) -> tuple[list[Stint], tuple[Body, ...]]:
    """Find out who is entered for whom before anybody has driven; as a last resort, who drove there a year ago."""
    known = {driver.driver_id for driver in drivers}
    seats_of: dict[str, list[str]] = {}
    bodies: list[Body] = []
    for team in teams:
        try:
            document = await jolpica.drivers_of(season, team.constructor_id)
        except MissingError:
            continue
        bodies += document.bodies
        seats_of[team.constructor_id] = [row.driver_id for row in document.rows if row.driver_id in known]
    if not any(seats_of.values()) and drivers and teams:
        try:
            standings = await jolpica.driver_standings(season - 1)
        except MissingError:
            return [], tuple(bodies)
        bodies += standings.bodies
        for row in standings.rows:
            last = row.constructors[-1].constructor_id if row.constructors else None
            if last in seats_of and row.driver.driver_id in known:
                seats_of[last].append(row.driver.driver_id)
    return seats.entered(seats_of), tuple(bodies)


async def store(session: AsyncSession, reading: Reading) -> int:
    """Write a reading down; return how many events that made.

    A reading that began before the one that is stored is stale, and left alone.
    """
    season = reading.season
    await session.execute(insert(seasons).values(season=season, simulated=reading.simulated).on_conflict_do_nothing())
    row = await queries.lock_season(session, season)
    if row.checked_at is not None and row.checked_at >= reading.read_at:
        return 0
    await session.execute(
        seasons.update()
        .where(seasons.c.season == season)
        .values(simulated=reading.simulated, checked_at=reading.read_at)
    )
    await records.archive(session, reading.bodies, reading.read_at)
    events = await _store_calendar(session, reading)
    await _store_entries(session, reading)
    return events + await entries.announce(session, season)


async def _store_calendar(session: AsyncSession, reading: Reading) -> int:
    season = reading.season
    before = {race.race_id: race for race in await queries.races_of(session, season)}
    calendar = weekends.calendar(reading.calendar, await queries.known_races(session, season))
    now = {race.race_id: race for race in calendar}
    await _drop(session, season, [race for race_id, race in before.items() if race_id not in now])
    rows = [
        {
            "race_id": race.race_id,
            "season": season,
            "round": race.round,
            "name": race.name,
            "circuit_id": race.circuit_id,
            "circuit_name": race.circuit_name,
            "locality": race.locality,
            "country": race.country,
            "sprint": race.sprint,
            "date": _date_of(race),
        }
        for race in calendar
    ]
    await entries.upsert(session, races, rows)
    return sum([await _store_sessions(session, season, before.get(race.race_id), race) for race in calendar])


def _date_of(race: Race) -> object:
    return next(held.starts_at.date() for held in race.sessions if held.kind is SessionKind.RACE)


async def _drop(session: AsyncSession, season: int, gone: Sequence[Race]) -> None:
    """Forget races that are not on the calendar any more; one that has been driven cannot vanish."""
    if not gone:
        return
    ids = [race.race_id for race in gone]
    driven = [race_id for race_id, found in (await queries.versions_of(session, ids)).items() if found]
    if driven:
        raise UnexpectedError(f"the calendar of {season} has lost races that were driven: {', '.join(driven)}")
    for race in gone:
        for held in race.sessions:
            await timers.cancel_timer(session, race.race_id, held.kind)
    await session.execute(delete(races).where(races.c.race_id.in_(ids)))


async def _store_sessions(session: AsyncSession, season: int, before: Race | None, race: Race) -> int:
    """Write a weekend's sessions down and set their timers; return how many were set."""
    was = {held.kind: Planned(before.round, held.starts_at) for held in before.sessions} if before else {}
    gone = was.keys() - {held.kind for held in race.sessions}
    for kind in gone:
        await timers.cancel_timer(session, race.race_id, kind)
    if gone:
        lost = (sessions.c.race_id == race.race_id) & sessions.c.kind.in_(gone)
        await session.execute(delete(sessions).where(lost))
    rows = [{"race_id": race.race_id, "kind": held.kind, "starts_at": held.starts_at} for held in race.sessions]
    await entries.upsert(session, sessions, rows)
    count = 0
    for held in race.sessions:
        planned = Planned(race.round, held.starts_at)
        if timers.is_news(was.get(held.kind), planned, clock.now()):
            await timers.set_timer(session, season, race.race_id, held.kind, planned)
            count += 1
    return count


async def _store_entries(session: AsyncSession, reading: Reading) -> None:
    season = reading.season
    await entries.upsert(session, drivers, [entries.driver_row(season, row) for row in reading.drivers])
    await entries.upsert(session, constructors, [entries.constructor_row(season, row) for row in reading.constructors])
    if await queries.has_results(session, season):
        await entries.derive_stints(session, season)
    else:
        await entries.replace_stints(session, season, reading.entered)
    listed_drivers = [row.driver_id for row in reading.drivers]
    listed_teams = [row.constructor_id for row in reading.constructors]
    await entries.drop_unlisted(session, season, listed_drivers, drivers, "driver_id")
    await entries.drop_unlisted(session, season, listed_teams, constructors, "constructor_id")
