"""A race weekend as scoring sees it: which race a round is, who was entered, and what each session gives. Pure."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from common.contracts.ingest import Car, Race, SessionKind, Stint
from scoring.domain import LedgerRow, ScoredSession
from scoring.engine import absentees, score
from scoring.rules import RuleSet

SCORING_SESSIONS = (SessionKind.SPRINT, SessionKind.QUALIFYING, SessionKind.RACE)
"""In the order of a weekend, where the calendar tells no other."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The latest classification of one session."""

    session: SessionKind
    result_version: int
    classification: list[Car]


class Entries(msgspec.Struct, frozen=True, kw_only=True):
    """What the season tells about who drives for whom."""

    stints: list[Stint] = []

    def seats(self, number: int) -> dict[str, str]:
        """``driver_id`` to ``constructor_id`` of who has a seat in a round."""
        return {
            stint.driver_id: stint.constructor_id
            for stint in sorted(self.stints, key=lambda one: (one.from_round, one.driver_id, one.constructor_id))
            if stint.from_round <= number and (stint.to_round is None or number <= stint.to_round)
        }

    def roster(self, number: int) -> set[str]:
        """``driver_id`` of everybody who has had a seat by a round: once in the game, a driver stays in it."""
        return {stint.driver_id for stint in self.stints if stint.from_round <= number}


def race_of_round(calendar: Mapping[str, int], told: Iterable[tuple[str, int]]) -> dict[int, str]:
    """Name the race of each round that has results.

    Args:
        calendar: ``race_id`` to round, as the season stands. It goes before what a result said when it was new, for
            round numbers change when a race is cancelled.
        told: ``race_id`` and round of every result.
    """
    claims = sorted(
        {(calendar.get(race_id, said), race_id not in calendar, race_id) for race_id, said in told}, reverse=True
    )
    return {number: race_id for number, _, race_id in claims}


def scoring_sessions(race: Race) -> list[SessionKind]:
    """Sessions of a race that score, in order of their starts."""
    ordered = sorted(race.sessions, key=lambda session: session.starts_at)
    return [session.kind for session in ordered if session.kind in SCORING_SESSIONS]


def first_change(old: Entries, new: Entries, last_round: int) -> int | None:
    """Find the first round up to ``last_round`` whose seats or roster differ."""
    for number in range(1, last_round + 1):
        if old.seats(number) != new.seats(number) or old.roster(number) != new.roster(number):
            return number
    return None


def round_ledger(
    season: int,
    number: int,
    results: Sequence[Result],
    entries: Entries,
    rules: RuleSet,
    order: Sequence[SessionKind] = SCORING_SESSIONS,
) -> list[LedgerRow]:
    """Score every session of a round that has a result. Who took part in an earlier session is entered for a later."""
    by_session = {result.session: result for result in results}
    seats = entries.seats(number)
    roster = entries.roster(number)
    rows: list[LedgerRow] = []
    for kind in [*order, *(kind for kind in SCORING_SESSIONS if kind not in order)]:
        result = by_session.get(kind)
        if result is None or not result.classification:
            continue
        cars = result.classification
        rows += score(
            ScoredSession(season=season, round=number, session=kind, result_version=result.result_version),
            cars,
            rules,
            absent=absentees(cars, seats, roster),
        )
        seats |= {car.driver_id: car.constructor_id for car in cars}
    return rows
