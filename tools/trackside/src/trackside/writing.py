"""An invented race written down: classification, laps and pit stops as bodies have them."""

from datetime import datetime, timedelta
from random import Random

from msgspec import UNSET, UnsetType

from trackside.bodies import FastestLap, Lap, LapTime, PitStop, RaceTime, ResultRow, Timing
from trackside.classification import Rows, rank_laps, settle
from trackside.lap_times import lap_text
from trackside.racing import Car, Run
from trackside.statuses import DID_NOT_START, FINISHED, LAPPED, RETIRED

CLASSIFIED_SHARE = 0.9
"""A car that covered this share of the winner's laps is classified, even when it did not see the flag."""


def lap_millis(run: Run) -> list[int]:
    """The laps of a run; the first counts from the start signal."""
    return [end - start for start, end in zip((0, *run.crossings), run.crossings, strict=False)]


def _fastest(run: Run) -> FastestLap | UnsetType:
    laps = lap_millis(run)
    if not laps:
        return UNSET
    millis, number = min((millis, number) for number, millis in enumerate(laps, start=1))
    return FastestLap(lap=str(number), time=LapTime(time=lap_text(millis)))


def _finish(run: Run, winner_laps: int, *, lapped_times: bool) -> ResultRow:
    laps = len(run.crossings)
    status = RETIRED if run.retired else FINISHED if laps == winner_laps else LAPPED
    placed = not run.retired or laps >= CLASSIFIED_SHARE * winner_laps
    timed = status == FINISHED or (status == LAPPED and lapped_times)
    return ResultRow(
        number=run.car.entry.number,
        position="",
        position_text="1" if placed else "R",
        points="0",
        driver=run.car.entry.driver,
        constructor=run.car.entry.constructor,
        grid=str(run.car.place),
        laps=str(laps),
        status=status,
        time=RaceTime(time="", millis=str(run.crossings[-1])) if timed else UNSET,
        fastest_lap=_fastest(run),
    )


def _absent(car: Car) -> ResultRow:
    return ResultRow(
        number=car.entry.number,
        position="",
        position_text="W",
        points="0",
        driver=car.entry.driver,
        constructor=car.entry.constructor,
        grid=str(car.place),
        laps="0",
        status=DID_NOT_START,
    )


def classification(cars: tuple[Car, ...], runs: tuple[Run, ...], year: int, rng: Random, *, sprint: bool) -> Rows:
    """All cars in their final order: placed, retired, not started. Lapped cars have times in every second race."""
    lapped_times = rng.random() < 0.5  # noqa: PLR2004 - a coin
    winner_laps = max(len(run.crossings) for run in runs)
    order = sorted(runs, key=lambda run: (-len(run.crossings), run.retired, run.crossings[-1:], run.car.place))
    finished = [_finish(run, winner_laps, lapped_times=lapped_times) for run in order]
    absent = [_absent(car) for car in cars if not car.starts]
    return settle(rank_laps([*finished, *absent]), year, sprint=sprint)


def laps(runs: tuple[Run, ...]) -> tuple[Lap, ...]:
    """All laps; the cars of each in the order they crossed the line."""
    millis = {run.car.entry.driver.driver_id: lap_millis(run) for run in runs}
    written = []
    for number in range(1, max(len(run.crossings) for run in runs) + 1):
        crossed = [run for run in runs if len(run.crossings) >= number]
        crossed.sort(key=lambda run: (run.crossings[number - 1], run.car.place))
        names = [run.car.entry.driver.driver_id for run in crossed]
        timings = tuple(
            Timing(driver_id=name, position=str(place), time=lap_text(millis[name][number - 1]))
            for place, name in enumerate(names, start=1)
        )
        written.append(Lap(number=str(number), timings=timings))
    return tuple(written)


def pit_stops(runs: tuple[Run, ...], started_at: datetime) -> tuple[PitStop, ...]:
    """All stops in the order of their instants; `time` is UTC of the real timetable."""
    stops = [
        (run.crossings[stop.lap - 1], run.car.entry.driver.driver_id, number, stop)
        for run in runs
        for number, stop in enumerate(run.stops, start=1)
    ]
    return tuple(
        PitStop(
            driver_id=name,
            lap=str(stop.lap),
            stop=str(number),
            time=f"{started_at + timedelta(milliseconds=at):%H:%M:%S}",
            duration=f"{stop.duration_ms // 1000}.{stop.duration_ms % 1000:03d}",
        )
        for at, name, number, stop in sorted(stops, key=lambda item: item[:3])
    )
