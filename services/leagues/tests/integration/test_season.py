"""The calendar, the locks and their one event each, in whatever order things arrive."""

import itertools
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from common import clock
from common.contracts.ingest import SessionKind, SessionStarted, Stint

if TYPE_CHECKING:
    from services.leagues.tests.integration.conftest import World

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def started(number: int, at: datetime, kind: SessionKind = SessionKind.QUALIFYING) -> SessionStarted:
    return SessionStarted(season=2026, round=number, race_id=f"2026-circuit{number}", session=kind, starts_at=at)


async def timers(world: "World") -> dict[str, datetime]:
    """What waits in the outbox, by slot."""
    rows = await world.rows("SELECT slot, deliver_at FROM outbox WHERE published_at IS NULL AND slot IS NOT NULL")
    return {row.slot: row.deliver_at for row in rows}


async def send_due(world: "World") -> None:
    """Mark as published what is due, as the relay does."""
    await world.execute("UPDATE outbox SET published_at = now() WHERE deliver_at <= clock_timestamp()")


async def locked(world: "World") -> list[tuple[int, datetime]]:
    return [(event.round, event.locked_at) for event in await world.events("lineups.locked")]


async def test_each_round_has_a_timer_for_its_lock(world: "World") -> None:
    first = clock.now() + HOUR
    sprint = world.race(2, first + 7 * DAY, sprint=True)
    await world.feed(world.synced([world.race(1, first), sprint]))
    assert await timers(world) == {
        "lineups.locked:2026-circuit1": first,
        "lineups.locked:2026-circuit2": first + 7 * DAY,
    }
    assert await locked(world) == [(1, first), (2, first + 7 * DAY)]


async def test_a_round_that_is_past_when_first_seen_is_locked_and_told_at_once(world: "World") -> None:
    past = clock.now() - 30 * DAY
    await world.feed(world.synced([world.race(1, past), world.race(2, past + 60 * DAY)]))
    rows = await world.rows("SELECT count(*) AS due FROM outbox WHERE deliver_at <= clock_timestamp()")
    assert rows[0].due == 1
    assert await locked(world) == [(1, past), (2, past + 60 * DAY)]
    assert (await world.caller().get("/rounds/next")).json()["round"] == 2


async def test_a_session_that_moves_takes_its_timer_along(world: "World") -> None:
    first = clock.now() + HOUR
    await world.feed(world.synced([world.race(1, first)]))
    for version, moved in ((2, first + DAY), (3, first - HOUR / 2)):
        await world.feed(world.synced([world.race(1, moved)], version))
        assert await timers(world) == {"lineups.locked:2026-circuit1": moved}
        assert await locked(world) == [(1, moved)]


async def test_a_lock_whose_time_has_come_does_not_move_any_more(world: "World") -> None:
    now = clock.now()
    await world.feed(world.synced([world.race(1, now - HOUR)]))
    await send_due(world)
    await world.feed(world.synced([world.race(1, now + DAY)], 2))
    assert await locked(world) == [(1, now - HOUR)]
    assert (await world.caller().get("/rounds/next")).json()["code"] == "no_open_round"


async def test_a_lock_that_is_seconds_away_does_not_move_either(world: "World") -> None:
    first = clock.now() + timedelta(seconds=8)
    await world.feed(world.synced([world.race(1, first)]))
    await world.feed(world.synced([world.race(1, first + DAY)], 2), world.synced([], 3))
    assert await timers(world) == {"lineups.locked:2026-circuit1": first}


async def test_a_lock_that_has_been_told_is_not_told_again_though_the_clock_went_back(world: "World") -> None:
    first = clock.now() + HOUR
    await world.feed(world.synced([world.race(1, first)]))
    await world.execute("UPDATE outbox SET published_at = now()")
    await world.feed(world.synced([world.race(1, first + DAY)], 2), started(1, first))
    assert await locked(world) == [(1, first)]


async def test_a_cancelled_race_takes_its_timer_with_it_and_the_rest_close_up(world: "World") -> None:
    first = clock.now() + HOUR
    races = [world.race(number, first + number * DAY) for number in (1, 2, 3)]
    await world.feed(world.synced(races))
    await world.feed(world.synced([races[0], msgspec.structs.replace(races[2], round=2)], 2))
    assert set(await timers(world)) == {"lineups.locked:2026-circuit1", "lineups.locked:2026-circuit3"}
    assert await locked(world) == [(1, first + DAY), (2, first + 3 * DAY)]


async def test_a_race_that_was_locked_leaves_the_calendar_and_comes_back_without_a_second_event(world: "World") -> None:
    past = clock.now() - HOUR
    await world.feed(world.synced([world.race(1, past)]))
    await send_due(world)
    await world.feed(world.synced([], 2))
    await world.feed(world.synced([world.race(1, past + DAY)], 3))
    assert await locked(world) == [(1, past)]


async def test_a_session_that_starts_early_locks_at_once(world: "World") -> None:
    planned = clock.now() + HOUR
    await world.feed(world.synced([world.race(1, planned), world.race(2, planned + 7 * DAY)]), world.priced())
    before = clock.now()
    await world.feed(started(1, before), started(1, before))
    [(first, at), (second, _)] = sorted(await locked(world))
    assert (first, second) == (1, 2)
    assert before <= at <= clock.now()
    rows = await world.rows("SELECT lock_at FROM locks WHERE round = 1")
    assert rows[0].lock_at == at
    due = await world.rows("SELECT 1 FROM outbox WHERE slot LIKE '%circuit1' AND deliver_at <= clock_timestamp()")
    assert len(due) == 1
    ann = world.caller()
    late = await ann.submit(await ann.team())
    assert (late.status_code, late.json()["code"]) == (409, "round_locked")


