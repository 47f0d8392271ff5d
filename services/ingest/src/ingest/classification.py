"""Translation of a session's rows into the classification of the published language."""

from collections.abc import Sequence
from decimal import Decimal

from common.contracts.ingest import Car, CarStatus
from ingest.domain import UnexpectedError
from ingest.upstream import QualifyingRow, ResultRow

TEXTS = {
    "R": CarStatus.DNF,
    "N": CarStatus.NOT_CLASSIFIED,
    "D": CarStatus.DISQUALIFIED,
    "E": CarStatus.DISQUALIFIED,  # excluded
    "W": CarStatus.DNS,  # withdrawn
    "F": CarStatus.DNS,  # failed to qualify
}
"""`positionText` of cars without a place."""

STATUSES = {
    "Disqualified": CarStatus.DISQUALIFIED,
    "Excluded": CarStatus.DISQUALIFIED,
    "Did not start": CarStatus.DNS,
    "Did not qualify": CarStatus.DNS,
    "Did not prequalify": CarStatus.DNS,
    "Withdrew": CarStatus.DNS,
    "Withdrawn": CarStatus.DNS,
    "107% Rule": CarStatus.DNS,
}
"""`status` texts that decide by themselves. Before 2024 there are some eighty others, most of them names of parts."""

SEGMENTS = (1, 2, 3)
"""Of a qualifying, in order: Q1, Q2, Q3."""

INFERRED = "Disqualified (inferred)"
"""`status_text` of a car that is disqualified by its place in qualifying: the upstream does not say so."""


def race_cars(rows: Sequence[ResultRow]) -> list[Car]:
    """Translate a race or a sprint, in the upstream's order."""
    distance = max((row.laps for row in rows if row.position_text.isdigit()), default=0)
    return [
        Car(
            driver_id=row.driver.driver_id,
            constructor_id=row.constructor.constructor_id,
            number=whole(row.number),
            position=row.position,
            status=status_of(row, distance),
            status_text=row.status,
            grid=row.grid,
            laps=row.laps,
            points=points(row.points),
            time_millis=row.time.millis if row.time else None,
            fastest_lap_rank=whole(row.fastest_lap.rank) if row.fastest_lap else None,
        )
        for row in rows
    ]


def qualifying_cars(rows: Sequence[QualifyingRow]) -> list[Car]:
    """Translate a qualifying; the upstream gives no status there, so it is told by the times and the order."""
    disqualified = disqualified_in_qualifying(rows)
    return [
        Car(
            driver_id=row.driver.driver_id,
            constructor_id=row.constructor.constructor_id,
            number=whole(row.number),
            position=row.position,
            status=CarStatus.DISQUALIFIED if out else timed_status(row),
            status_text=INFERRED if out else "",
            q1=row.q1 or None,
            q2=row.q2 or None,
            q3=row.q3 or None,
        )
        for row, out in zip(rows, disqualified, strict=True)
    ]


def timed_status(row: QualifyingRow) -> CarStatus:
    """Tell how a qualifying ended for a car that kept its place: without any time it is not classified."""
    return CarStatus.FINISHED if row.q1 or row.q2 or row.q3 else CarStatus.NOT_CLASSIFIED


def disqualified_in_qualifying(rows: Sequence[QualifyingRow]) -> list[bool]:
    """Infer which cars of a knock-out qualifying (since 2006) are disqualified, row by row, in the upstream's order.

    Disqualified cars are listed last and keep their times, and nobody else stands behind a car that was knocked out
    in an earlier segment than the last one they have a time of. So one who has no time after Q1 (knocked out there, or
    without a time in Q2) cannot be told from one who was merely slow, and goes on as classified.
    """
    found: list[bool] = []
    earliest = len(SEGMENTS)
    for row in rows:
        times = [row.q1, row.q2, row.q3]
        timed = max((segment for segment, time in zip(SEGMENTS, times, strict=True) if time), default=0)
        reached = max((segment for segment, time in zip(SEGMENTS, times, strict=True) if time is not None), default=1)
        found.append(timed > earliest)
        earliest = min(earliest, reached)
    return found


def status_of(row: ResultRow, distance: int) -> CarStatus:
    """Tell how a car's race ended. ``distance`` is the winner's number of laps.

    A number as position means classified, whatever the status: a retired car is, once it has covered 90 % of the
    distance, and a lapped car is not a retired one.
    """
    if decided := STATUSES.get(row.status):
        return decided
    if not row.position_text.isdigit():
        if row.position_text not in TEXTS:
            raise UnexpectedError(f"{row.driver.driver_id} has position {row.position_text!r}, status {row.status!r}")
        return TEXTS[row.position_text]
    if row.status == "Finished":
        return CarStatus.FINISHED
    if row.status == "Lapped" or row.status.startswith("+"):
        return CarStatus.LAPPED
    return CarStatus.LAPPED if row.laps < distance else CarStatus.FINISHED


def points(value: Decimal) -> Decimal:
    """Write points in one way only, so that 25 and 25.0 are the same content. Half points exist."""
    whole_points = value.to_integral_value()
    return whole_points if value == whole_points else value.normalize()


def whole(text: str | None) -> int | None:
    """Read a number that may be missing or empty."""
    return int(text) if text and text.isdecimal() else None
