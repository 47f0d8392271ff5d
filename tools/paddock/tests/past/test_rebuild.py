"""`paddock events rebuild` makes tables what the applied events say, and touches nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from analytics import consumers as analytics_consumers
from common import topology
from common.contracts.ingest import Race
from devstack.testing import eventually, running
from lab import season, wire
from paddock import shadow
from paddock.projections import PROJECTIONS, Projection
from paddock.rebuild import Rebuild
from paddock.stored import EventCommandError

TABLES = ("seasons", "races", "sessions", "drivers", "constructors", "results", "cars")


def projection(name: str = "analytics.history") -> Projection:
    return next(one for one in PROJECTIONS if one.name == name)


def rebuild(past: Any, said: list[str] | None = None, name: str = "analytics.history", **options: Any) -> Rebuild:
    report: Callable[[str], None] = said.append if said is not None else lambda _: None
    return Rebuild(projection(name), past.admin_url, past.js, report=report, **options)


async def state(past: Any) -> dict[str, list[str]]:
    return {name: sorted(map(repr, await past.rows(f"SELECT * FROM analytics.{name}"))) for name in TABLES}


async def damage(past: Any) -> None:
    """Wrong, missing and invented rows, and two rounds that have changed places."""
    for statement in (
        "UPDATE analytics.cars SET points = points + 7 WHERE place = 3",
        "DELETE FROM analytics.cars WHERE place = 5",
        "DELETE FROM analytics.races WHERE round = 3",
        "UPDATE analytics.races SET round = round + 50",
        "UPDATE analytics.races SET round = 53 - round",
        "INSERT INTO analytics.results VALUES ('2026-nowhere', 'race', 1, 'final', now())",
        "UPDATE analytics.seasons SET simulated = NOT simulated",
    ):
        await past.database.execute(statement)


async def test_damaged_tables_become_what_their_events_say(past: Any, weekend: Any) -> None:
    await past.apply(*weekend)
    before, inbox = await state(past), await past.value("SELECT count(*) FROM analytics.inbox")
    await damage(past)
    assert await state(past) != before
    lines = await rebuild(past).run()
    assert await state(past) == before
    assert "cars: 0 rows removed, 2 changed, 2 added" in lines
    assert await past.value("SELECT count(*) FROM analytics.inbox") == inbox
    assert await past.value("SELECT to_regnamespace('analytics_rebuild') IS NULL")
    assert await past.acts() == ["events.rebuild", "events.rebuilt"]
    assert await rebuild(past).run() == ["nothing differed"]


async def test_an_event_that_the_service_has_not_applied_is_left_to_its_consumer(past: Any, weekend: Any) -> None:
    await past.apply(*weekend[:3])
    await wire.publish(past.js, weekend[3])
    await rebuild(past).run()
    versions = "SELECT result_version FROM analytics.results ORDER BY session, result_version"
    assert await past.rows(versions) == [(1,), (1,)]
    async with running(past.analytics()):

        async def amended() -> bool:
            return bool(await past.rows(versions) == [(1,), (2,)])

        await eventually(amended, seconds=20, what="the effect of the waiting event")


async def test_an_event_that_is_applied_while_the_rebuild_runs_is_in_it(
    past: Any, weekend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service applies it after the rebuild has read past it, and before the swap."""
    await past.apply(*weekend[:3])
    await wire.publish(past.js, weekend[3])
    whole = Rebuild._require_a_whole_inbox

    async def apply_meanwhile(one: Rebuild) -> None:
        await whole(one)
        await past.apply()

    monkeypatch.setattr(Rebuild, "_require_a_whole_inbox", apply_meanwhile)
    await rebuild(past).run()
    assert await past.rows("SELECT max(result_version) FROM analytics.results") == [(2,)]
    assert await past.value("SELECT count(*) FROM analytics.cars") == 2 * len(season.DRIVERS)


