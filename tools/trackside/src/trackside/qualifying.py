"""An invented qualifying hour, and the grid that stewards make of it."""

from random import Random

from msgspec import UNSET, Struct, UnsetType

from trackside.bodies import QualifyingRow
from trackside.classification import renumber, strike_qualifying
from trackside.entries import Entry
from trackside.lap_times import lap_text

THIRD_SEGMENT_CARS = 10
SEGMENT_SPREAD = 0.0016
"""How much luck there is in one lap, as a share of it."""
TRACK_EVOLUTION = 0.0025
"""How much faster the track gets with every segment."""
NO_TIME_CHANCE = 0.012
"""Chance of a car to set no time in a segment: a crash, a deleted lap."""
DISQUALIFIED_CHANCE = 0.002
DROP_CHANCE = 0.05
DROPS = (3, 5, 5, 10, 10)
PIT_LANE_CHANCE = 0.015


class Slot(Struct, frozen=True):
    """A place on the grid; a start from the pit lane has the last numbers."""

    entry: Entry
    place: int
    pit_lane: bool


def segment_sizes(cars: int) -> tuple[int, int, int]:
    """Cars in Q1, Q2, Q3: the same number drops out of the first two."""
    return cars, (cars + THIRD_SEGMENT_CARS) // 2, min(cars, THIRD_SEGMENT_CARS)


def _segment(
    runners: list[Entry], deficits: dict[str, float], reference_ms: int, segment: int, rng: Random
) -> list[tuple[Entry, int | None]]:
    """The runners in the order of their times, those without one last."""
    base = reference_ms * (1 - TRACK_EVOLUTION * (segment - 2))
    times: list[tuple[Entry, int | None]] = []
    for entry in runners:
        lap = round(base * (1 + deficits[entry.driver.driver_id] + abs(rng.gauss(0, SEGMENT_SPREAD))))
        times.append((entry, None if rng.random() < NO_TIME_CHANCE else lap))
    return sorted(times, key=lambda item: (item[1] is None, item[1] or 0))


def qualify(
    cars: tuple[Entry, ...], deficits: dict[str, float], reference_ms: int, rng: Random
) -> tuple[QualifyingRow, ...]:
    """Three knock-out segments. A segment without a time is `""`; one not reached is missing."""
    order = list(cars)
    shown: dict[str, dict[int, str]] = {entry.driver.driver_id: {} for entry in cars}
    for segment, size in enumerate(segment_sizes(len(cars)), start=1):
        through, out = order[:size], order[size:]
        times = _segment(through, deficits, reference_ms, segment, rng)
        for entry, millis in times:
            shown[entry.driver.driver_id][segment] = "" if millis is None else lap_text(millis)
        order = [entry for entry, _ in times] + out

    def text(entry: Entry, segment: int) -> str | UnsetType:
        return shown[entry.driver.driver_id].get(segment, UNSET)

    rows = renumber(
        QualifyingRow(
            number=entry.number,
            position="",
            driver=entry.driver,
            constructor=entry.constructor,
            q1=text(entry, 1),
            q2=text(entry, 2),
            q3=text(entry, 3),
        )
        for entry in order
    )
    for entry in cars:
        if rng.random() < DISQUALIFIED_CHANCE:
            rows = strike_qualifying(rows, entry.driver.driver_id)
    return rows


def grid(order: list[Entry], rng: Random) -> tuple[Slot, ...]:
    """The grid after penalties: dropped cars slot in behind, starters from the pit lane come last."""
    keys: list[tuple[bool, float, Entry]] = []
    for place, entry in enumerate(order, start=1):
        pit_lane = rng.random() < PIT_LANE_CHANCE
        drop = rng.choice(DROPS) + 0.5 if rng.random() < DROP_CHANCE else 0.0
        keys.append((pit_lane, place + drop, entry))
    keys.sort(key=lambda key: key[:2])
    return tuple(Slot(entry, place, pit_lane) for place, (pit_lane, _, entry) in enumerate(keys, start=1))