async def test_only_the_session_that_locks_does_so(world: "World") -> None:
    planned = clock.now() + HOUR
    await world.feed(world.synced([world.race(1, planned, sprint=True)]))
    before = await world.snapshot()
    for kind in (SessionKind.FP1, SessionKind.SPRINT_QUALIFYING, SessionKind.QUALIFYING, SessionKind.RACE):
        await world.feed(started(1, clock.now(), kind))
    assert await world.snapshot() == before


async def test_the_start_of_a_session_at_its_planned_time_adds_nothing(world: "World") -> None:
    now = clock.now()
    await world.feed(world.synced([world.race(1, now - HOUR)]))
    before = await world.snapshot()
    await world.feed(started(1, now - HOUR))
    await send_due(world)
    await world.feed(started(1, now - HOUR))
    assert (await world.snapshot())["locks"] == before["locks"]
    assert await locked(world) == [(1, now - HOUR)]


def comparable(snapshot: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The state without the outbox, whose rows have ids and instants of their own."""
    return {name: rows for name, rows in snapshot.items() if name != "outbox"}


async def test_events_in_every_order_and_twice_give_the_same_state(world: "World") -> None:
    now = clock.now()
    races = [world.race(1, now - HOUR), world.race(2, now + 7 * DAY), world.race(3, now + 14 * DAY)]
    moved = [races[0], races[1], world.race(3, now + 15 * DAY)]
    events = [
        world.synced(races, 1),
        world.synced(moved, 2, drivers=[*world.drivers, "rookie"]),
        started(1, now - HOUR),
        world.priced(),
        world.priced(version=2, effective_round=2, albon=120),
    ]
    states = []
    for order in itertools.permutations(events):
        await world.execute("TRUNCATE seasons, rounds, locks, assets, seats, prices, outbox CASCADE")
        await world.feed(*order, *reversed(order))
        states.append((comparable(await world.snapshot()), sorted(await locked(world))))
    assert all(state == states[0] for state in states)
    assert states[0][1] == [(1, now - HOUR), (2, now + 7 * DAY), (3, now + 15 * DAY)]


async def test_an_older_calendar_changes_nothing(world: "World") -> None:
    first = clock.now() + HOUR
    await world.feed(world.synced([world.race(1, first)], 5))
    before = await world.snapshot()
    for version in (4, 5):
        await world.feed(world.synced([world.race(1, first + DAY), world.race(2, first + 2 * DAY)], version))
    assert await world.snapshot() == before


async def test_a_weekend_without_dates_is_no_round_yet(world: "World") -> None:
    first = clock.now() + HOUR
    undated = msgspec.structs.replace(world.race(1, first), sessions=[])
    await world.feed(world.synced([undated, world.race(2, first)]))
    assert (await world.caller().get("/rounds/next")).json()["round"] == 2
    await world.feed(world.synced([world.race(1, first), world.race(2, first + DAY)], 2))
    assert set(await timers(world)) == {"lineups.locked:2026-circuit1", "lineups.locked:2026-circuit2"}


async def test_the_market_shows_prices_and_who_drives_for_whom_in_the_round(world: "World") -> None:
    await world.running_weekend()
    season = world.synced([world.race(1, clock.now() - HOUR), world.race(2, clock.now() + DAY)], 2)
    stints = [
        Stint(driver_id="albon", constructor_id="williams", from_round=1, to_round=1),
        Stint(driver_id="albon", constructor_id="ferrari", from_round=2, to_round=None),
        Stint(driver_id="alonso", constructor_id="mclaren", from_round=1, to_round=1),
    ]
    await world.feed(msgspec.structs.replace(season, stints=stints), world.priced(version=2, norris=264))
    answer = await world.http.get("/api/v1/market")
    market = answer.json()
    drivers = {driver["driver_id"]: driver for driver in market["drivers"]}
    assert (market["season"], market["simulated"], market["round"], market["cap"]) == (2026, True, 2, 1000)
    assert drivers["albon"]["constructor_id"] == "ferrari"
    assert drivers["alonso"]["constructor_id"] is None
    assert market["drivers"][0] == drivers["norris"]
    assert drivers["norris"] | {"number": None} == {
        "driver_id": "norris",
        "name": "Some norris",
        "code": "NOR",
        "number": None,
        "constructor_id": None,
        "price": 264,
    }
    assert {item["constructor_id"] for item in market["constructors"]} == set(world.constructors)
    assert (await world.http.get("/api/v1/market", params={"season": 2001})).json()["code"] == "unknown_season"


async def test_the_next_round_is_told_with_its_lock_and_its_sessions(world: "World") -> None:
    await world.running_weekend()
    answer = (await world.http.get("/api/v1/rounds/next")).json()
    assert (answer["round"], answer["race_id"], answer["running_round"]) == (2, "2026-circuit2", 1)
    assert (answer["lock_session"], answer["sprint"]) == ("qualifying", False)
    assert [session["kind"] for session in answer["sessions"]] == ["fp1", "qualifying", "race"]
    assert answer["lock_at"] == answer["sessions"][1]["starts_at"]
    assert answer["race_starts_at"] == answer["sessions"][2]["starts_at"]
    assert answer["now"] < answer["lock_at"]
