"""The order of a race's cars as stewards write it: places, gaps and points of given rows.

Pure functions of rows, used to write a generated race and to amend any race after the fact.
"""

from collections.abc import Iterable, Sequence

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from trackside.bodies import FastestLap, QualifyingRow, RaceTime, ResultRow
from trackside.lap_times import gap_text, lap_millis, race_text
from trackside.points import points_of, text
from trackside.statuses import DISQUALIFIED, RETIRED

Rows = tuple[ResultRow, ...]


def millis_of(row: ResultRow) -> int | None:
    """A row's time at the flag in milliseconds, where it has one."""
    if row.time is UNSET or row.time.millis is UNSET:
        return None
    return int(row.time.millis)


def rank_laps(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Rank the fastest laps, the earlier lap first where two are equal; rows without a lap get none."""
    quickest = [
        (lap_millis(lap.time.time), int(lap.lap), index)
        for index, row in enumerate(rows)
        if (lap := row.fastest_lap) is not UNSET and lap.time is not UNSET
    ]
    ranks = {index: str(rank) for rank, (_, _, index) in enumerate(sorted(quickest), start=1)}
    return [
        row if row.fastest_lap is UNSET else replace(row, fastest_lap=replace(row.fastest_lap, rank=ranks[index]))
        for index, row in enumerate(rows)
    ]


def _close_rank(rows: Sequence[ResultRow], struck: FastestLap | UnsetType) -> list[ResultRow]:
    """Let the fastest laps behind a struck one move up."""
    if struck is UNSET or struck.rank is UNSET:
        return list(rows)
    gone = int(struck.rank)

    def moved(row: ResultRow) -> ResultRow:
        lap = row.fastest_lap
        if lap is UNSET or lap.rank is UNSET or int(lap.rank) <= gone:
            return row
        return replace(row, fastest_lap=replace(lap, rank=str(int(lap.rank) - 1)))

    return [moved(row) for row in rows]


def _gap(row: ResultRow, winner_millis: int | None, *, first: bool) -> ResultRow:
    """Write a time anew. A retired car's, which some bodies have without a text, is left alone."""
    millis = millis_of(row)
    if millis is None or winner_millis is None or row.status == RETIRED:
        return row
    shown = race_text(millis) if first else gap_text(millis - winner_millis)
    return replace(row, time=RaceTime(time=shown, millis=str(millis)))


def settle(rows: Iterable[ResultRow], year: int, *, sprint: bool) -> Rows:
    """Give rows in their final order their positions, gaps and points. Settled rows stay as they are."""
    ordered = list(rows)
    winner_millis = millis_of(ordered[0]) if ordered else None
    settled = []
    for place, row in enumerate(ordered, start=1):
        placed = replace(row, position=str(place), position_text=str(place) if row.classified else row.position_text)
        placed = _gap(placed, winner_millis, first=place == 1)
        settled.append(replace(placed, points=text(points_of(placed, year, sprint=sprint))))
    return tuple(settled)


def disqualify(rows: Rows, driver_id: str, year: int, *, sprint: bool) -> Rows:
    """Strike a car out: last of all, without time, lap or points; the others move up."""
    kept = [row for row in rows if row.driver.driver_id != driver_id]
    struck = next(row for row in rows if row.driver.driver_id == driver_id)
    last = replace(struck, position_text="D", status=DISQUALIFIED, time=UNSET, fastest_lap=UNSET)
    return settle([*_close_rank(kept, struck.fastest_lap), last], year, sprint=sprint)


def add_time(rows: Rows, driver_id: str, millis: int, year: int, *, sprint: bool) -> Rows:
    """Add a time penalty; cars with a time and as many laps are put in order of time, nobody loses a lap by it."""

    def penalised(row: ResultRow) -> ResultRow:
        before = millis_of(row)
        if row.driver.driver_id != driver_id or before is None:
            return row
        return replace(row, time=RaceTime(time="", millis=str(before + millis)))

    return settle(_in_order_of_time([penalised(row) for row in rows]), year, sprint=sprint)


def timed(row: ResultRow) -> bool:
    """Whether a row is ordered by a time: classified at the flag, and with one."""
    return row.classified and row.status != RETIRED and millis_of(row) is not None


def _in_order_of_time(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Sort the classified cars with a time among those of the same number of laps; everybody else stays."""
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if timed(row):
            groups.setdefault(row.laps, []).append(index)
    ordered = list(rows)
    for places in groups.values():
        cars = sorted((rows[index] for index in places), key=lambda row: millis_of(row) or 0)
        for index, row in zip(places, cars, strict=True):
            ordered[index] = row
    return ordered


def swap(rows: Rows, driver_id: str, other_id: str, year: int, *, sprint: bool) -> Rows:
    """Let two cars change places; each takes over the time of the place, so that times stay in order."""
    by_name = {row.driver.driver_id: row for row in rows}
    one, other = by_name[driver_id], by_name[other_id]

    def at_place_of(row: ResultRow, place: ResultRow) -> ResultRow:
        return replace(row, position_text=place.position_text, status=place.status, laps=place.laps, time=place.time)

    moved = {one.position: at_place_of(other, one), other.position: at_place_of(one, other)}
    return settle([moved.get(row.position, row) for row in rows], year, sprint=sprint)


def renumber(rows: Iterable[QualifyingRow]) -> tuple[QualifyingRow, ...]:
    """Give qualifying rows in their final order their positions."""
    return tuple(replace(row, position=str(place)) for place, row in enumerate(rows, start=1))


def strike_qualifying(rows: Sequence[QualifyingRow], driver_id: str) -> tuple[QualifyingRow, ...]:
    """Strike a car out of qualifying: last of all, with its times, as the real server shows it."""
    return renumber(sorted(rows, key=lambda row: row.driver.driver_id == driver_id))


def swap_qualifying(rows: Sequence[QualifyingRow], driver_id: str, other_id: str) -> tuple[QualifyingRow, ...]:
    """Let two cars change places in qualifying; each takes over the times of the place, or it would look struck out."""
    by_name = {row.driver.driver_id: row for row in rows}
    change = {driver_id: by_name[other_id], other_id: by_name[driver_id]}

    def at_place_of(row: QualifyingRow, place: QualifyingRow) -> QualifyingRow:
        return replace(row, q1=place.q1, q2=place.q2, q3=place.q3)

    return renumber([at_place_of(change.get(row.driver.driver_id, row), row) for row in rows])
