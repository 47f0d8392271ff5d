"""Opening prices are a choice and not a formality."""

from collections import Counter
from itertools import combinations

import pytest

from common.contracts.scoring import AssetKind
from scoring.prices import DEFAULT_PRICES, opening_price, opening_prices

BUDGET = 1000
PRICES = opening_prices(2026)


def test_the_list_of_2026_names_22_drivers_and_11_constructors() -> None:
    assert (len(PRICES.drivers), len(PRICES.constructors)) == (22, 11)


@pytest.mark.parametrize(
    ("season", "kind", "asset_id", "price"),
    [
        (2026, AssetKind.DRIVER, "max_verstappen", 268),
        (2026, AssetKind.CONSTRUCTOR, "cadillac", 58),
        (2026, AssetKind.DRIVER, "a_late_entry", 80),
        (2026, AssetKind.CONSTRUCTOR, "a_late_entry", 120),
        (2026, AssetKind.CONSTRUCTOR, "max_verstappen", 120),
        (2024, AssetKind.DRIVER, "max_verstappen", 80),
    ],
)
def test_an_asset_costs_what_the_list_says_or_else_the_default(
    season: int, kind: AssetKind, asset_id: str, price: int
) -> None:
    assert opening_price(season, kind, asset_id) == price


def test_a_season_without_a_list_can_be_played() -> None:
    assert 5 * DEFAULT_PRICES[AssetKind.DRIVER] + 2 * DEFAULT_PRICES[AssetKind.CONSTRUCTOR] <= BUDGET


def test_a_line_up_drawn_by_lot_costs_about_the_budget() -> None:
    drivers, constructors = PRICES.drivers.values(), PRICES.constructors.values()
    average = 5 * sum(drivers) / len(drivers) + 2 * sum(constructors) / len(constructors)
    assert 950 <= average <= 1050


def test_about_half_of_all_line_ups_fit_and_the_best_do_not() -> None:
    fives = Counter(map(sum, combinations(PRICES.drivers.values(), 5)))
    pairs = Counter(map(sum, combinations(PRICES.constructors.values(), 2)))
    fitting = sum(n * m for five, n in fives.items() for pair, m in pairs.items() if five + pair <= BUDGET)
    assert 0.3 < fitting / (fives.total() * pairs.total()) < 0.7
    assert max(fives) > BUDGET
    assert max(pairs) + min(fives) <= BUDGET, "the two best constructors can be had, at a price"
    assert min(pairs) + sum(sorted(PRICES.drivers.values())[-3:]) + sum(sorted(PRICES.drivers.values())[:2]) > BUDGET
