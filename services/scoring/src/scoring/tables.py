"""The shape of a rule file: every number of the game with where it comes from, validated as it is read."""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from scoring.domain import Component

Text = Annotated[str, msgspec.Meta(min_length=1)]
Points = Annotated[int, msgspec.Meta(ge=-1000, le=1000)]
KeepableComponent = Literal["overtakes", "fastest_lap", "driver_of_the_day"]


class Mark(StrEnum):
    """How sure a number is."""

    EXACT = "exact"
    """Recomputed from public facts, or every independent source agrees."""
    DISPUTED = "disputed"
    """Sources disagree, or nobody has seen the case; the file says what else is claimed."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A piece of a rule file. A name that is not known is an error: it would be a rule that never applies."""


class _Sourced(Part, frozen=True, kw_only=True):
    mark: Mark
    source: Text
    otherwise: Text | None = None
    """What the sources that disagree say."""

    def __post_init__(self) -> None:
        if self.mark is Mark.DISPUTED and self.otherwise is None:
            raise ValueError("a disputed number says in `otherwise` what else is claimed")


class Award(_Sourced, frozen=True, kw_only=True):
    """Points for one occurrence."""

    points: Points


class Places(_Sourced, frozen=True, kw_only=True):
    """Points for places in order, first place first; lower places score nothing."""

    points: tuple[Points, ...]

    def of(self, position: int) -> int:
        """Points of a place, counted from 1."""
        return self.points[position - 1] if position <= len(self.points) else 0


class PerPlace(_Sourced, frozen=True, kw_only=True):
    """Points per place between the grid and the flag."""

    gained: Points
    lost: Points
    lost_limit: Annotated[int, msgspec.Meta(le=0)] | None = None
    """The lowest that lost places can cost in one session; no limit when absent."""


class Cut(Part, frozen=True, kw_only=True):
    """The last place that reaches Q2 when at most ``cars_up_to`` cars are entered."""

    cars_up_to: Annotated[int, msgspec.Meta(gt=0)]
    position: Annotated[int, msgspec.Meta(gt=0)]


class Tiers(Part, frozen=True, kw_only=True):
    """How far a constructor's cars came in qualifying; only the best tier counts."""

    q2_cut: tuple[Cut, ...]
    """In order of ``cars_up_to``."""
    q3_cut: Annotated[int, msgspec.Meta(gt=0)]
    none_in_q2: Award
    one_in_q2: Award
    both_in_q2: Award
    one_in_q3: Award
    both_in_q3: Award

    def __post_init__(self) -> None:
        sizes = [cut.cars_up_to for cut in self.q2_cut]
        if not sizes or sizes != sorted(set(sizes)):
            raise ValueError("q2_cut needs at least one row, in rising order of cars_up_to")

    def last_in_q2(self, cars: int) -> int:
        """Last place that reaches Q2 in a field of ``cars``; a field beyond the table takes its last row."""
        return next((cut.position for cut in self.q2_cut if cars <= cut.cars_up_to), self.q2_cut[-1].position)


class StopTier(_Sourced, frozen=True, kw_only=True):
    """Points for a stop of up to and including ``up_to_millis``."""

    up_to_millis: Annotated[int, msgspec.Meta(gt=0)]
    points: Points


class PitStops(Part, frozen=True, kw_only=True):
    """Points for a constructor's fastest stationary stop of the race."""

    tiers: tuple[StopTier, ...]
    """From fast to slow; a slower stop scores nothing."""
    fastest: Places
    """For the fastest constructors of the race, in order."""
    record: Award | None = None
    record_under_millis: Annotated[int, msgspec.Meta(gt=0)] | None = None
    """A stop faster than this is a world record."""

    def __post_init__(self) -> None:
        bounds = [tier.up_to_millis for tier in self.tiers]
        if bounds != sorted(set(bounds)):
            raise ValueError("pit stop tiers run from fast to slow")
        if (self.record is None) != (self.record_under_millis is None):
            raise ValueError("record and record_under_millis come together")


class Kept(_Sourced, frozen=True, kw_only=True):
    """Which components a car that is not classified keeps, by how its session ended."""

    dnf: tuple[KeepableComponent, ...] = ()
    nc: tuple[KeepableComponent, ...] = ()
    dns: tuple[KeepableComponent, ...] = ()
    dsq: tuple[KeepableComponent, ...] = ()


class QualifyingConstructors(Part, frozen=True, kw_only=True):
    """What a constructor scores in qualifying on top of its drivers."""

    tiers: Tiers | None = None
    disqualified_car: Award | None = None


class RaceConstructors(Part, frozen=True, kw_only=True):
    """What a constructor scores in a sprint or race on top of its drivers, and what of theirs it does not get."""

    without: tuple[Component, ...] = ()
    disqualified_car: Award | None = None
    pit_stops: PitStops | None = None


class QualifyingRules(Part, frozen=True, kw_only=True):
    """The numbers of a Grand Prix qualifying."""

    position: Places
    no_time: Award
    disqualified: Award
    absent: Award
    constructors: QualifyingConstructors


class RaceRules(Part, frozen=True, kw_only=True):
    """The numbers of a sprint or a race. A component without a number is not part of the game."""

    position: Places
    places: PerPlace | None = None
    overtake: Award | None = None
    fastest_lap: Award | None = None
    driver_of_the_day: Award | None = None
    dnf: Award
    nc: Award
    dns: Award
    disqualified: Award
    absent: Award
    keeps: Kept
    constructors: RaceConstructors


class RuleTables(Part, frozen=True, kw_only=True):
    """A rule file as it is written."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{3,40}$")]
    title: Text
    qualifying: QualifyingRules
    sprint: RaceRules
    race: RaceRules
