"""The championship: who stands where after a round."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from enum import Enum
from math import inf
from typing import NamedTuple

from common.contracts.ingest import CarStatus, SessionKind

POINTS_SESSIONS = (SessionKind.SPRINT, SessionKind.RACE)
"""The sessions that give points for the championship, in the order in which a weekend holds them."""

CLASSIFIED = frozenset({CarStatus.FINISHED, CarStatus.LAPPED})


class Championship(Enum):
    """Whose standings."""

    DRIVERS = "drivers"
    CONSTRUCTORS = "constructors"


class Outcome(NamedTuple):
    """What one car brought home from one session. ``points`` are those of the championship."""

    driver_id: str
    constructor_id: str
    session: SessionKind
    position: int
    status: CarStatus
    points: Decimal


class Standing(NamedTuple):
    """A competitor's place in the championship."""

    position: int | None
    """Absent for one with no points and no classified finish: there is nothing to rank by."""
    competitor_id: str
    points: Decimal
    wins: int
    """Grands Prix only."""
    constructors: tuple[str, ...]
    """For whom he drove, the first first; a constructor's own id."""


class _Tally:
    def __init__(self) -> None:
        self.points = Decimal(0)
        self.finishes: list[int] = []
        self.constructors: dict[str, None] = {}

    def add(self, outcome: Outcome) -> None:
        self.points += outcome.points
        self.constructors.setdefault(outcome.constructor_id)
        if outcome.session is SessionKind.RACE and outcome.status in CLASSIFIED:
            self.finishes.append(outcome.position)

    def key(self) -> tuple[Decimal, list[float]]:
        """Sort the better first: more points, then more first places, then more second places, and so on.

        Of two lists of finishes, each in ascending order and ended by infinity, the smaller is the one with more of
        the best place in which they differ.
        """
        return -self.points, [*sorted(self.finishes), inf]


def standings(outcomes: Iterable[Outcome], championship: Championship) -> list[Standing]:
    """Rank all who took part, from outcomes in the order of the calendar and of each classification.

    Points of races and sprints count; countback looks at Grands Prix only. The sporting regulations leave it to the
    FIA to part those who are still level. Here they keep the order in which the outcomes first name them, so no
    position is shared.
    """
    tallies: defaultdict[str, _Tally] = defaultdict(_Tally)
    for outcome in outcomes:
        drivers = championship is Championship.DRIVERS
        tallies[outcome.driver_id if drivers else outcome.constructor_id].add(outcome)
    ranked = sorted(tallies.items(), key=lambda item: item[1].key())
    return [
        Standing(
            position=place if tally.points or tally.finishes else None,
            competitor_id=competitor_id,
            points=plain(tally.points),
            wins=tally.finishes.count(1),
            constructors=tuple(tally.constructors),
        )
        for place, (competitor_id, tally) in enumerate(ranked, start=1)
    ]


def plain(points: Decimal) -> Decimal:
    """Write points in one way only: 25 and not 25.0. Half points exist."""
    whole = points.to_integral_value()
    return whole if points == whole else points.normalize()
