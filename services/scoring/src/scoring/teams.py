"""What a team scores and how teams rank, written as plainly as can be: what the set-wise statements must equal."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from common.contracts.scoring import AssetKind

TeamT = TypeVar("TeamT")


def team_points(
    drivers: Iterable[str], constructors: Iterable[str], points: Mapping[tuple[AssetKind, str], int]
) -> int:
    """Add up a line-up. ``points`` are those of each asset; one that has no ledger row yet counts zero."""
    return sum(points.get((AssetKind.DRIVER, driver_id), 0) for driver_id in drivers) + sum(
        points.get((AssetKind.CONSTRUCTOR, constructor_id), 0) for constructor_id in constructors
    )


def rank(totals: Mapping[TeamT, int]) -> dict[TeamT, int]:
    """Rank teams from most points to fewest; equal points share a rank and the next rank is skipped: 1, 2, 2, 4."""
    ranks: dict[TeamT, int] = {}
    ordered = sorted(totals.items(), key=lambda item: -item[1])
    for place, (team, total) in enumerate(ordered, start=1):
        tied = place > 1 and ordered[place - 2][1] == total
        ranks[team] = ranks[ordered[place - 2][0]] if tied else place
    return ranks
