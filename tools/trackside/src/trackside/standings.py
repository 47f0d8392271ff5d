"""Championship standings out of results: points, then the better finishes of the races (countback).

Who is still level keeps the order in which the results first named him, as Jolpica has it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from msgspec import UNSET

from trackside.bodies import Constructor, ConstructorStanding, Driver, DriverStanding, ResultRow
from trackside.points import text
from trackside.season import Weekend

DEEPEST = 40
"""Finishes below this place do not break ties; no grid was ever longer."""


class Tally:
    """What one competitor has collected: points of races and sprints, finishes of races only."""

    def __init__(self) -> None:
        self.points = 0.0
        self.finishes: Counter[int] = Counter()

    def add(self, row: ResultRow, *, race: bool) -> None:
        """Count one row in."""
        self.points += float(row.points)
        if race and row.classified:
            self.finishes[int(row.position)] += 1

    @property
    def rank_key(self) -> tuple[float, ...]:
        """Sorts the better first."""
        return (-self.points, *(-self.finishes[place] for place in range(1, DEEPEST)))

    @property
    def placed(self) -> bool:
        """Whether there is anything to rank by."""
        return bool(self.points or self.finishes)


def _rows(weekends: Iterable[Weekend]) -> Iterable[tuple[ResultRow, bool]]:
    for weekend in weekends:
        yield from ((row, False) for row in weekend.sprint)
        yield from ((row, True) for row in weekend.results)


def driver_standings(weekends: Sequence[Weekend]) -> tuple[DriverStanding, ...]:
    """Standings of all who took part in these weekends; his constructors in the order he drove for them."""
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    drivers: dict[str, Driver] = {}
    constructors: defaultdict[str, dict[str, Constructor]] = defaultdict(dict)
    for row, race in _rows(weekends):
        name = row.driver.driver_id
        tallies[name].add(row, race=race)
        drivers[name] = row.driver
        constructors[name].setdefault(row.constructor.constructor_id, row.constructor)
    order = sorted(tallies, key=lambda name: tallies[name].rank_key)
    return tuple(
        DriverStanding(
            position=str(place) if tallies[name].placed else UNSET,
            position_text=str(place) if tallies[name].placed else "-",
            points=text(tallies[name].points),
            wins=str(tallies[name].finishes[1]),
            driver=drivers[name],
            constructors=tuple(constructors[name].values()),
        )
        for place, name in enumerate(order, start=1)
    )


def constructor_standings(weekends: Sequence[Weekend]) -> tuple[ConstructorStanding, ...]:
    """Standings of all constructors that took part in these weekends."""
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    constructors: dict[str, Constructor] = {}
    for row, race in _rows(weekends):
        name = row.constructor.constructor_id
        tallies[name].add(row, race=race)
        constructors[name] = row.constructor
    order = sorted(tallies, key=lambda name: tallies[name].rank_key)
    return tuple(
        ConstructorStanding(
            position=str(place) if tallies[name].placed else UNSET,
            position_text=str(place) if tallies[name].placed else "-",
            points=text(tallies[name].points),
            wins=str(tallies[name].finishes[1]),
            constructor=constructors[name],
        )
        for place, name in enumerate(order, start=1)
    )
