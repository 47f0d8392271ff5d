"""What one car's driver scores in one session."""

from common.contracts.ingest import Car, CarStatus
from common.errors import PoisonError
from scoring.domain import Component, Entry, Facts, plural, signed
from scoring.tables import Award, PerPlace, QualifyingRules, RaceRules


def qualifying_entries(car: Car, rules: QualifyingRules, *, excused: bool) -> list[Entry]:
    """Score a car's qualifying. ``excused``: the session let nobody set a time who has not set one."""
    match car.status:
        case CarStatus.DISQUALIFIED:
            return [_award(Component.DISQUALIFIED, rules.disqualified, "disqualified from qualifying")]
        case CarStatus.FINISHED | CarStatus.LAPPED | CarStatus.DNF if has_time(car):
            points = rules.position.of(car.position)
            return [Entry(Component.POSITION, car.position, points, f"qualified P{car.position}: {signed(points)}")]
        case CarStatus.FINISHED | CarStatus.LAPPED | CarStatus.DNF | CarStatus.NOT_CLASSIFIED | CarStatus.DNS:
            if excused:
                return [Entry(Component.NO_TIME, 1, 0, "no time was possible in this session: 0")]
            reason = "not classified in qualifying" if has_time(car) else "no time set in qualifying"
            return [_award(Component.NO_TIME, rules.no_time, reason)]
        case _:
            raise _unknown(car)


def race_entries(car: Car, rules: RaceRules, facts: Facts, *, fastest_lap_known: bool) -> list[Entry]:
    """Score a car's sprint or race."""
    match car.status:
        case CarStatus.FINISHED | CarStatus.LAPPED:
            result = _classified(car, rules)
            kept = tuple(Component)
        case CarStatus.DNF:
            result = [_award(Component.DNF, rules.dnf, "retired")]
            kept = tuple(map(Component, rules.keeps.dnf))
        case CarStatus.NOT_CLASSIFIED:
            result = [_award(Component.NOT_CLASSIFIED, rules.nc, "not classified")]
            kept = tuple(map(Component, rules.keeps.nc))
        case CarStatus.DNS:
            result = [_award(Component.DNS, rules.dns, "did not start")]
            kept = tuple(map(Component, rules.keeps.dns))
        case CarStatus.DISQUALIFIED:
            result = [_award(Component.DISQUALIFIED, rules.disqualified, "disqualified")]
            kept = tuple(map(Component, rules.keeps.dsq))
        case _:
            raise _unknown(car)
    extras = _extras(car, rules, facts, fastest_lap_known=fastest_lap_known)
    return result + [entry for entry in extras if entry.component in kept]


def absent_entry(rules: QualifyingRules | RaceRules) -> Entry:
    """Score a driver who is not in the classification."""
    return _award(Component.ABSENT, rules.absent, "did not take part")


def has_time(car: Car) -> bool:
    """Tell whether a car set a time in any segment of qualifying."""
    return bool(car.q1 or car.q2 or car.q3)


def _classified(car: Car, rules: RaceRules) -> list[Entry]:
    points = rules.position.of(car.position)
    entries = [Entry(Component.POSITION, car.position, points, f"finished P{car.position}: {signed(points)}")]
    if rules.places is not None:
        entries.append(_places(car, rules.places))
    return entries


def _places(car: Car, rule: PerPlace) -> Entry:
    if not car.grid:  # absent, or the 0 that old sources write for a start from the pit lane
        return Entry(Component.PLACES, 0, 0, "the place on the grid is not known: 0 for now", missing=True)
    won = car.grid - car.position
    if won == 0:
        return Entry(Component.PLACES, 0, 0, f"no place gained or lost, grid {car.grid} to {car.position}: 0")
    if won > 0:
        points = won * rule.gained
        return Entry(
            Component.PLACES,
            won,
            points,
            f"{plural(won, 'place')} gained, grid {car.grid} to {car.position}: {signed(points)}",
        )
    points = -won * rule.lost
    limit = ""
    if rule.lost_limit is not None and points < rule.lost_limit:
        points, limit = rule.lost_limit, ", no lower than the limit"
    return Entry(
        Component.PLACES,
        won,
        points,
        f"{plural(-won, 'place')} lost, grid {car.grid} to {car.position}{limit}: {signed(points)}",
    )


def _extras(car: Car, rules: RaceRules, facts: Facts, *, fastest_lap_known: bool) -> list[Entry]:
    entries: list[Entry] = []
    if rules.overtake is not None:
        entries.append(_overtakes(car, rules.overtake, facts))
    if rules.fastest_lap is not None:
        if not fastest_lap_known:
            entries.append(_missing(Component.FASTEST_LAP, "whose lap was the fastest is"))
        elif facts.fastest_lap == car.driver_id or (facts.fastest_lap is None and car.fastest_lap_rank == 1):
            entries.append(_award(Component.FASTEST_LAP, rules.fastest_lap, "fastest lap"))
    if rules.driver_of_the_day is not None:
        if facts.driver_of_the_day is None:
            entries.append(_missing(Component.DRIVER_OF_THE_DAY, "the Driver of the Day is"))
        elif facts.driver_of_the_day == car.driver_id:
            entries.append(_award(Component.DRIVER_OF_THE_DAY, rules.driver_of_the_day, "Driver of the Day"))
    return entries


def _overtakes(car: Car, rule: Award, facts: Facts) -> Entry:
    if facts.overtakes is None:
        return _missing(Component.OVERTAKES, "overtakes are")
    count = facts.overtakes.get(car.driver_id, 0)
    points = count * rule.points
    return Entry(Component.OVERTAKES, count, points, f"{plural(count, 'overtake')}: {signed(points)}")


def _award(component: Component, rule: Award, reason: str) -> Entry:
    return Entry(component, 1, rule.points, f"{reason}: {signed(rule.points)}")


def _missing(component: Component, what: str) -> Entry:
    return Entry(component, 0, 0, f"{what} not known: 0 for now", missing=True)


def _unknown(car: Car) -> PoisonError:
    return PoisonError("unknown_car_status", f"{car.driver_id} has a status that no rule knows: {car.status!r}.")
