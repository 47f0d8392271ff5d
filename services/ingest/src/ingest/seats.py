"""Who drives for whom, and when: derived from who has driven, and before the first session from who is entered."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from common.contracts.ingest import Stint


class Seen(msgspec.Struct, frozen=True, order=True):
    """A driver was in a classification. Of several sessions of a round the later one counts."""

    round: int
    starts_at: float
    """When the session began, in seconds since 1970: a sort key."""
    driver_id: str
    constructor_id: str


def stints(seen: Iterable[Seen]) -> list[Stint]:
    """Build the stints of a season out of its classifications.

    A stint ends with the last round in a row in which the driver was there; one that reaches the latest round known is
    open. A driver who sat out one race and came back has two stints.
    """
    rounds: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for one in sorted(seen):
        rounds[one.round][one.driver_id] = one.constructor_id
    closed: list[Stint] = []
    running: dict[str, Stint] = {}
    for number in sorted(rounds):
        present = rounds[number]
        ended = [name for name, stint in running.items() if present.get(name) != stint.constructor_id]
        closed += [running.pop(name) for name in ended]
        for driver_id, constructor_id in present.items():
            start = running[driver_id].from_round if driver_id in running else number
            running[driver_id] = Stint(
                driver_id=driver_id, constructor_id=constructor_id, from_round=start, to_round=number
            )
    still = [msgspec.structs.replace(stint, to_round=None) for stint in running.values()]
    return in_order([*closed, *still])


def entered(seats: Mapping[str, Sequence[str]]) -> list[Stint]:
    """Build stints out of entries, constructor to drivers; a driver entered by two is left out until he has driven."""
    constructors: defaultdict[str, set[str]] = defaultdict(set)
    for constructor_id, drivers in seats.items():
        for driver_id in drivers:
            constructors[driver_id].add(constructor_id)
    return in_order(
        Stint(driver_id=driver_id, constructor_id=found.pop(), from_round=1, to_round=None)
        for driver_id, found in constructors.items()
        if len(found) == 1
    )


def in_order(found: Iterable[Stint]) -> list[Stint]:
    """Sort stints: the same stints are the same content."""
    return sorted(found, key=lambda stint: (stint.driver_id, stint.from_round))
