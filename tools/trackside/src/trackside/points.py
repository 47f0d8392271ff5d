"""Championship points by position, as the sporting regulations of the seasons since 2019 give them."""

from msgspec import UNSET

from trackside.bodies import ResultRow

RACE = (25, 18, 15, 12, 10, 8, 6, 4, 2, 1)
SPRINT = (8, 7, 6, 5, 4, 3, 2, 1)
FASTEST_LAP_SEASONS = range(2019, 2025)
"""One point for the fastest lap, to a car classified in the first ten; dropped for 2025."""


def race_points(position: int | None, year: int, *, fastest: bool) -> int:
    """Points of a car at a position; `None` is a car without a place."""
    if position is None or position > len(RACE):
        return 0
    return RACE[position - 1] + (1 if fastest and year in FASTEST_LAP_SEASONS else 0)


def sprint_points(position: int | None) -> int:
    """Points of a car at a position of a sprint since 2022."""
    return 0 if position is None or position > len(SPRINT) else SPRINT[position - 1]


def points_of(row: ResultRow, year: int, *, sprint: bool) -> int:
    """Points a row is worth by its position and, where it counts, its fastest lap."""
    position = int(row.position) if row.classified else None
    if sprint:
        return sprint_points(position)
    fastest = row.fastest_lap is not UNSET and row.fastest_lap.rank == "1"
    return race_points(position, year, fastest=fastest)


def text(points: float) -> str:
    """Points as Jolpica writes them: `25`, `12.5`."""
    return f"{points:g}"
