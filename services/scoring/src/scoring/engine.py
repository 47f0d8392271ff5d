"""The scoring engine: one session's classification, what else is known of it, and a rule set become ledger rows.

A pure function. The order of its input does not matter, and the same input always gives the same rows in the same
order, so a session can be scored again at any time and compared with what the ledger holds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from common.contracts.ingest import Car
from common.contracts.scoring import AssetKind
from common.errors import PoisonError
from scoring import constructors, drivers
from scoring.domain import Absentee, Component, Entry, Facts, LedgerRow, ScoredSession
from scoring.rules import RuleSet
from scoring.tables import QualifyingRules, RaceRules

CARS_PER_CONSTRUCTOR = 2
NOTHING_KNOWN = Facts()

_Scored = Mapping[str, Sequence[Entry]]


def score(
    session: ScoredSession,
    classification: Sequence[Car],
    rules: RuleSet,
    facts: Facts = NOTHING_KNOWN,
    absent: Sequence[Absentee] = (),
) -> list[LedgerRow]:
    """Score one session: every driver, then every constructor, in order of their ids.

    Args:
        session: Which session and which version of its result; a session that the game does not score gives no rows.
        classification: Every car of the session, in any order.
        rules: The rule set of the season.
        facts: What the classification cannot tell; what is not known becomes a row with ``missing`` and no points.
        absent: Drivers of the game who are not in the classification, see `absentees`.

    Raises:
        PoisonError: A status that no rule knows, a driver named twice, or a fact about a driver who is not there.
    """
    tables = rules.of(session.session)
    if tables is None:
        return []
    _check(classification, facts, absent)
    by_driver = _drivers(classification, tables, facts)
    by_driver |= {gone.driver_id: [drivers.absent_entry(tables)] for gone in absent}
    by_constructor = _constructors(classification, tables, facts, absent, by_driver)
    return [
        *_rows(session, rules, AssetKind.DRIVER, by_driver),
        *_rows(session, rules, AssetKind.CONSTRUCTOR, by_constructor),
    ]


def absentees(classification: Sequence[Car], seats: Mapping[str, str], roster: Iterable[str]) -> list[Absentee]:
    """Name the drivers of the game who are not in a classification, for `score`.

    Args:
        classification: Every car of the session.
        seats: ``driver_id`` to ``constructor_id`` of everybody entered for the round, as the entry list or the
            round's earlier sessions have it. Who is in it and not in the classification counts for his constructor,
            unless somebody else sat in his car.
        roster: ``driver_id`` of every driver that a team can hold in this round.
    """
    present = {car.driver_id for car in classification}
    taken = Counter(car.constructor_id for car in classification)
    found: list[Absentee] = []
    for driver_id in sorted({*seats, *roster} - present):
        constructor_id = seats.get(driver_id)
        if constructor_id is not None and taken[constructor_id] < CARS_PER_CONSTRUCTOR:
            taken[constructor_id] += 1
        else:
            constructor_id = None
        found.append(Absentee(driver_id=driver_id, constructor_id=constructor_id))
    return found


def asset_points(rows: Iterable[LedgerRow]) -> dict[tuple[AssetKind, str], int]:
    """Add up ledger rows per asset."""
    totals: Counter[tuple[AssetKind, str]] = Counter()
    for row in rows:
        totals[row.kind, row.asset_id] += row.points
    return dict(totals)


def _drivers(
    classification: Sequence[Car], tables: QualifyingRules | RaceRules, facts: Facts
) -> dict[str, Sequence[Entry]]:
    if isinstance(tables, QualifyingRules):
        excused = facts.no_time_possible or not any(map(drivers.has_time, classification))
        return {car.driver_id: drivers.qualifying_entries(car, tables, excused=excused) for car in classification}
    known = facts.fastest_lap is not None or any(car.fastest_lap_rank is not None for car in classification)
    return {car.driver_id: drivers.race_entries(car, tables, facts, fastest_lap_known=known) for car in classification}


def _constructors(
    classification: Sequence[Car],
    tables: QualifyingRules | RaceRules,
    facts: Facts,
    absent: Sequence[Absentee],
    by_driver: _Scored,
) -> _Scored:
    cars: dict[str, list[Car]] = {}
    members: dict[str, list[str]] = {}
    for car in classification:
        cars.setdefault(car.constructor_id, []).append(car)
        members.setdefault(car.constructor_id, []).append(car.driver_id)
    for gone in absent:
        if gone.constructor_id is not None:
            members.setdefault(gone.constructor_id, []).append(gone.driver_id)
    best = constructors.fastest_stops(facts, classification)
    field_size = sum(map(len, members.values()))
    scored: dict[str, list[Entry]] = {}
    for constructor_id, driver_ids in members.items():
        own = cars.get(constructor_id, [])
        parts = [(driver_id, by_driver[driver_id]) for driver_id in sorted(driver_ids)]
        extra = constructors.disqualified_entries(own, tables.constructors.disqualified_car)
        if isinstance(tables, QualifyingRules):
            entries = constructors.summed(parts, ())
            if tables.constructors.tiers is not None:
                placed = frozenset(who for who, got in parts if got[0].component is Component.POSITION)
                entries.append(constructors.tier_entry(own, placed, field_size, tables.constructors.tiers))
        else:
            entries = constructors.summed(parts, tables.constructors.without)
            if tables.constructors.pit_stops is not None:
                entries += constructors.pit_stop_entries(constructor_id, best, tables.constructors.pit_stops)
        scored[constructor_id] = entries + extra
    return scored


def _rows(session: ScoredSession, rules: RuleSet, kind: AssetKind, scored: _Scored) -> list[LedgerRow]:
    return [
        LedgerRow(
            season=session.season,
            round=session.round,
            session=session.session,
            kind=kind,
            asset_id=asset_id,
            component=entry.component,
            quantity=entry.quantity,
            points=entry.points,
            missing=entry.missing,
            explanation=entry.explanation,
            rule_set=rules.name,
            rule_hash=rules.content_hash,
            result_version=session.result_version,
        )
        for asset_id in sorted(scored)
        for entry in scored[asset_id]
    ]


def _check(classification: Sequence[Car], facts: Facts, absent: Sequence[Absentee]) -> None:
    """Refuse a session that contradicts itself, rather than score it wrongly."""
    names = Counter([*(car.driver_id for car in classification), *(gone.driver_id for gone in absent)])
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise PoisonError("driver_named_twice", f"In one session more than once: {', '.join(twice)}.")
    named = {*(facts.overtakes or ()), *(stop.driver_id for stop in facts.stops or ())}
    named |= {name for name in (facts.driver_of_the_day, facts.fastest_lap) if name is not None}
    strangers = sorted(named - names.keys())
    if strangers:
        raise PoisonError("fact_about_stranger", f"Not in the session, yet a fact names: {', '.join(strangers)}.")
