"""Classifications: every version once, and each told once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from common import clock
from common.contracts.ingest import (
    CarStatus,
    RaceFinished,
    ResultsAmended,
    ResultsSynced,
    ResultStatus,
    SeasonSynced,
    SessionKind,
)
from common.db import Database
from ingest import queries
from ingest.domain import UnexpectedError
from ingest.jolpica import UpstreamError
from ingest.models import drivers, races, raw_bodies, results, sessions, stints
from ingest.records import Outcome
from ingest.results import MovedError, read, store, sync_result
from ingest.seasons import sync_season
from trackside.config import Config

DAY = 86_400
AUSTRALIA, CHINA = "2026-albert_park", "2026-shanghai"


def past(rounds: tuple[int, int] = (1, 1)) -> Config:
    """A generated season whose weekends were all held some days ago."""
    return Config(start=clock.now() - timedelta(days=rounds[1] + 3), pace=DAY, rounds=rounds)


async def latest(database: Database, race_id: str, kind: SessionKind) -> queries.ResultRow:
    async with database.transaction() as session:
        found = await queries.latest_result(session, race_id, kind)
    assert found is not None
    return found


async def test_the_first_classification_of_a_race_is_told_as_finished_and_synced(
    serve: Any, asking: Any, database: Database, published: Any
) -> None:
    client = asking(await serve(past()))
    await sync_season(database, client, "2026")
    assert await sync_result(database, client, AUSTRALIA, SessionKind.RACE) is Outcome.CHANGED
    finished, synced = (await published())[-2:]
    assert isinstance(finished, RaceFinished)
    assert isinstance(synced, ResultsSynced)
    assert (synced.result_version, synced.status, synced.session) == (1, ResultStatus.PROVISIONAL, SessionKind.RACE)
    assert len(synced.classification) == 22
    assert [car.position for car in synced.classification] == list(range(1, 23))
    assert finished.podium == [car.driver_id for car in synced.classification[:3]]
    assert finished.winner == finished.podium[0]
    assert synced.classification[0].points == Decimal(25)


async def test_qualifying_and_sprint_are_told_as_synced_alone(
    serve: Any, asking: Any, database: Database, published: Any
) -> None:
    client = asking(await serve(past((1, 2))))
    await sync_season(database, client, "2026")
    before = len(await published())
    await sync_result(database, client, CHINA, SessionKind.SPRINT)
    await sync_result(database, client, CHINA, SessionKind.QUALIFYING)
    events = (await published())[before:]
    told = [(type(event), event.session) for event in events if not isinstance(event, SeasonSynced)]
    assert told == [(ResultsSynced, SessionKind.SPRINT), (ResultsSynced, SessionKind.QUALIFYING)]
    assert all(car.q1 for car in events[-1].classification if car.status is CarStatus.FINISHED)


async def test_a_session_that_is_not_over_has_no_result(
    serve: Any, asking: Any, database: Database, counts: Any
) -> None:
    client = asking(await serve(Config(start=clock.now(), pace=DAY, rounds=(1, 1))))
    await sync_season(database, client, "2026")
    before = await counts()
    assert await sync_result(database, client, AUSTRALIA, SessionKind.RACE) is Outcome.EMPTY
    assert {**await counts(), "raw_bodies": 0} == {**before, "raw_bodies": 0}


async def test_the_same_result_again_writes_no_row_and_no_event(
    serve: Any, asking: Any, database: Database, counts: Any
) -> None:
    client = asking(await serve(past((1, 2))))
    every = [
        (AUSTRALIA, SessionKind.QUALIFYING),
        (AUSTRALIA, SessionKind.RACE),
        (CHINA, SessionKind.SPRINT),
        (CHINA, SessionKind.QUALIFYING),
        (CHINA, SessionKind.RACE),
    ]
    await sync_season(database, client, "2026")
    for race_id, kind in every:
        assert await sync_result(database, client, race_id, kind) is Outcome.CHANGED
    await sync_season(database, client, "2026")
    before = await counts()
    await sync_season(database, client, "2026")
    for race_id, kind in every:
        assert await sync_result(database, client, race_id, kind) is Outcome.UNCHANGED
    assert await counts() == before


async def test_a_disqualification_is_a_second_version_told_with_its_reason(
    serve: Any, asking: Any, database: Database, published: Any
) -> None:
    upstream = await serve(past())
    client = asking(upstream)
    await sync_season(database, client, "2026")
    await sync_result(database, client, AUSTRALIA, SessionKind.RACE)
    winner, second = [car.driver_id for car in (await published())[-1].classification[:2]]
    await upstream.amend(season=2026, round=1, session="race", driver_id=winner, action="disqualify")
    assert await sync_result(database, client, AUSTRALIA, SessionKind.RACE) is Outcome.CHANGED
    amended = (await published())[-1]
    assert isinstance(amended, ResultsAmended)
    assert (amended.result_version, amended.status) == (2, ResultStatus.AMENDED)
    assert amended.reason.startswith(f"{winner} disqualified (was P1); {second} P1 (was P2)")
    by_driver = {car.driver_id: car for car in amended.classification}
    assert (by_driver[winner].status, by_driver[winner].points) == (CarStatus.DISQUALIFIED, Decimal(0))
    assert (await latest(database, AUSTRALIA, SessionKind.RACE)).result_version == 2
    async with database.transaction() as session:
        versions = await session.scalars(select(results.c.result_version).order_by(results.c.result_version))
        assert list(versions) == [1, 2]


async def test_a_disqualification_from_qualifying_is_told_though_the_upstream_has_no_status_there(
    serve: Any, asking: Any, database: Database, published: Any
) -> None:
    upstream = await serve(past())
    client = asking(upstream)
    await sync_season(database, client, "2026")
    await sync_result(database, client, AUSTRALIA, SessionKind.QUALIFYING)
    before = (await published())[-1].classification
    pole = before[0].driver_id
    await upstream.amend(season=2026, round=1, session="qualifying", driver_id=pole, action="disqualify")
    assert await sync_result(database, client, AUSTRALIA, SessionKind.QUALIFYING) is Outcome.CHANGED
    amended = (await published())[-1]
    assert isinstance(amended, ResultsAmended)
    assert amended.reason.startswith(f"{pole} disqualified (was P1); ")
    struck = amended.classification[-1]
    assert (struck.driver_id, struck.status, struck.position) == (pole, CarStatus.DISQUALIFIED, 22)
    assert (struck.q1, struck.q2, struck.q3) == (before[0].q1, before[0].q2, before[0].q3)


async def test_a_time_penalty_says_how_long_it_is(serve: Any, asking: Any, database: Database) -> None:
    upstream = await serve(past())
    client = asking(upstream)
    await sync_season(database, client, "2026")
    await sync_result(database, client, AUSTRALIA, SessionKind.RACE)
    winner = (await latest(database, AUSTRALIA, SessionKind.RACE)).classification[0].driver_id
    await upstream.amend(season=2026, round=1, session="race", driver_id=winner, action="time_penalty", seconds=0.001)
    await sync_result(database, client, AUSTRALIA, SessionKind.RACE)
    amended = await latest(database, AUSTRALIA, SessionKind.RACE)
    assert amended.reason is not None
    assert f"{winner} time +0.001 s" in amended.reason


@pytest.mark.parametrize("kind", ["429", "500", "503", "truncated", "short", "malformed", "html404"])
async def test_a_lasting_fault_keeps_the_old_version_and_the_next_run_recovers(
    serve: Any, asking: Any, database: Database, counts: Any, kind: str
) -> None:
    upstream = await serve(past())
    client = asking(upstream)
    await sync_season(database, client, "2026")
    await sync_result(database, client, AUSTRALIA, SessionKind.RACE)
    winner = (await latest(database, AUSTRALIA, SessionKind.RACE)).classification[0].driver_id
    await upstream.amend(season=2026, round=1, session="race", driver_id=winner, action="disqualify")
    before = await counts()
    await upstream.fault(kind, "/results", times=1000)
    with pytest.raises(UpstreamError):
        await sync_result(database, client, AUSTRALIA, SessionKind.RACE)
    assert await counts() == before
    async with upstream.http.stream("DELETE", "/control/faults") as response:
        assert response.is_success
    assert await sync_result(database, client, AUSTRALIA, SessionKind.RACE) is Outcome.CHANGED


async def test_an_answer_that_comes_too_late_is_no_answer(
    serve: Any, asking: Any, settings: Any, database: Database
) -> None:
    upstream = await serve(past())
    patient = asking(upstream)
    await sync_season(database, patient, "2026")
    hasty = asking(upstream)
    hasty._http.timeout = 0.05
    await upstream.fault("slow", "/results", times=settings.retry_attempts, seconds=1)
    with pytest.raises(UpstreamError, match="Timeout"):
        await sync_result(database, hasty, AUSTRALIA, SessionKind.RACE)
    assert await sync_result(database, patient, AUSTRALIA, SessionKind.RACE) is Outcome.CHANGED


async def test_a_result_of_another_race_is_not_taken_for_this_one(
    serve: Any, asking: Any, database: Database, counts: Any
) -> None:
    start = clock.now() - timedelta(days=10)
    client = asking(await serve(Config(start=start, pace=DAY, rounds=(1, 2))))
    await sync_season(database, client, "2026")
    async with database.transaction() as session:
        await session.execute(races.update().values(round=3 - races.c.round))
    before = await counts()
    with pytest.raises(MovedError, match="is not 2026-albert_park but Chinese Grand Prix"):
        await sync_result(database, client, AUSTRALIA, SessionKind.RACE)
    assert await counts() == before


async def test_a_reading_that_began_before_the_stored_one_changes_nothing(
    serve: Any, asking: Any, database: Database
) -> None:
    client = asking(await serve(past()))
    await sync_season(database, client, "2026")
    ahead = clock.now() + timedelta(hours=1)
    async with database.transaction() as session:
        await session.execute(sessions.update().values(checked_at=ahead))
    assert await sync_result(database, client, AUSTRALIA, SessionKind.RACE) is Outcome.UNCHANGED
    async with database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(results)) == 0


@pytest.mark.parametrize("kept", [21, 0])
async def test_a_result_that_loses_cars_is_refused(
    serve: Any, asking: Any, database: Database, counts: Any, kept: int
) -> None:
    client = asking(await serve(past()))
    await sync_season(database, client, "2026")
    await sync_result(database, client, AUSTRALIA, SessionKind.RACE)
    before = await counts()
    async with database.transaction() as session:
        found = await queries.race(session, AUSTRALIA)
    assert found is not None
    reading = await read(client, found[0], SessionKind.RACE)
    shrunk = msgspec.structs.replace(reading, rows=reading.rows[:kept], cars=reading.cars[:kept])

    async def take() -> None:
        async with database.transaction() as session:
            await store(session, found[0], SessionKind.RACE, shrunk)

    with pytest.raises(UnexpectedError, match="has lost"):
        await take()
    assert await counts() == before


async def test_a_newcomer_is_entered_with_the_result_he_is_first_seen_in(
    serve: Any, asking: Any, database: Database
) -> None:
    client = asking(await serve(past()))
    await sync_season(database, client, "2026")
    async with database.transaction() as session:
        await session.execute(stints.delete().where(stints.c.driver_id == "antonelli"))
        await session.execute(drivers.delete().where(drivers.c.driver_id == "antonelli"))
    await sync_result(database, client, AUSTRALIA, SessionKind.RACE)
    async with database.transaction() as session:
        assert "antonelli" in {driver.driver_id for driver in await queries.drivers_of(session, 2026)}
        assert "antonelli" in {stint.driver_id for stint in await queries.stints_of(session, 2026)}


async def test_a_version_leads_to_the_bodies_it_was_made_of(serve: Any, asking: Any, database: Database) -> None:
    client = asking(await serve(past()))
    await sync_season(database, client, "2026")
    await sync_result(database, client, AUSTRALIA, SessionKind.RACE)
    async with database.transaction() as session:
        hashes = await session.scalar(select(results.c.body_hashes))
        paths = await session.scalars(select(raw_bodies.c.path).where(raw_bodies.c.content_hash.in_(hashes or [])))
        assert list(paths) == ["2026/1/results.json"]


async def test_recorded_races_are_stored_with_the_points_of_every_driver(
    serve: Any, asking: Any, database: Database, published: Any, recorded: Path
) -> None:
    client = asking(await serve(Config(recorded=recorded, season=2024, rounds=(1, 3))))
    await sync_season(database, client, "2024")
    compared = 0
    for number, race_id in enumerate(("2024-bahrain", "2024-jeddah", "2024-albert_park"), start=1):
        await sync_result(database, client, race_id, SessionKind.QUALIFYING)
        await sync_result(database, client, race_id, SessionKind.RACE)
        body = msgspec.json.decode((recorded / f"2024/results/{number}.json").read_bytes())
        rows = body["MRData"]["RaceTable"]["Races"][0]["Results"]
        stored = (await latest(database, race_id, SessionKind.RACE)).classification
        expected = [(row["Driver"]["driverId"], Decimal(row["points"])) for row in rows]
        assert [(car.driver_id, car.points) for car in stored] == expected
        compared += len(rows)
    assert compared == 20 + 20 + 19
    season = [event for event in await published() if isinstance(event, SeasonSynced)][-1]
    ferrari = [stint for stint in season.stints if stint.constructor_id == "ferrari"]
    assert [(stint.driver_id, stint.from_round, stint.to_round) for stint in ferrari] == [
        ("bearman", 2, 2),
        ("leclerc", 1, None),
        ("sainz", 1, 1),
        ("sainz", 3, None),
    ]


async def test_a_season_in_the_past_publishes_no_session_starts(
    serve: Any, asking: Any, database: Database, published: Any, recorded: Path
) -> None:
    client = asking(await serve(Config(recorded=recorded, season=2024, rounds=(1, 3))))
    await sync_season(database, client, "2024")
    [season] = await published()
    assert season.races[0].sessions[-1].starts_at == datetime(2024, 3, 2, 15, tzinfo=UTC)
    assert season.simulated is False
