"""An invented race, lap by lap: who is quicker pulls away, who catches up must get past, engines fail.

All numbers that shape the race are tuning, not facts. Times are whole milliseconds, so that a seed gives the same
race on every machine.
"""

from random import Random

from msgspec import Struct

from trackside.entries import Entry

START_SLOT_MS = 180
"""What one place on the grid costs at the start."""
PIT_LANE_START_MS = 9_000
FIRST_LAP_FACTOR = 1.07
RACE_FACTOR = 1.045
"""A race lap with full tanks against a qualifying lap."""
FUEL_MS_PER_LAP = 28
TYRE_MS_PER_LAP = 45
LAP_SPREAD_MS = 260
FOLLOWING_MS = 420
"""The closest that cars follow each other over the line."""
CAUTION_FACTOR = 1.38
CAUTION_CATCH_UP_FACTOR = 1.12
CAUTION_LAPS = 4
CAUTION_CHANCE = 0.35
"""Chance that a retirement brings out the safety car."""
FIRST_LAP_RETIREMENT_CHANCE = 0.015
RETIREMENT_CHANCE_PER_KM = 0.085 / 305
OVERTAKING_LUCK_MS = 350
TWO_STOPS_CHANCE = 0.35
ONE_STOP, TWO_STOPS = (0.48,), (0.33, 0.67)
"""When cars stop, as shares of the race; each stop is moved by up to `STOP_SPREAD`."""
STOP_SPREAD = 0.1


class Car(Struct, frozen=True):
    """An entry with its form: `deficit` is the share of a lap it loses to the ideal car, `place` its grid slot."""

    entry: Entry
    deficit: float
    place: int
    pit_lane: bool = False
    starts: bool = True


class Course(Struct, frozen=True):
    """Where and how far: `overtaking_ms` is the advantage per lap a car needs to get past."""

    laps: int
    length_km: float
    reference_ms: int
    pit_loss_ms: int
    overtaking_ms: int
    stops: bool


class Stop(Struct, frozen=True):
    """A pit stop at the end of a lap, with its way through the pit lane."""

    lap: int
    duration_ms: int


class Run(Struct, frozen=True):
    """What a car did: when it completed each lap, in milliseconds after the start, and its stops."""

    car: Car
    crossings: tuple[int, ...]
    retired: bool
    stops: tuple[Stop, ...]


class _Driving:
    """A car on the road."""

    def __init__(self, car: Car, planned: tuple[int, ...], fails_on: int | None) -> None:
        self.car = car
        self.planned = planned
        self.fails_on = fails_on
        self.clock = car.place * START_SLOT_MS + (PIT_LANE_START_MS if car.pit_lane else 0)
        self.crossings: list[int] = []
        self.stops: list[Stop] = []
        self.tyre_age = 0

    @property
    def run(self) -> Run:
        return Run(self.car, tuple(self.crossings), self.fails_on is not None, tuple(self.stops))


def _plan_stops(course: Course, rng: Random) -> tuple[int, ...]:
    if not course.stops:
        return ()
    shares = TWO_STOPS if rng.random() < TWO_STOPS_CHANCE else ONE_STOP
    laps = [round(course.laps * (share + rng.uniform(-STOP_SPREAD, STOP_SPREAD))) for share in shares]
    return tuple(max(2, min(course.laps - 2, lap)) for lap in laps)


def _plan_failure(course: Course, rng: Random) -> int | None:
    """The lap a car does not complete, or `None`."""
    if rng.random() < FIRST_LAP_RETIREMENT_CHANCE:
        return 1
    if rng.random() < RETIREMENT_CHANCE_PER_KM * course.laps * course.length_km:
        return rng.randint(2, course.laps)
    return None


def _cautions(course: Course, field: list[_Driving], rng: Random) -> set[int]:
    """The laps run behind the safety car."""
    failures = sorted({car.fails_on for car in field if car.fails_on is not None})
    return {
        lap
        for failure in failures
        if rng.random() < CAUTION_CHANCE
        for lap in range(failure, failure + CAUTION_LAPS)
        if 1 < lap < course.laps
    }


def _lap_ms(car: _Driving, course: Course, lap: int, rng: Random) -> int:
    """A free lap."""
    factor = FIRST_LAP_FACTOR if lap == 1 else RACE_FACTOR
    base = course.reference_ms * factor * (1 + car.car.deficit)
    return round(base - FUEL_MS_PER_LAP * lap + TYRE_MS_PER_LAP * car.tyre_age + rng.gauss(0, LAP_SPREAD_MS))


def _drive_lap(field: list[_Driving], course: Course, lap: int, rng: Random, *, caution: bool) -> None:
    """Move every running car over the line once more, the first on the road first."""
    ahead: _Driving | None = None
    ahead_lap_ms = 0
    for car in sorted(field, key=lambda car: (car.clock, car.car.place)):
        lap_ms = _lap_ms(car, course, lap, rng)
        luck = rng.gauss(0, OVERTAKING_LUCK_MS)
        if caution:
            lap_ms = round(course.reference_ms * (CAUTION_FACTOR if ahead is None else CAUTION_CATCH_UP_FACTOR))
        crossing = car.clock + lap_ms
        if ahead is not None and not (ahead.stops and ahead.stops[-1].lap == lap):
            passes = not caution and ahead_lap_ms - lap_ms + luck > course.overtaking_ms
            closest = ahead.clock + FOLLOWING_MS
            if crossing < closest and not passes:
                crossing = closest + rng.randint(0, 300)
        if lap in car.planned:
            duration = course.pit_loss_ms + round(abs(rng.gauss(0, 900)))
            car.stops.append(Stop(lap, duration))
            crossing += duration
            car.tyre_age = 0
        else:
            car.tyre_age += 1
        ahead, ahead_lap_ms = car, lap_ms
        car.clock = crossing
        car.crossings.append(crossing)


def race(cars: tuple[Car, ...], course: Course, rng: Random) -> tuple[Run, ...]:
    """Race the cars that start; the others are not in the answer. At least half of the field gets home."""
    starters = [car for car in cars if car.starts]
    field = [_Driving(car, _plan_stops(course, rng), _plan_failure(course, rng)) for car in starters]
    for car in [car for car in field if car.fails_on is not None][len(field) // 2 :]:
        car.fails_on = None
    cautions = _cautions(course, field, rng)
    for lap in range(1, course.laps + 1):
        running = [car for car in field if car.fails_on is None or lap < car.fails_on]
        _drive_lap(running, course, lap, rng, caution=lap in cautions)
    return tuple(_flagged(car.run, field, course) for car in field)


def _flagged(run: Run, field: list[_Driving], course: Course) -> Run:
    """The run up to the chequered flag: a lapped car ends its race the first time it passes it."""
    flag_ms = min(car.crossings[-1] for car in field if len(car.crossings) == course.laps)
    done = sum(1 for crossing in run.crossings if crossing < flag_ms)
    laps = min(len(run.crossings), done + 1)
    if run.retired and len(run.crossings) <= done:
        return run
    stops = tuple(stop for stop in run.stops if stop.lap <= laps)
    return Run(run.car, run.crossings[:laps], retired=False, stops=stops)
