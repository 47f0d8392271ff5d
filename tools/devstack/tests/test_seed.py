# ruff: noqa: S311 - the dice of a game
import itertools
import random
from typing import Any

import pytest

from devstack.errors import DevstackError
from devstack.seed import lineup, names, pickable


def market(cap: int = 1000, price: int = 100) -> dict[str, Any]:
    drivers = [{"driver_id": f"d{n}", "constructor_id": f"c{n // 2}", "price": price + n} for n in range(20)]
    constructors = [{"constructor_id": f"c{n}", "price": price + 10 * n} for n in range(10)]
    return {"cap": cap, "drivers": drivers, "constructors": constructors}


@pytest.mark.parametrize("seed", range(20))
def test_a_demo_lineup_is_one_that_the_rules_accept(seed: int) -> None:
    picked = lineup(market(), random.Random(seed))
    assert len(set(picked["drivers"])) == 5
    assert len(set(picked["constructors"])) == 2
    prices = {asset.get("driver_id") or asset["constructor_id"]: asset["price"] for asset in market()["constructors"]}
    prices |= {asset["driver_id"]: asset["price"] for asset in market()["drivers"]}
    assert sum(prices[each] for each in picked["drivers"] + picked["constructors"]) <= 1000


def test_the_same_dice_pick_the_same_lineup() -> None:
    assert lineup(market(), random.Random("x")) == lineup(market(), random.Random("x"))


def test_a_market_beyond_the_cap_is_told_and_not_tried_for_ever() -> None:
    with pytest.raises(DevstackError, match="no line-up within 10 was found"):
        lineup(market(cap=10), random.Random(1))


def test_drivers_without_seat_and_things_without_price_are_not_picked() -> None:
    bare = market()
    bare["drivers"][0]["constructor_id"] = None
    bare["drivers"][1]["price"] = None
    bare["constructors"][0]["price"] = None
    assert [driver["driver_id"] for driver in pickable(bare, "drivers")] == [f"d{n}" for n in range(2, 20)]
    assert [team["constructor_id"] for team in pickable(bare, "constructors")] == [f"c{n}" for n in range(1, 10)]


def test_demo_teams_have_different_names_however_many_there_are() -> None:
    drawn = list(itertools.islice(names(), 350))
    assert len(set(drawn)) == 350
    assert all(3 <= len(name) <= 100 for name in drawn)
