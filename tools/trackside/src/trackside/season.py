"""A season as the server holds it, whatever its source: immutable, and complete from the first instant.

What a client may see of it at an instant is another `Season`, made by `timetable.Timetable.look`.
"""

from msgspec import Struct
from msgspec.structs import replace

from trackside.bodies import (
    Circuit,
    Constructor,
    ConstructorStanding,
    Driver,
    DriverStanding,
    Lap,
    PitStop,
    QualifyingRow,
    Race,
    ResultRow,
)


class Weekend(Struct, frozen=True, kw_only=True):
    """One race weekend; an empty tuple is a session without a result (yet).

    `driver_standings` and `constructor_standings` are those recorded after the race; `None` has them computed.
    """

    race: Race
    qualifying: tuple[QualifyingRow, ...] = ()
    sprint: tuple[ResultRow, ...] = ()
    results: tuple[ResultRow, ...] = ()
    pit_stops: tuple[PitStop, ...] = ()
    laps: tuple[Lap, ...] = ()
    driver_standings: tuple[DriverStanding, ...] | None = None
    constructor_standings: tuple[ConstructorStanding, ...] | None = None

    @property
    def round(self) -> int:
        """The round's number, from 1."""
        return int(self.race.round)

    @property
    def seats(self) -> tuple[tuple[Driver, Constructor], ...]:
        """Who drove for whom, row by row of all that was held."""
        rows: tuple[QualifyingRow | ResultRow, ...] = (*self.qualifying, *self.sprint, *self.results)
        return tuple((row.driver, row.constructor) for row in rows)


class Season(Struct, frozen=True, kw_only=True):
    """All weekends in the order of their rounds, and everyone who takes part.

    `prologue` are the weekends before the served window: nobody asks for them, the standings count them.
    `status_ids` gives the number of each status text. `first_seats` says who drives for whom in the first weekend.
    """

    year: int
    simulated: bool
    weekends: tuple[Weekend, ...]
    drivers: tuple[Driver, ...]
    constructors: tuple[Constructor, ...]
    circuits: tuple[Circuit, ...]
    status_ids: dict[str, str]
    first_seats: tuple[tuple[Driver, Constructor], ...]
    prologue: tuple[Weekend, ...] = ()

    def weekend(self, number: int) -> Weekend | None:
        """The weekend of a round, or `None`."""
        return next((weekend for weekend in self.weekends if weekend.round == number), None)

    def limited(self, first: int, last: int) -> "Season":
        """Serve only these rounds; those before them still count in the standings."""
        weekends = tuple(weekend for weekend in self.weekends if first <= weekend.round <= last)
        return replace(
            self,
            weekends=weekends,
            prologue=tuple(weekend for weekend in self.weekends if weekend.round < first),
            first_seats=(weekends[0].seats if weekends else ()) or self.first_seats,
        )
