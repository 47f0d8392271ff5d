"""What changed between two versions of a classification, in words."""

from collections.abc import Iterable, Iterator, Sequence

from common.contracts.ingest import Car, CarStatus

SHOWN = 6
"""How many changes a reason tells one by one."""

WORDS = {
    CarStatus.DISQUALIFIED: "disqualified",
    CarStatus.DNF: "retired",
    CarStatus.DNS: "did not start",
    CarStatus.NOT_CLASSIFIED: "not classified",
    CarStatus.FINISHED: "finished",
    CarStatus.LAPPED: "lapped",
}
PLACED = {CarStatus.FINISHED, CarStatus.LAPPED}
OTHER_FIELDS = ("constructor_id", "number", "grid", "laps", "points", "fastest_lap_rank", "q1", "q2", "q3")


def reason(old: Sequence[Car], new: Sequence[Car]) -> str:
    """Say what changed: ``max_verstappen disqualified (was P1); norris P1 (was P2)``."""
    changes = list(_changes(old, new))
    if not changes:
        return "corrected"
    shown = "; ".join(changes[:SHOWN])
    return shown if len(changes) <= SHOWN else f"{shown}; and {len(changes) - SHOWN} more"


def _changes(old: Sequence[Car], new: Sequence[Car]) -> Iterator[str]:
    """Weightiest first: who lost or won a place in the classification, then places and times, then all else."""
    before = {car.driver_id: car for car in old}
    after = {car.driver_id: car for car in new}
    pairs = [(before[name], car) for name, car in after.items() if name in before]
    yield from (f"{name} removed" for name in before if name not in after)
    yield from (f"{name} added" for name in after if name not in before)
    yield from _statuses(pairs)
    yield from _places(pairs)
    for was, now in pairs:
        fields = [name for name in OTHER_FIELDS if getattr(was, name) != getattr(now, name)]
        if was.status == now.status and was.position == now.position and fields:
            yield f"{now.driver_id} corrected ({', '.join(fields)})"


def _statuses(pairs: Iterable[tuple[Car, Car]]) -> Iterator[str]:
    for was, now in pairs:
        if was.status != now.status and not {was.status, now.status} <= PLACED:
            yield f"{now.driver_id} {WORDS[now.status]} (was {place(was)})"


def _places(pairs: Iterable[tuple[Car, Car]]) -> Iterator[str]:
    for was, now in pairs:
        if now.status not in PLACED or was.status not in PLACED:
            continue
        moved = f"{place(now)} (was {place(was)})" if was.position != now.position else ""
        later = (now.time_millis or 0) - (was.time_millis or 0) if was.time_millis and now.time_millis else 0
        time = f"time {later / 1000:+.3f} s" if later else ""
        if moved or time:
            yield f"{now.driver_id} {', '.join(filter(None, (moved, time)))}"


def place(car: Car) -> str:
    """Name a car's place as a table does."""
    return f"P{car.position}" if car.status in PLACED else WORDS[car.status]
