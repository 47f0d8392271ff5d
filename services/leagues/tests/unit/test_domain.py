"""The rules, case by case."""

import secrets
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.contracts.ingest import Race, Session, SessionKind
from common.contracts.leagues import GameMode
from common.contracts.scoring import AssetKind
from common.errors import ConflictError, InvalidError, NotFoundError, PaddockError
from leagues.domain import (
    CAP,
    CODE_ALPHABET,
    Asset,
    Calendar,
    NewLeague,
    PlannedRound,
    instant,
    join_code,
    money,
    plan_round,
    select,
    tidy_name,
)

NOON = datetime(2026, 3, 7, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

FIVE = ["albon", "alonso", "gasly", "hamilton", "leclerc"]
TWO = ["ferrari", "mclaren"]


def refused(error: type[PaddockError], code: str) -> pytest.RaisesExc[PaddockError]:
    return pytest.raises(error, match=f"^{code}: ")


def prices(driver: int = 100, constructor: int = 200) -> dict[Asset, int | None]:
    drivers: dict[Asset, int | None] = {(AssetKind.DRIVER, name): driver for name in [*FIVE, "russell"]}
    return drivers | {(AssetKind.CONSTRUCTOR, name): constructor for name in TWO}


def test_money_is_written_in_millions_with_one_decimal() -> None:
    assert [money(tenths) for tenths in (0, 5, 1000, 1034)] == ["$0.0M", "$0.5M", "$100.0M", "$103.4M"]


@pytest.mark.parametrize(("raw", "name"), [("  Team\tRed \n", "Team Red"), ("Équipe", "Équipe"), ("abc", "abc")])
def test_a_name_is_trimmed(raw: str, name: str) -> None:
    assert tidy_name(raw) == name


@pytest.mark.parametrize(
    "raw", ["", "ab", "  a b  "[:4], " \t\n ", "x" * 101, "bell\x07rung", "nul\x00led", "a\u202ebcd"]
)
def test_what_is_no_name_is_refused(raw: str) -> None:
    with refused(InvalidError, "invalid_name"):
        tidy_name(raw)


def test_a_join_code_has_eight_characters_that_cannot_be_mistaken() -> None:
    code = join_code(secrets.choice)
    assert len(code) == 8
    assert set(code) <= set(CODE_ALPHABET)
    assert not set("IO01") & set(CODE_ALPHABET)
    assert len(set(CODE_ALPHABET)) == 32


def league(**changes: Any) -> NewLeague:
    values: dict[str, Any] = {
        "name": "Pit Wall",
        "description": "",
        "private": False,
        "max_members": 20,
        "mode": GameMode.BUDGET,
    }
    return NewLeague(**(values | changes))


def test_a_draft_league_is_refused_until_there_are_drafts() -> None:
    with refused(ConflictError, "mode_unavailable"):
        league(mode=GameMode.DRAFT)


def test_only_a_public_league_goes_without_a_limit() -> None:
    assert league(max_members=None).max_members is None
    with refused(InvalidError, "unlimited_private"):
        league(max_members=None, private=True)


@given(st.permutations(FIVE), st.permutations(TWO))
def test_a_selection_is_the_same_in_whatever_order_it_was_made(drivers: list[str], constructors: list[str]) -> None:
    assert select(drivers, constructors) == select(FIVE, TWO)


@pytest.mark.parametrize(
    ("drivers", "constructors"), [(FIVE[:4], TWO), ([*FIVE, "russell"], TWO), (FIVE, TWO[:1]), (FIVE, []), ([], TWO)]
)
def test_a_line_up_of_the_wrong_size_is_refused(drivers: list[str], constructors: list[str]) -> None:
    with refused(InvalidError, "lineup_size"):
        select(drivers, constructors)


@pytest.mark.parametrize(("drivers", "constructors"), [([*FIVE[:4], "albon"], TWO), (FIVE, ["mclaren", "mclaren"])])
def test_nothing_can_be_picked_twice(drivers: list[str], constructors: list[str]) -> None:
    with refused(InvalidError, "duplicate_asset"):
        select(drivers, constructors)


def test_a_line_up_may_cost_all_there_is_and_not_a_tenth_more() -> None:
    assert select(FIVE, TWO).cost(prices(100, 250)) == CAP
    with pytest.raises(ConflictError) as refusal:
        select(FIVE, TWO).cost(prices(100, 250) | {(AssetKind.DRIVER, "albon"): 101})
    assert refusal.value.code == "over_budget"
    assert refusal.value.detail == "This line-up costs $100.1M; the cap is $100.0M."


def test_an_unknown_asset_is_named() -> None:
    with pytest.raises(ConflictError) as refusal:
        select([*FIVE[:4], "senna"], ["ferrari", "lotus"]).cost(prices())
    assert refusal.value.code == "unknown_asset"
    assert [(error.field, error.message) for error in refusal.value.errors] == [
        ("drivers", "senna"),
        ("constructors", "lotus"),
    ]


def test_a_driver_is_no_constructor() -> None:
    with refused(ConflictError, "unknown_asset"):
        select([*FIVE[:4], "ferrari"], TWO).cost(prices())


def test_an_asset_without_a_price_cannot_be_had() -> None:
    with refused(ConflictError, "asset_unpriced"):
        select(FIVE, TWO).cost(prices() | {(AssetKind.DRIVER, "gasly"): None})


def weekend(*sessions: tuple[SessionKind, datetime], sprint: bool = False) -> Race:
    return Race(
        race_id="2026-albert_park",
        round=1,
        name="Australian Grand Prix",
        circuit_id="albert_park",
        circuit_name="Albert Park",
        locality="Melbourne",
        country="Australia",
        sprint=sprint,
        sessions=[Session(kind=kind, starts_at=at) for kind, at in sessions],
    )


QUALIFYING, SPRINT, RACE = SessionKind.QUALIFYING, SessionKind.SPRINT, SessionKind.RACE


def locks(race: Race) -> tuple[SessionKind, datetime, datetime]:
    planned = plan_round(race)
    assert planned is not None
    return planned.lock_session, planned.lock_at, planned.race_starts_at


def test_line_ups_lock_at_the_start_of_qualifying() -> None:
    race = weekend((SessionKind.FP1, NOON - DAY), (QUALIFYING, NOON), (RACE, NOON + DAY))
    assert locks(race) == (QUALIFYING, NOON, NOON + DAY)


def test_on_a_sprint_weekend_line_ups_lock_at_the_start_of_the_sprint() -> None:
    race = weekend(
        (SessionKind.SPRINT_QUALIFYING, NOON - DAY),
        (SPRINT, NOON),
        (QUALIFYING, NOON + HOUR),
        (RACE, NOON + DAY),
        sprint=True,
    )
    assert locks(race) == (SPRINT, NOON, NOON + DAY)


def test_a_weekend_whose_lock_session_is_not_told_locks_at_the_start_of_the_race() -> None:
    assert locks(weekend((SessionKind.FP1, NOON - DAY), (RACE, NOON))) == (RACE, NOON, NOON)
    assert locks(weekend((QUALIFYING, NOON), (SessionKind.FP1, NOON - DAY))) == (QUALIFYING, NOON, NOON)


def test_a_weekend_without_dates_is_not_planned_yet() -> None:
    assert plan_round(weekend()) is None


def planned(number: int, lock_at: datetime, race_at: datetime | None = None) -> PlannedRound:
    return PlannedRound(
        round=number,
        race_id=f"2026-{number}",
        name=f"Grand Prix {number}",
        sprint=False,
        lock_session=QUALIFYING,
        lock_at=lock_at,
        race_starts_at=race_at or lock_at + DAY,
        sessions=[],
    )


def at(now: datetime, *rounds: PlannedRound) -> Calendar:
    chosen = rounds or tuple(planned(number, NOON + 7 * (number - 1) * DAY) for number in (1, 2, 3))
    return Calendar(season=2026, simulated=True, now=now, rounds=list(chosen))


def test_before_the_first_lock_the_first_round_is_open() -> None:
    calendar = at(NOON - timedelta(microseconds=1))
    assert calendar.admit(None).round == 1
    assert calendar.admit(1).round == 1
    assert calendar.last_locked() == 0


def test_at_the_instant_of_the_lock_a_line_up_is_late() -> None:
    with pytest.raises(ConflictError) as refusal:
        at(NOON).admit(None)
    assert refusal.value.code == "round_locked"
    assert refusal.value.detail == (
        "Round 1, Grand Prix 1, locked at 2026-03-07T12:00:00Z. "
        "The open round is 2, Grand Prix 2; it locks at 2026-03-14T12:00:00Z."
    )


def test_while_a_weekend_is_locked_the_next_round_must_be_named() -> None:
    calendar = at(NOON + HOUR)
    assert calendar.admit(2).round == 2
    for late in (None, 1):
        with refused(ConflictError, "round_locked"):
            calendar.admit(late)


def test_once_the_race_has_started_the_next_round_is_meant() -> None:
    assert at(NOON + DAY).admit(None).round == 2
    with refused(ConflictError, "round_locked"):
        at(NOON + DAY).admit(1)


def test_only_the_next_round_to_lock_takes_line_ups() -> None:
    with refused(ConflictError, "round_not_open"):
        at(NOON - HOUR).admit(2)


def test_a_round_that_is_not_in_the_calendar_is_unknown() -> None:
    with refused(NotFoundError, "unknown_round"):
        at(NOON).admit(4)


def test_after_the_last_race_the_season_is_over() -> None:
    with refused(ConflictError, "season_over"):
        at(NOON + 15 * DAY).admit(None)
    with pytest.raises(ConflictError) as refusal:
        at(NOON + 14 * DAY).admit(None)
    assert refusal.value.code == "round_locked"
    assert refusal.value.detail.endswith("No later round is open.")


def test_a_season_without_rounds_takes_no_line_ups() -> None:
    with refused(ConflictError, "season_over"):
        Calendar(season=2026, simulated=True, now=NOON, rounds=[]).admit(None)


def test_a_postponed_round_stays_closed_behind_a_later_one_that_is_locked() -> None:
    rounds = (planned(1, NOON + 30 * DAY), planned(2, NOON), planned(3, NOON + 7 * DAY))
    calendar = at(NOON + 2 * DAY, *rounds)
    assert calendar.admit(None).round == 3
    with pytest.raises(ConflictError) as refusal:
        calendar.admit(1)
    assert refusal.value.code == "round_locked"
    assert "because a later one is" in refusal.value.detail


@given(st.integers(0, 40), st.lists(st.integers(-20, 20), min_size=3, max_size=3))
def test_no_line_up_is_ever_accepted_for_a_round_that_is_locked(hours: int, shifts: list[int]) -> None:
    rounds = [
        planned(n, NOON + (10 * n + shift) * HOUR, NOON + (10 * n + shift + 3) * HOUR)
        for n, shift in zip((1, 2, 3), shifts, strict=True)
    ]
    calendar = at(NOON + hours * HOUR, *rounds)
    for wanted in (None, 1, 2, 3):
        try:
            admitted = calendar.admit(wanted)
        except ConflictError:
            continue
        assert admitted.lock_at > calendar.now
        assert admitted.round > calendar.last_locked()
        assert wanted in (None, admitted.round)


def test_instants_are_told_in_utc() -> None:
    assert instant(datetime(2026, 3, 7, 16, 0, tzinfo=timezone(timedelta(hours=11)))) == "2026-03-07T05:00:00Z"
