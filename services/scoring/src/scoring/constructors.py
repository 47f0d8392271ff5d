"""What one constructor scores in one session: the sum of its drivers, and what it earns as a team."""

from collections.abc import Sequence

from common.contracts.ingest import Car, CarStatus
from scoring.domain import Component, Entry, Facts, plural, signed
from scoring.tables import Award, PitStops, Tiers


def summed(drivers: Sequence[tuple[str, Sequence[Entry]]], without: Sequence[Component]) -> list[Entry]:
    """Add up the drivers of a constructor, component by component; a sum with something missing is missing too."""
    parts: dict[Component, list[tuple[str, Entry]]] = {}
    for driver_id, entries in drivers:
        for entry in entries:
            if entry.component not in without:
                parts.setdefault(entry.component, []).append((driver_id, entry))
    return [_sum(component, rows) for component, rows in parts.items()]


def tier_entry(cars: Sequence[Car], classified: frozenset[str], field_size: int, tiers: Tiers) -> Entry:
    """Score how far a constructor's cars came in qualifying. ``classified`` are the drivers whose place counts."""
    places = [car.position for car in cars if car.driver_id in classified]
    in_q3 = sum(place <= tiers.q3_cut for place in places)
    in_q2 = sum(place <= tiers.last_in_q2(field_size) for place in places)
    if in_q3:
        award, reason = (tiers.one_in_q3, "one car in Q3") if in_q3 == 1 else (tiers.both_in_q3, "both cars in Q3")
    elif in_q2:
        award, reason = (tiers.one_in_q2, "one car in Q2") if in_q2 == 1 else (tiers.both_in_q2, "both cars in Q2")
    else:
        award, reason = tiers.none_in_q2, "no car in Q2"
    return Entry(
        Component.QUALIFYING_TIER, in_q3 or in_q2, award.points, f"{reason}, best tier only: {signed(award.points)}"
    )


def disqualified_entries(cars: Sequence[Car], rule: Award | None) -> list[Entry]:
    """Score the extra for disqualified cars; no entry when there is none."""
    count = sum(car.status == CarStatus.DISQUALIFIED for car in cars)
    if rule is None or not count:
        return []
    points = count * rule.points
    return [Entry(Component.DISQUALIFIED_CARS, count, points, f"{plural(count, 'car')} disqualified: {signed(points)}")]


def fastest_stops(facts: Facts, classification: Sequence[Car]) -> dict[str, int] | None:
    """Find each constructor's fastest stop, in milliseconds, leaving out disqualified cars; ``None``: not known."""
    if facts.stops is None:
        return None
    out = {car.driver_id for car in classification if car.status == CarStatus.DISQUALIFIED}
    best: dict[str, int] = {}
    for stop in facts.stops:
        if stop.driver_id not in out:
            best[stop.constructor_id] = min(stop.millis, best.get(stop.constructor_id, stop.millis))
    return best


def pit_stop_entries(constructor_id: str, best: dict[str, int] | None, rules: PitStops) -> list[Entry]:
    """Score a constructor's fastest stop among ``best``, every constructor's fastest stop in milliseconds."""
    if best is None:
        return [Entry(Component.PIT_STOP, 0, 0, "stationary pit stops are not known: 0 for now", missing=True)]
    millis = best.get(constructor_id)
    if millis is None:
        return [Entry(Component.PIT_STOP, 0, 0, "no pit stop that counts: 0")]
    seconds = _seconds(millis)
    points = next((tier.points for tier in rules.tiers if millis <= tier.up_to_millis), 0)
    entries = [Entry(Component.PIT_STOP, millis, points, f"fastest pit stop {seconds}: {signed(points)}")]
    rank = 1 + sum(other < millis for other in best.values())
    bonus = rules.fastest.of(rank)
    if bonus:
        which = "fastest" if rank == 1 else f"number {rank}"
        entries.append(
            Entry(Component.FASTEST_PIT_STOP, millis, bonus, f"{which} of the race at {seconds}: {signed(bonus)}")
        )
    if rules.record is not None and rules.record_under_millis is not None and millis < rules.record_under_millis:
        record = rules.record.points
        entries.append(
            Entry(Component.PIT_STOP_RECORD, millis, record, f"world record pit stop, {seconds}: {signed(record)}")
        )
    return entries


def _sum(component: Component, rows: list[tuple[str, Entry]]) -> Entry:
    points = sum(entry.points for _, entry in rows)
    quantity = len(rows) if component is Component.POSITION else sum(entry.quantity for _, entry in rows)
    parts = "; ".join(f"{driver_id} {entry.explanation}" for driver_id, entry in sorted(rows))
    return Entry(
        component, quantity, points, f"{parts}; sum {signed(points)}", missing=any(entry.missing for _, entry in rows)
    )


def _seconds(millis: int) -> str:
    """Write ``2320`` as ``2.32 s`` and ``2325`` as ``2.325 s``."""
    whole, part = divmod(millis, 1000)
    digits = f"{part:03d}"
    return f"{whole}.{digits.removesuffix('0')} s"
