"""What holds for any classification, not only for those somebody thought of."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.contracts.ingest import Car, CarStatus, SessionKind
from common.contracts.scoring import AssetKind
from scoring.domain import Facts, LedgerRow, ScoredSession, StationaryStop
from scoring.engine import absentees, asset_points, score
from scoring.rules import RuleSet, rule_set

RULES = rule_set("official-2025")
RUNS = settings(max_examples=150, deadline=None)
SCORED = st.sampled_from([SessionKind.QUALIFYING, SessionKind.SPRINT, SessionKind.RACE])
RACES = st.sampled_from([SessionKind.SPRINT, SessionKind.RACE])
SEATS = {f"driver{seat}": f"team{seat // 2}" for seat in range(22)}


@st.composite
def classifications(draw: st.DrawFn) -> list[Car]:
    """Draw a field of up to 22 cars of 11 constructors, some not classified, some without this or that."""
    drivers = draw(st.lists(st.sampled_from(sorted(SEATS)), min_size=1, max_size=22, unique=True))
    grid = draw(st.permutations(range(1, len(drivers) + 1)))
    ranks = draw(st.permutations(range(1, len(drivers) + 1)) | st.none())
    return [
        Car(
            driver_id=driver,
            constructor_id=SEATS[driver],
            number=None,
            position=place,
            status=draw(st.sampled_from(CarStatus)),
            status_text="",
            grid=grid[place - 1] if draw(st.integers(0, 9)) else None,
            fastest_lap_rank=ranks[place - 1] if ranks else None,
            q1="1:20.000" if draw(st.booleans()) else None,
        )
        for place, driver in enumerate(drivers, start=1)
    ]


@st.composite
def facts_about(draw: st.DrawFn, cars: list[Car]) -> Facts:
    """Draw facts about the cars of a classification, each known or not."""
    drivers = st.sampled_from([car.driver_id for car in cars])
    stops = st.builds(
        lambda car, millis: StationaryStop(driver_id=car.driver_id, constructor_id=car.constructor_id, millis=millis),
        st.sampled_from(cars),
        st.integers(1700, 3100) | st.integers(1, 40_000),
    )
    return Facts(
        overtakes=draw(st.none() | st.dictionaries(drivers, st.integers(0, 30))),
        driver_of_the_day=draw(st.none() | drivers),
        fastest_lap=draw(st.none() | drivers),
        stops=draw(st.none() | st.lists(stops, max_size=30)),
        no_time_possible=draw(st.booleans()),
    )


@st.composite
def sessions(draw: st.DrawFn) -> tuple[list[Car], Facts]:
    cars = draw(classifications())
    return cars, draw(facts_about(cars))


def ledger(kind: SessionKind, cars: list[Car], facts: Facts, rules: RuleSet = RULES) -> list[LedgerRow]:
    session = ScoredSession(season=2026, round=5, session=kind, result_version=1)
    return score(session, cars, rules, facts, absentees(cars, SEATS, SEATS))


@RUNS
@given(sessions(), SCORED, st.randoms(use_true_random=False))
def test_the_order_of_the_input_is_irrelevant(
    session: tuple[list[Car], Facts], kind: SessionKind, dice: random.Random
) -> None:
    cars, facts = session
    rows = ledger(kind, cars, facts)
    shuffled = dice.sample(cars, len(cars))
    stops = None if facts.stops is None else dice.sample(facts.stops, len(facts.stops))
    again = Facts(
        overtakes=facts.overtakes,
        driver_of_the_day=facts.driver_of_the_day,
        fastest_lap=facts.fastest_lap,
        stops=stops,
        no_time_possible=facts.no_time_possible,
    )
    assert ledger(kind, shuffled, again) == rows


@RUNS
@given(sessions(), SCORED)
def test_every_asset_of_the_season_has_rows_one_per_component_and_each_explains_itself(
    session: tuple[list[Car], Facts], kind: SessionKind
) -> None:
    rows = ledger(kind, *session)
    assert max(Counter((row.kind, row.asset_id, row.component) for row in rows).values()) == 1
    assert {row.asset_id for row in rows if row.kind is AssetKind.DRIVER} == set(SEATS)
    assert {row.asset_id for row in rows if row.kind is AssetKind.CONSTRUCTOR} == set(SEATS.values())
    for row in rows:
        assert type(row.points) is int
        assert row.explanation.endswith((f"{row.points:+d}", " 0", ": 0 for now")), row
        assert not (row.missing and row.kind is AssetKind.DRIVER and row.points)


@RUNS
@given(sessions(), SCORED)
def test_the_total_of_an_asset_is_the_sum_of_its_rows(session: tuple[list[Car], Facts], kind: SessionKind) -> None:
    rows = ledger(kind, *session)
    totals = asset_points(rows)
    assert sum(totals.values()) == sum(row.points for row in rows)
    for (asset_kind, asset_id), total in totals.items():
        assert total == sum(row.points for row in rows if (row.kind, row.asset_id) == (asset_kind, asset_id))


@RUNS
@given(sessions(), SCORED)
def test_a_constructor_has_its_drivers_points_without_the_vote_and_its_own(
    session: tuple[list[Car], Facts], kind: SessionKind
) -> None:
    own = {"qualifying_tier", "dsq_cars", "pit_stop", "fastest_pit_stop", "pit_stop_record"}
    rows = ledger(kind, *session)
    for team in set(SEATS.values()):
        passed_on = sum(row.points for row in rows if row.asset_id == team and row.component not in own)
        drivers = [row for row in rows if SEATS.get(row.asset_id) == team and row.component != "driver_of_the_day"]
        assert passed_on == sum(row.points for row in drivers)


@RUNS
@given(classifications(), RACES, st.integers(0, 30))
def test_a_retired_car_keeps_its_overtakes(cars: list[Car], kind: SessionKind, count: int) -> None:
    facts = Facts(overtakes={car.driver_id: count for car in cars})
    rows = ledger(kind, cars, facts)
    for car in cars:
        made = sum(row.points for row in rows if (row.asset_id, row.component) == (car.driver_id, "overtakes"))
        keeps = car.status not in {CarStatus.DNS, CarStatus.DISQUALIFIED}
        assert made == (count if keeps else 0)


@RUNS
@given(sessions())
def test_stops_of_a_disqualified_car_change_nothing(session: tuple[list[Car], Facts]) -> None:
    cars, facts = session
    out = {car.driver_id for car in cars if car.status is CarStatus.DISQUALIFIED}
    counted = None if facts.stops is None else [stop for stop in facts.stops if stop.driver_id not in out]
    without = Facts(
        overtakes=facts.overtakes,
        driver_of_the_day=facts.driver_of_the_day,
        fastest_lap=facts.fastest_lap,
        stops=counted,
    )
    assert ledger(SessionKind.RACE, cars, without) == ledger(SessionKind.RACE, cars, facts)


@RUNS
@given(classifications(), RACES)
def test_a_fact_that_is_not_known_leaves_a_missing_row_for_every_car_it_could_be_about(
    cars: list[Car], kind: SessionKind
) -> None:
    missing = {(row.asset_id, row.component.value) for row in ledger(kind, cars, Facts()) if row.missing}
    for car in cars:
        could = car.status not in {CarStatus.DNS, CarStatus.DISQUALIFIED}
        assert ((car.driver_id, "overtakes") in missing) == could
        assert ((car.driver_id, "driver_of_the_day") in missing) == (could and kind is SessionKind.RACE)
    for team in set(SEATS.values()):
        assert ((team, "pit_stop") in missing) == (kind is SessionKind.RACE)


@RUNS
@given(sessions(), SCORED)
def test_knowing_a_fact_changes_only_the_rows_that_were_missing_it(
    session: tuple[list[Car], Facts], kind: SessionKind
) -> None:
    cars, facts = session
    known_from_the_start = {"position", "dnf", "nc", "dns", "dsq", "absent", "dsq_cars", "qualifying_tier"}

    def stable(rows: list[LedgerRow]) -> list[LedgerRow]:
        return [row for row in rows if row.component in known_from_the_start]

    dry = Facts(
        overtakes=facts.overtakes,
        driver_of_the_day=facts.driver_of_the_day,
        fastest_lap=facts.fastest_lap,
        stops=facts.stops,
    )
    assert stable(ledger(kind, cars, Facts())) == stable(ledger(kind, cars, dry))


@pytest.mark.parametrize("name", ["official-2025", "official-2026"])
def test_no_sum_of_a_session_leaves_the_range_of_a_small_integer(name: str) -> None:
    @RUNS
    @given(sessions(), SCORED)
    def check(session: tuple[list[Car], Facts], kind: SessionKind) -> None:
        assert all(abs(row.points) < 2**15 for row in ledger(kind, *session, rules=rule_set(name)))

    check()
