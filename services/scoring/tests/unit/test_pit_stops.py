"""The tiers of stationary pit stops, and who is the fastest of the race."""

from collections.abc import Callable
from typing import Any

import pytest

from common.contracts.ingest import Car, SessionKind
from scoring.domain import Facts, StationaryStop

R = SessionKind.RACE

MakeCar = Callable[..., Car]
Score = Callable[..., Any]


@pytest.mark.parametrize(
    ("millis", "points"),
    [(1999, 20), (2000, 10), (2199, 10), (2200, 5), (2499, 5), (2500, 2), (3000, 2), (3001, 0), (9330, 0)],
)
def test_each_pit_stop_time_has_one_tier(car: MakeCar, scored: Score, millis: int, points: int) -> None:
    cars = [car("haas/ocon", 1, grid=1), car("rb/hadjar", 2, grid=2)]
    stops = [StationaryStop(driver_id="ocon", constructor_id="haas", millis=millis)]
    row = scored(R, cars, Facts(stops=stops)).of("haas")["pit_stop"]
    assert (row.points, row.quantity) == (points, millis)


def test_a_world_record_stop_earns_its_tier_the_fastest_and_the_record(car: MakeCar, scored: Score) -> None:
    stops = [StationaryStop(driver_id="ocon", constructor_id="haas", millis=1790)]
    result = scored(R, [car("haas/ocon", 1, grid=1)], Facts(stops=stops))
    pits = {name: points for name, points in result.points("haas").items() if "pit" in name}
    assert pits == {"pit_stop": 20, "fastest_pit_stop": 5, "pit_stop_record": 15}
    assert result.of("haas")["pit_stop_record"].explanation == "world record pit stop, 1.79 s: +15"
    assert result.of("haas")["fastest_pit_stop"].explanation == "fastest of the race at 1.79 s: +5"


def test_a_stop_as_fast_as_the_record_is_no_record(car: MakeCar, scored: Score) -> None:
    stops = [StationaryStop(driver_id="ocon", constructor_id="haas", millis=1800)]
    assert "pit_stop_record" not in scored(R, [car("haas/ocon", 1, grid=1)], Facts(stops=stops)).of("haas")


def test_constructors_with_the_same_fastest_stop_share_the_bonus(car: MakeCar, scored: Score) -> None:
    cars = [car("haas/ocon", 1, grid=1), car("rb/hadjar", 2, grid=2)]
    stops = [
        StationaryStop(driver_id="ocon", constructor_id="haas", millis=2180),
        StationaryStop(driver_id="hadjar", constructor_id="rb", millis=2180),
    ]
    result = scored(R, cars, Facts(stops=stops))
    assert [result.of(team)["fastest_pit_stop"].points for team in ("haas", "rb")] == [5, 5]
