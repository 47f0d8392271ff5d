"""The calendar and the entries: read once, told once, told again when they change."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from common import clock
from common.contracts.ingest import SeasonSynced, SessionKind, SessionStarted
from common.db import Database
from ingest.domain import UnexpectedError
from ingest.jolpica import UnreadableError, UpstreamError
from ingest.models import outbox, races, sessions, sync_runs
from ingest.results import sync_result
from ingest.seasons import sync_season
from trackside.config import Config

DAY = 86_400


async def timers(database: Database) -> dict[str, Any]:
    """The waiting `session.started`, by slot."""
    async with database.transaction() as session:
        query = select(outbox.c.slot, outbox.c.deliver_at, outbox.c.body).where(outbox.c.slot.is_not(None))
        found = {}
        for row in await session.execute(query):
            event = msgspec.json.decode(row.body, type=SessionStarted)
            assert event.starts_at == row.deliver_at
            found[row.slot] = event
        return found


async def test_a_season_is_told_whole_and_its_sessions_are_timers(
    serve: Any, asking: Any, database: Database, published: Any
) -> None:
    upstream = await serve(Config(start=clock.now() + timedelta(hours=1), pace=DAY, rounds=(1, 2)))
    assert await sync_season(database, asking(upstream), "current") == 2026
    [season] = await published()
    assert isinstance(season, SeasonSynced)
    assert (season.season, season.season_version, season.simulated) == (2026, 1, True)
    assert [(race.race_id, race.round, race.sprint) for race in season.races] == [
        ("2026-albert_park", 1, False),
        ("2026-shanghai", 2, True),
    ]
    assert [held.kind for held in season.races[1].sessions] == [
        SessionKind.FP1,
        SessionKind.SPRINT_QUALIFYING,
        SessionKind.SPRINT,
        SessionKind.QUALIFYING,
        SessionKind.RACE,
    ]
    assert len(season.drivers) == 22
    assert len(season.constructors) == 11
    waiting = await timers(database)
    assert waiting.keys() == {
        f"session.started:{race.race_id}:{held.kind}" for race in season.races for held in race.sessions
    }


async def test_who_drives_for_whom_is_known_before_anybody_has_driven(
    serve: Any, asking: Any, database: Database, published: Any
) -> None:
    upstream = await serve(Config(start=clock.now() + timedelta(hours=1), pace=DAY, rounds=(1, 1)))
    await sync_season(database, asking(upstream), "2026")
    [season] = await published()
    assert len(season.stints) == 22
    assert {(stint.from_round, stint.to_round) for stint in season.stints} == {(1, None)}
    teams = [stint.constructor_id for stint in season.stints]
    assert {teams.count(team.constructor_id) for team in season.constructors} == {2}


async def test_without_entries_there_are_no_stints_and_everything_else(
    serve: Any, asking: Any, database: Database, published: Any
) -> None:
    upstream = await serve(Config(start=clock.now() + timedelta(hours=1), pace=DAY, rounds=(1, 1)))
    await upstream.fault("html404", "/constructors/.*/drivers", times=100)
    await sync_season(database, asking(upstream), "2026")
    [season] = await published()
    assert (len(season.races), len(season.drivers), season.stints) == (1, 22, [])


async def test_the_same_season_again_writes_no_row_and_no_event(
    serve: Any, asking: Any, database: Database, counts: Any
) -> None:
    upstream = await serve(Config(start=clock.now() + timedelta(hours=1), pace=DAY, rounds=(1, 3)))
    client = asking(upstream)
    await sync_season(database, client, "2026")
    before = await counts()
    await sync_season(database, client, "2026")
    assert await counts() == before
    async with database.transaction() as session:
        outcomes = await session.scalars(select(sync_runs.c.outcome).order_by(sync_runs.c.id))
        assert list(outcomes) == ["changed", "unchanged"]


async def test_a_moved_session_moves_its_timer_and_tells_the_season_again(
    serve: Any, asking: Any, database: Database, published: Any
) -> None:
    start = clock.now() + timedelta(hours=1)
    await sync_season(database, asking(await serve(Config(start=start, pace=DAY, rounds=(1, 1)))), "2026")
    first = await timers(database)
    later = await serve(Config(start=start + timedelta(hours=2), pace=DAY, rounds=(1, 1)))
    await sync_season(database, asking(later), "2026")
    second = await timers(database)
    assert second.keys() == first.keys()
    moved = {slot: second[slot].starts_at - event.starts_at for slot, event in first.items()}
    assert set(moved.values()) == {timedelta(hours=2)}
    assert [event.season_version for event in await published()] == [1, 2]


async def test_a_race_that_is_cancelled_shifts_the_rounds_and_no_other_race_changes_its_id(
    serve: Any, asking: Any, database: Database, published: Any
) -> None:
    start = clock.now() + timedelta(days=30)
    await sync_season(database, asking(await serve(Config(start=start, pace=DAY, rounds=(1, 3)))), "2026")
    await sync_season(database, asking(await serve(Config(start=start, pace=DAY, rounds=(2, 3)))), "2026")
    before, after = await published()
    assert [race.race_id for race in after.races] == [race.race_id for race in before.races][1:]
    assert {slot.split(":")[1] for slot in await timers(database)} == {race.race_id for race in after.races}
    async with database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(races)) == 2


async def test_a_calendar_that_has_lost_a_race_that_was_driven_is_refused(
    serve: Any, asking: Any, database: Database, counts: Any
) -> None:
    start = clock.now() - timedelta(days=5)
    client = asking(await serve(Config(start=start, pace=DAY, rounds=(1, 2))))
    await sync_season(database, client, "2026")
    await sync_result(database, client, "2026-albert_park", SessionKind.RACE)
    before = await counts()
    shorter = asking(await serve(Config(start=start, pace=DAY, rounds=(2, 2))))
    with pytest.raises(UnexpectedError, match="has lost races that were driven: 2026-albert_park"):
        await sync_season(database, shorter, "2026")
    assert await counts() == before


async def test_sessions_long_past_are_no_news_and_today_s_are(
    serve: Any, asking: Any, database: Database, published: Any
) -> None:
    start = clock.now() - timedelta(days=2.5)
    upstream = await serve(Config(start=start, pace=DAY, rounds=(1, 3)))
    await sync_season(database, asking(upstream), "2026")
    started = [event for event in await published() if isinstance(event, SessionStarted)]
    assert started
    assert all(clock.now() - timedelta(days=1) < event.starts_at <= clock.now() for event in started)


@pytest.mark.parametrize("kind", ["429", "500", "503", "truncated", "short", "malformed"])
async def test_a_passing_fault_is_waited_out(
    serve: Any, asking: Any, database: Database, published: Any, kind: str
) -> None:
    upstream = await serve(Config(start=clock.now() + timedelta(hours=1), pace=DAY, rounds=(1, 2)))
    await upstream.fault(kind, "", times=3)
    await sync_season(database, asking(upstream), "2026")
    [season] = await published()
    assert (len(season.races), len(season.drivers), len(season.stints)) == (2, 22, 22)


@pytest.mark.parametrize("kind", ["429", "500", "truncated", "short", "malformed", "html404"])
@pytest.mark.parametrize("path", [r"/2026(\.json)?$", "/drivers", r"/2026/constructors(\.json)?$"])
async def test_a_lasting_fault_stores_nothing_and_the_next_run_recovers(
    serve: Any, asking: Any, database: Database, counts: Any, kind: str, path: str
) -> None:
    upstream = await serve(Config(start=clock.now() + timedelta(hours=1), pace=DAY, rounds=(1, 1)))
    client = asking(upstream)
    await upstream.fault(kind, path, times=1000)
    with pytest.raises(UpstreamError):
        await sync_season(database, client, "2026")
    assert set((await counts()).values()) == {0}
    await upstream.reset()
    await sync_season(database, client, "2026")
    async with database.transaction() as session:
        assert await session.scalar(select(func.count()).select_from(sessions)) == 5


async def test_a_page_that_stays_short_of_rows_is_never_stored(serve: Any, asking: Any, database: Database) -> None:
    upstream = await serve(Config(start=clock.now() + timedelta(hours=1), pace=DAY, rounds=(1, 1)))
    await upstream.fault("short", "/drivers", times=1000)
    with pytest.raises(UnreadableError, match="21 rows where the page promises 22"):
        await sync_season(database, asking(upstream), "2026")
