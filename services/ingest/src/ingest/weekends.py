"""The calendar: which sessions a weekend has, when they start, and which race is which.

Round numbers change when a race is cancelled, so a race is known by its season and circuit; where a season visits a
circuit twice, by its date as well.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations

import msgspec

from common.contracts.ingest import Race, Session, SessionKind
from ingest import upstream
from ingest.domain import UnexpectedError

DIFFERENT_RACE_DAYS = 4
"""Two races at one circuit are a week apart; a postponed one moves by a day or two."""

ORDER = tuple(SessionKind)


class KnownRace(msgspec.Struct, frozen=True):
    """A race that has an id."""

    race_id: str
    circuit_id: str
    date: dt.date


def starts_at(date: dt.date, time: dt.time | None) -> dt.datetime:
    """Put a start together, in UTC. Where only the date is known it is the first instant of that day."""
    at = dt.datetime.combine(date, time or dt.time(tzinfo=dt.UTC))
    return at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at.astimezone(dt.UTC)


def sessions_of(race: upstream.Race) -> list[Session]:
    """List a weekend's sessions in order, for every format since 2018. The shootout of 2023 is a sprint qualifying."""
    given = {
        SessionKind.FP1: race.first_practice,
        SessionKind.FP2: race.second_practice,
        SessionKind.FP3: race.third_practice,
        SessionKind.SPRINT_QUALIFYING: race.sprint_qualifying or race.sprint_shootout,
        SessionKind.SPRINT: race.sprint,
        SessionKind.QUALIFYING: race.qualifying,
        SessionKind.RACE: upstream.SessionTime(race.date, race.time),
    }
    sessions = [
        Session(kind=kind, starts_at=starts_at(slot.date, slot.time))
        for kind, slot in given.items()
        if slot is not None
    ]
    return in_order(sessions)


def in_order(sessions: Iterable[Session]) -> list[Session]:
    """Sort sessions by their starts; where only the day is known, as a weekend has them."""
    return sorted(sessions, key=lambda session: (session.starts_at, ORDER.index(session.kind)))


def weekend(race: upstream.Race, race_id: str) -> Race:
    """Translate one row of the calendar."""
    return Race(
        race_id=race_id,
        round=race.round,
        name=race.race_name,
        circuit_id=race.circuit.circuit_id,
        circuit_name=race.circuit.circuit_name,
        locality=race.circuit.location.locality,
        country=race.circuit.location.country,
        sprint=race.sprint is not None,
        sessions=sessions_of(race),
    )


def season_of(races: Sequence[upstream.Race]) -> int:
    """Tell which season a calendar is of."""
    years = {race.season for race in races}
    if len(years) != 1:
        raise UnexpectedError(f"a calendar of {len(years)} seasons")
    return years.pop()


def calendar(races: Sequence[upstream.Race], known: Iterable[KnownRace]) -> list[Race]:
    """Translate a season's calendar in order of its rounds; races that are known keep their ids."""
    season = season_of(races)
    before: defaultdict[str, list[KnownRace]] = defaultdict(list)
    for race in known:
        before[race.circuit_id].append(race)
    visits: defaultdict[str, list[upstream.Race]] = defaultdict(list)
    for row in sorted(races, key=lambda row: row.date):
        visits[row.circuit.circuit_id].append(row)
    weekends = []
    for circuit_id, rows in visits.items():
        ids = _ids(season, circuit_id, rows, sorted(before[circuit_id], key=lambda race: race.date))
        weekends += [weekend(row, race_id) for row, race_id in zip(rows, ids, strict=True)]
    return sorted(weekends, key=lambda race: race.round)


def _ids(season: int, circuit_id: str, rows: Sequence[upstream.Race], known: Sequence[KnownRace]) -> list[str]:
    """Give the visits to a circuit, in order of date, their ids: old ones to those nearest in time, then new ones."""
    pairs = min(len(rows), len(known))
    choices = ((taken, kept) for taken in combinations(range(len(rows)), pairs) for kept in combinations(known, pairs))
    taken, kept = min(
        choices,
        key=lambda choice: sum(abs((rows[index].date - race.date).days) for index, race in zip(*choice, strict=True)),
    )
    old = {index: race.race_id for index, race in zip(taken, kept, strict=True)}
    used = {race.race_id for race in known}
    fresh = (race_id for race_id in _candidates(season, circuit_id) if race_id not in used)
    return [old.get(index) or next(fresh) for index in range(len(rows))]


def _candidates(season: int, circuit_id: str) -> Iterable[str]:
    yield f"{season}-{circuit_id}"
    for number in range(2, 10):
        yield f"{season}-{circuit_id}-{number}"


def is_same_race(row: upstream.Race, race: KnownRace) -> bool:
    """Tell whether a result that a round number led to belongs to the race it was asked for."""
    near = abs((row.date - race.date).days) < DIFFERENT_RACE_DAYS
    return row.circuit.circuit_id == race.circuit_id and near