async def test_a_handler_that_cannot_do_it_again_stops_the_rebuild_before_anything_changes(
    past: Any, weekend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await past.apply(*weekend)
    await damage(past)
    before = await state(past)

    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug of this release")

    monkeypatch.setattr(analytics_consumers, "_add", fail)
    with pytest.raises(EventCommandError, match="a bug of this release"):
        await rebuild(past).run()
    assert await state(past) == before


async def test_an_interrupted_rebuild_goes_on_and_one_of_another_stream_begins_anew(past: Any, weekend: Any) -> None:
    await past.apply(*weekend)
    before = await state(past)
    await damage(past)

    class StoppedError(Exception):
        pass

    def stop(*_: object) -> None:
        raise StoppedError

    first = rebuild(past)
    first._swap = stop  # type: ignore[assignment,method-assign]
    with pytest.raises(StoppedError):
        await first.run()
    said: list[str] = []
    await rebuild(past, said).run()
    assert said[0] == "going on after event 4"
    assert await state(past) == before
    again = rebuild(past)
    again._swap = stop  # type: ignore[assignment,method-assign]
    with pytest.raises(StoppedError):
        await again.run()
    said.clear()
    await rebuild(past, said).run(anew=True)
    assert [line.split(";")[0] for line in said] == ["swapped"]


async def test_a_stream_without_its_beginning_is_refused_unless_what_is_older_is_kept(past: Any, weekend: Any) -> None:
    await past.apply(*weekend)
    before = await state(past)
    await past.js.purge_stream(topology.EVENTS, seq=3)
    with pytest.raises(EventCommandError, match="begins at 3"):
        await rebuild(past).run()
    await past.database.execute("UPDATE analytics.cars SET points = points + 7 WHERE place = 3")
    await rebuild(past, keep_older=True).run()
    found = await state(past)
    wrong = "SELECT session FROM analytics.cars WHERE points >= 7 AND place = 3"
    assert await past.rows(wrong) == [("qualifying",)], "of the qualifying the stream knows nothing any more"
    assert {name for name in TABLES if found[name] != before[name]} == {"cars"}


async def test_an_inbox_that_lacks_what_its_consumer_is_done_with_is_refused(past: Any, weekend: Any) -> None:
    await past.apply(*weekend)
    await past.database.execute("DELETE FROM analytics.inbox WHERE consumer LIKE '%amended'")
    before = await state(past)
    with pytest.raises(EventCommandError, match="1 events that its inbox does not have"):
        await rebuild(past).run()
    assert await state(past) == before
    await rebuild(past, sure=True).run()
    assert await past.rows("SELECT max(result_version) FROM analytics.results") == [(1,)]


async def test_handlers_of_a_rebuild_cannot_reach_the_real_outbox_and_the_locks(past: Any) -> None:
    """`leagues` sets locks and announces them when a season comes; a rebuild must do neither."""
    event = season.calendar()
    (event_id,) = await wire.publish(past.js, event)
    durable = "leagues_project-season_season-synced"
    await past.database.execute("INSERT INTO leagues.inbox (consumer, event_id) VALUES ($1, $2)", durable, event_id)
    await rebuild(past, name="leagues.calendar").run()
    assert await past.value("SELECT count(*) FROM leagues.rounds") == len(season.ROUNDS)
    assert await past.value("SELECT count(*) FROM leagues.outbox") == 0
    assert await past.value("SELECT count(*) FROM leagues.locks") == 0


async def test_two_rebuilds_of_a_service_exclude_each_other(past: Any) -> None:
    query = "SELECT pg_advisory_lock(7301005, hashtext('analytics'))"
    await past.database.execute(query)
    try:
        with pytest.raises(EventCommandError, match="by somebody else"):
            await rebuild(past).run()
    finally:
        await past.database.execute(query.replace("lock(", "unlock("))


async def test_a_calendar_whose_races_have_changed_places_can_be_swapped_in(past: Any) -> None:
    """Rounds are unique in a season, also in the middle of the swap."""
    calendar = season.calendar()
    turned: list[Race] = [replace(race, round=number) for race, number in zip(calendar.races, (2, 3, 1), strict=True)]
    await past.apply(calendar, replace(calendar, season_version=2, races=turned))
    right = await state(past)
    await past.database.execute("UPDATE analytics.races SET round = round + 50")
    await past.database.execute("UPDATE analytics.races SET round = (round - 50) % 3 + 1")
    await rebuild(past).run()
    assert await state(past) == right


def test_every_projection_names_tables_handlers_and_copies_that_there_are() -> None:
    assert len({one.name for one in PROJECTIONS}) == len(PROJECTIONS) == 5
    for one in PROJECTIONS:
        tables = set(one.metadata.tables)
        assert {*one.tables, *one.shared, *one.copied} <= tables
        assert not set(one.tables) & {*one.shared, *one.copied, "outbox", "inbox", "attempts"}
        assert {consumer.handle for consumer in one.feeding()} == set(one.handlers)
        assert one.name.startswith(f"{one.service}.")


def test_what_is_not_unique_is_not_deleted_for_it() -> None:
    races = projection().metadata.tables["races"]
    assert len(shadow.delete_statements(races, "analytics", keep_older=False)) == 3
    assert len(shadow.delete_statements(races, "analytics", keep_older=True)) == 2
    assert "NOT EXISTS" not in " ".join(shadow.delete_statements(races, "analytics", keep_older=True))
