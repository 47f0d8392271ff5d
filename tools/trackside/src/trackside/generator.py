"""A whole season out of a seed: the calendar and the entries are facts, every result is invented."""

from random import Random

from msgspec import Struct

from trackside import bodies, qualifying, racing, writing
from trackside.calendar import Calendar, Round, Track
from trackside.classification import Rows, disqualify
from trackside.entries import Entries, Entry
from trackside.season import Season, Weekend
from trackside.sessions import RACE
from trackside.statuses import STATUS_IDS

TEAM_STEP = 0.0011
"""The share of a lap between one team and the next, on average."""
DRIVER_SPREAD = 0.0016
TEAM_FORM = 0.0013
"""How much a car likes or dislikes a track."""
DRIVER_FORM = 0.0012
DID_NOT_START_CHANCE = 0.006
DISQUALIFIED_CHANCE = 0.004
SPRINT_KM = 100
PIT_LOSS_MS = 22_000
OVERTAKING_MS = (250, 1_600)
"""From the track where passing is easiest to the one where it is hardest."""


class Strength(Struct, frozen=True):
    """How good everyone is in this season, as shares of a lap lost to the ideal car."""

    constructors: dict[str, float]
    drivers: dict[str, float]


def _strength(entries: Entries, rng: Random) -> Strength:
    """Teams a step apart in an order that the seed draws, drivers a little apart within them."""
    names = [constructor.constructor_id for constructor in entries.constructors]
    order = rng.sample(names, len(names))
    return Strength(
        constructors={name: rank * TEAM_STEP + rng.uniform(0, TEAM_STEP) for rank, name in enumerate(order)},
        drivers={driver.driver_id: abs(rng.gauss(0, DRIVER_SPREAD)) for driver in entries.drivers},
    )


def _form(cars: tuple[Entry, ...], strength: Strength, rng: Random) -> dict[str, float]:
    """Deficits of this weekend, by driver."""
    teams = {name: rng.gauss(deficit, TEAM_FORM) for name, deficit in sorted(strength.constructors.items())}
    return {
        car.driver.driver_id: max(
            0.0,
            teams[car.constructor.constructor_id] + rng.gauss(strength.drivers[car.driver.driver_id], DRIVER_FORM),
        )
        for car in cars
    }


def _course(track: Track, overtaking_ms: int, *, sprint: bool) -> racing.Course:
    return racing.Course(
        laps=-int(-SPRINT_KM // track.length_km) if sprint else track.race_laps,
        length_km=track.length_km,
        reference_ms=round(track.reference_lap_s * 1000),
        pit_loss_ms=PIT_LOSS_MS,
        overtaking_ms=overtaking_ms,
        stops=not sprint,
    )


class _Held(Struct, frozen=True):
    """A race that was held."""

    rows: Rows
    runs: tuple[racing.Run, ...]


def _hold(
    order: list[Entry], form: dict[str, float], course: racing.Course, year: int, rng: Random, *, sprint: bool
) -> _Held:
    """From the order of qualifying to the classification, stewards and all."""
    cars = tuple(
        racing.Car(
            entry=slot.entry,
            deficit=form[slot.entry.driver.driver_id],
            place=slot.place,
            pit_lane=slot.pit_lane,
            starts=rng.random() >= DID_NOT_START_CHANCE,
        )
        for slot in qualifying.grid(order, rng)
    )
    runs = racing.race(cars, course, rng)
    rows = writing.classification(cars, runs, year, rng, sprint=sprint)
    for row in rows:
        if row.classified and rng.random() < DISQUALIFIED_CHANCE:
            rows = disqualify(rows, row.driver.driver_id, year, sprint=sprint)
    return _Held(rows, runs)


def _weekend(
    calendar: Calendar, round_: Round, cars: tuple[Entry, ...], strength: Strength, public_url: str, rng: Random
) -> Weekend:
    track = calendar.track(round_.circuit)
    form = _form(cars, strength, rng)
    overtaking_ms = rng.randint(*OVERTAKING_MS)
    reference_ms = round(track.reference_lap_s * 1000)
    by_name = {car.driver.driver_id: car for car in cars}

    def qualified() -> tuple[bodies.QualifyingRow, ...]:
        return qualifying.qualify(cars, form, reference_ms, rng)

    def order(rows: tuple[bodies.QualifyingRow, ...]) -> list[Entry]:
        return [by_name[row.driver.driver_id] for row in rows]

    sprint: Rows = ()
    if round_.sprint:
        course = _course(track, overtaking_ms, sprint=True)
        sprint = _hold(order(qualified()), form, course, calendar.season, rng, sprint=True).rows
    saturday = qualified()
    course = _course(track, overtaking_ms, sprint=False)
    sunday = _hold(order(saturday), form, course, calendar.season, rng, sprint=False)
    return Weekend(
        race=calendar.race(round_, public_url),
        qualifying=saturday,
        sprint=sprint,
        results=sunday.rows,
        pit_stops=writing.pit_stops(sunday.runs, round_.sessions[RACE]),
        laps=writing.laps(sunday.runs),
    )


def generate(calendar: Calendar, entries: Entries, public_url: str, rng: Random) -> Season:
    """Invent the results of a season. The same state of `rng` gives the same season.

    Every weekend draws from a generator of its own, so a change in one does not shift the others.
    """
    strength = _strength(entries, rng)
    seeds = [rng.getrandbits(64) for _ in calendar.rounds]
    cars = entries.cars
    return Season(
        year=calendar.season,
        simulated=True,
        weekends=tuple(
            _weekend(calendar, round_, cars, strength, public_url, Random(seed))  # noqa: S311 - a simulation
            for round_, seed in zip(calendar.rounds, seeds, strict=True)
        ),
        drivers=tuple(driver.body for driver in entries.drivers),
        constructors=tuple(constructor.body for constructor in entries.constructors),
        circuits=tuple(track.body for track in calendar.circuits),
        status_ids=STATUS_IDS,
        first_seats=tuple((car.driver, car.constructor) for car in cars),
    )
