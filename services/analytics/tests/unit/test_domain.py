"""The rules of the championship."""

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.domain import Championship, Outcome, plain, standings
from common.contracts.ingest import CarStatus, SessionKind


def outcome(
    driver: str,
    position: int,
    points: str = "0",
    *,
    team: str = "team",
    session: SessionKind = SessionKind.RACE,
    status: CarStatus = CarStatus.FINISHED,
) -> Outcome:
    return Outcome(driver, team, session, position, status, Decimal(points))


def order(*outcomes: Outcome) -> list[str]:
    return [standing.competitor_id for standing in standings(outcomes, Championship.DRIVERS)]


def test_points_of_races_and_sprints_add_up() -> None:
    (standing,) = standings(
        [outcome("norris", 2, "7", session=SessionKind.SPRINT), outcome("norris", 1, "25"), outcome("norris", 3, "15")],
        Championship.DRIVERS,
    )
    assert standing.points == 47


def test_more_points_stand_before_more_wins() -> None:
    assert order(outcome("winner", 1, "25"), outcome("steady", 2, "18"), outcome("steady", 2, "18")) == [
        "steady",
        "winner",
    ]


def test_a_sprint_victory_is_no_win_and_breaks_no_tie() -> None:
    ranked = standings(
        [
            outcome("sprinter", 1, "8", session=SessionKind.SPRINT),
            outcome("racer", 6, "8"),
            outcome("sprinter", 16),
        ],
        Championship.DRIVERS,
    )
    assert [(standing.competitor_id, standing.wins) for standing in ranked] == [("racer", 0), ("sprinter", 0)]


def test_level_on_points_the_best_finish_decides() -> None:
    assert order(outcome("fifth", 5, "10"), outcome("fourth", 4, "10")) == ["fourth", "fifth"]


def test_level_on_the_best_finish_the_number_of_such_finishes_decides() -> None:
    twice = [outcome("twice", 11), outcome("twice", 11)]
    assert order(outcome("once", 11), outcome("once", 12), *twice) == ["twice", "once"]


def test_level_on_the_best_finishes_the_next_best_decides() -> None:
    assert order(outcome("slow", 11), outcome("slow", 15), outcome("fast", 11), outcome("fast", 14)) == ["fast", "slow"]


def test_a_further_finish_is_better_than_none() -> None:
    assert order(outcome("once", 11), outcome("twice", 11), outcome("twice", 20)) == ["twice", "once"]


@pytest.mark.parametrize("status", [status for status in CarStatus if status not in {"finished", "lapped"}])
def test_only_a_classified_car_has_a_finish(status: CarStatus) -> None:
    out = outcome("out", 1, status=status)
    ranked = standings([out, outcome("lapped", 19, status=CarStatus.LAPPED)], Championship.DRIVERS)
    assert [(standing.position, standing.competitor_id, standing.wins) for standing in ranked] == [
        (1, "lapped", 0),
        (None, "out", 0),
    ]


def test_who_is_level_to_the_last_keeps_the_order_of_being_named_and_shares_no_position() -> None:
    ranked = standings([outcome("earlier", 11), outcome("later", 11)], Championship.DRIVERS)
    assert [(standing.position, standing.competitor_id) for standing in ranked] == [(1, "earlier"), (2, "later")]


def test_who_has_scored_in_sprints_alone_has_a_position() -> None:
    (standing,) = standings([outcome("sprinter", 8, "1", session=SessionKind.SPRINT)], Championship.DRIVERS)
    assert standing.position == 1


def test_a_driver_lists_his_constructors_in_the_order_he_drove_for_them() -> None:
    moved = [outcome("bearman", 7, team="ferrari"), outcome("bearman", 10, team="haas")]
    (standing,) = standings([*moved, outcome("bearman", 12, team="ferrari")], Championship.DRIVERS)
    assert standing.constructors == ("ferrari", "haas")


def test_a_constructor_collects_the_points_of_whoever_drove_its_cars() -> None:
    ranked = standings(
        [
            outcome("bearman", 7, "6", team="ferrari"),
            outcome("leclerc", 1, "25", team="ferrari"),
            outcome("bearman", 10, "1", team="haas"),
        ],
        Championship.CONSTRUCTORS,
    )
    assert [(standing.competitor_id, standing.points, standing.wins) for standing in ranked] == [
        ("ferrari", Decimal(31), 1),
        ("haas", Decimal(1), 0),
    ]


def test_half_points_add_up_exactly_and_are_written_in_one_way() -> None:
    (standing,) = standings([outcome("verstappen", 1, "12.5"), outcome("verstappen", 2, "7.5")], Championship.DRIVERS)
    assert str(standing.points) == "20"


@pytest.mark.parametrize(("points", "text"), [("25.0", "25"), ("12.50", "12.5"), ("0", "0"), ("100", "100")])
def test_points_are_written_in_one_way(points: str, text: str) -> None:
    assert str(plain(Decimal(points))) == text


def test_nobody_took_part_so_nobody_stands() -> None:
    assert standings([], Championship.DRIVERS) == []


OUTCOMES = st.lists(
    st.builds(
        Outcome,
        driver_id=st.sampled_from("abcdef"),
        constructor_id=st.sampled_from("xyz"),
        session=st.sampled_from([SessionKind.SPRINT, SessionKind.RACE]),
        position=st.integers(1, 6),
        status=st.sampled_from(list(CarStatus)),
        points=st.sampled_from([Decimal(0), Decimal("0.5"), Decimal(1)]),
    ),
    max_size=30,
)


@given(OUTCOMES)
def test_countback_is_what_the_regulations_say(outcomes: list[Outcome]) -> None:
    """Spelt out as counts of first places, second places and so on, instead of lists of finishes."""

    def merit(driver: str) -> tuple[Decimal, tuple[int, ...]]:
        own = [one for one in outcomes if one.driver_id == driver]
        finishes = Counter(
            one.position for one in own if one.session is SessionKind.RACE and one.status in {"finished", "lapped"}
        )
        return sum((one.points for one in own), Decimal(0)), tuple(finishes[place] for place in range(1, 7))

    merits = [merit(name) for name in order(*outcomes)]
    assert merits == sorted(merits, reverse=True)


@given(OUTCOMES)
def test_no_point_is_lost_or_made(outcomes: list[Outcome]) -> None:
    total = sum((one.points for one in outcomes), Decimal(0))
    for championship in Championship:
        assert sum((one.points for one in standings(outcomes, championship)), Decimal(0)) == total
