"""Decisions of the stewards after the fact: results change, and points, places and standings with them.

An amendment is kept as a decision and applied to the untouched result whenever somebody looks, in the order given;
so taking one back, or restarting with the same decisions, needs no other bookkeeping.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from trackside.classification import (
    Rows,
    add_time,
    disqualify,
    strike_qualifying,
    swap,
    swap_qualifying,
    timed,
)
from trackside.season import Season, Weekend

SESSION_NAMES = {"race": "Race", "sprint": "Sprint", "qualifying": "Qualifying"}


class AmendmentError(Exception):
    """The decision cannot be taken on this result; the message says why."""


class Amendment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One decision. `seconds` belongs to a time penalty, `other_driver_id` to a swap. The season is the served one."""

    season: int
    round: int
    session: Literal["race", "sprint", "qualifying"]
    driver_id: str
    action: Literal["time_penalty", "disqualify", "swap"]
    seconds: float | None = None
    other_driver_id: str | None = None

    def __post_init__(self) -> None:
        if self.action == "time_penalty" and (self.seconds is None or self.seconds <= 0):
            raise ValueError("a time_penalty needs seconds above 0")
        if self.action == "time_penalty" and self.session == "qualifying":
            raise ValueError("a time_penalty is for a race or a sprint")
        if self.action == "swap" and self.other_driver_id in {None, self.driver_id}:
            raise ValueError("a swap needs other_driver_id, another driver")


def _require(rows: Iterable[object], names: set[str], *drivers: str | None) -> None:
    if not rows:
        raise AmendmentError("this session has no result")
    for driver in drivers:
        if driver is not None and driver not in names:
            raise AmendmentError(f"{driver} is not in this result")


def _amend_rows(rows: Rows, amendment: Amendment) -> Rows:
    """A race or sprint after one decision."""
    by_name = {row.driver.driver_id: row for row in rows}
    _require(rows, set(by_name), amendment.driver_id, amendment.other_driver_id)
    row, year, sprint = by_name[amendment.driver_id], amendment.season, amendment.session == "sprint"
    if amendment.action == "disqualify":
        return disqualify(rows, amendment.driver_id, year, sprint=sprint)
    if amendment.action == "swap" and amendment.other_driver_id is not None:
        if not (row.classified and by_name[amendment.other_driver_id].classified):
            raise AmendmentError("only classified cars can change places")
        return swap(rows, amendment.driver_id, amendment.other_driver_id, year, sprint=sprint)
    if not timed(row):
        raise AmendmentError(f"{amendment.driver_id} has no time to add a penalty to")
    return add_time(rows, amendment.driver_id, round((amendment.seconds or 0) * 1000), year, sprint=sprint)


def amend(weekend: Weekend, amendment: Amendment) -> Weekend:
    """The weekend after one decision.

    Raises:
        AmendmentError: the driver is not in the result, or has nothing the decision could change.
    """
    if amendment.session == "race":
        return replace(weekend, results=_amend_rows(weekend.results, amendment))
    if amendment.session == "sprint":
        return replace(weekend, sprint=_amend_rows(weekend.sprint, amendment))
    names = {row.driver.driver_id for row in weekend.qualifying}
    _require(weekend.qualifying, names, amendment.driver_id, amendment.other_driver_id)
    if amendment.other_driver_id is not None:
        rows = swap_qualifying(weekend.qualifying, amendment.driver_id, amendment.other_driver_id)
    else:
        rows = strike_qualifying(weekend.qualifying, amendment.driver_id)
    return replace(weekend, qualifying=rows)


def amend_season(season: Season, amendments: Sequence[Amendment]) -> Season:
    """The season after all decisions; standings recorded after an amended race are computed instead."""
    if not amendments:
        return season
    first_changed = min((found.round for found in amendments if found.session != "qualifying"), default=None)
    weekends = []
    for weekend in season.weekends:
        amended = weekend
        for amendment in amendments:
            if amendment.round == weekend.round:
                amended = amend(amended, amendment)
        if first_changed is not None and weekend.round >= first_changed:
            amended = replace(amended, driver_standings=None, constructor_standings=None)
        weekends.append(amended)
    return replace(season, weekends=tuple(weekends))
