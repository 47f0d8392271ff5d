"""A season laid on real time: weekend i has `[start + i * pace, start + (i + 1) * pace)`, `pace` in seconds.

The sessions of a weekend are held in their real order in five slots at fixed fractions of it, so that a client sees
ordinary instants in the near future and needs no clock of its own. Before a session ends its result is not there.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from trackside.calendar import session_time
from trackside.season import Season, Weekend
from trackside.sessions import QUALIFYING, RACE, SPRINT, sessions_of, with_sessions

SLOTS = ((0.05, 0.15), (0.20, 0.30), (0.35, 0.45), (0.50, 0.60))
"""Start and end of the sessions before the race, as fractions of a weekend."""
RACE_SLOT = (0.70, 0.85)

RELATIVE = re.compile(r"now(?:(?P<sign>[+-])(?P<amount>\d+)(?P<unit>[smhd]))?")
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Slot(Struct, frozen=True):
    """One session on real time. `starts_at` is a whole second, as bodies have it; results are there from `ends_at`."""

    round: int
    session: str
    starts_at: datetime
    ends_at: datetime


class Timetable(Struct, frozen=True):
    """All sessions in the order they are held; `pace` in seconds per weekend."""

    start: datetime
    pace: float
    slots: tuple[Slot, ...]

    def ended(self, number: int, session: str, now: datetime) -> bool:
        """Whether a session is over; one the weekend does not name is over with the race."""
        ends = {slot.session: slot.ends_at for slot in self.slots if slot.round == number}
        return now >= ends.get(session, ends[RACE])

    def look(self, season: Season, now: datetime) -> Season:
        """The season as it is at an instant: new dates, and no result before its session ended."""
        return replace(season, weekends=tuple(self._weekend(weekend, now) for weekend in season.weekends))

    def _weekend(self, weekend: Weekend, now: datetime) -> Weekend:
        slots = [slot for slot in self.slots if slot.round == weekend.round]
        race = with_sessions(weekend.race, {slot.session: session_time(slot.starts_at) for slot in slots})
        raced = self.ended(weekend.round, RACE, now)
        return Weekend(
            race=race,
            qualifying=weekend.qualifying if self.ended(weekend.round, QUALIFYING, now) else (),
            sprint=weekend.sprint if self.ended(weekend.round, SPRINT, now) else (),
            results=weekend.results if raced else (),
            pit_stops=weekend.pit_stops if raced else (),
            laps=weekend.laps if raced else (),
            driver_standings=weekend.driver_standings if raced else None,
            constructor_standings=weekend.constructor_standings if raced else None,
        )


def lay(weekends: Sequence[Weekend], start: datetime, pace: float) -> Timetable:
    """Lay weekends on real time from `start`, rounded up to a whole second."""
    if start.microsecond:
        start = start.replace(microsecond=0) + timedelta(seconds=1)
    slots: list[Slot] = []
    for index, weekend in enumerate(weekends):
        sessions = list(sessions_of(weekend.race))
        before = [name for name in sessions if name != RACE]
        fractions = [*zip(before, SLOTS, strict=False), (RACE, RACE_SLOT)]
        for name, (begin, end) in fractions:
            starts_at = start + timedelta(seconds=pace * (index + begin))
            ends_at = start + timedelta(seconds=pace * (index + end))
            slots.append(Slot(weekend.round, name, starts_at.replace(microsecond=0), ends_at))
    return Timetable(start=start, pace=pace, slots=tuple(slots))


def parse_start(text: str, now: datetime) -> datetime:
    """An instant given as ISO 8601 (without an offset it is UTC), as `now`, or as `now+10s`, `now-2h`.

    Raises:
        ValueError: none of these.
    """
    if relative := RELATIVE.fullmatch(text):
        seconds = int(relative["amount"] or 0) * UNIT_SECONDS[relative["unit"] or "s"]
        return now - timedelta(seconds=seconds) if relative["sign"] == "-" else now + timedelta(seconds=seconds)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither an ISO 8601 instant nor now, now+10s, now-2h") from error
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
