"""The season being served: its source, its timetable, and what was done to it since."""

from collections import Counter
from datetime import datetime
from functools import lru_cache
from random import Random

from msgspec.structs import replace

from trackside import calendar, entries, generator, recorded, state
from trackside.amendments import SESSION_NAMES, Amendment, AmendmentError, amend_season
from trackside.clock import Clock
from trackside.config import PUBLIC_URL, Config, ConfigError
from trackside.faults import Faults
from trackside.season import Season
from trackside.state import NumberedAmendment, State
from trackside.throttle import Throttle
from trackside.timetable import Timetable, lay


@lru_cache(maxsize=4)
def generated(year: int, seed: int) -> Season:
    """The season of a seed; kept, for it never changes and takes a moment to invent.

    Raises:
        ConfigError: there are no facts to generate from.
    """
    rounds, cars = calendar.load(year), entries.load(year)
    if rounds is None or cars is None:
        raise ConfigError(f"there are no facts to generate season {year} from; there are for 2026")
    return generator.generate(rounds, cars, PUBLIC_URL, Random(seed))  # noqa: S311 - a simulation


def build_season(config: Config) -> Season:
    """The season of a configuration, complete.

    Raises:
        ConfigError: no such recording, no facts to generate from, or no such rounds.
    """
    if config.recorded is not None:
        try:
            season = recorded.load(config.recorded, config.season)
        except recorded.RecordingError as error:
            raise ConfigError(str(error)) from error
    else:
        season = generated(config.season, config.seed)
    if config.rounds is not None:
        first, last = config.rounds
        season = season.limited(first, last)
        if not season.weekends:
            raise ConfigError(f"season {config.season} has no rounds {first}-{last}")
    return season


class Server:
    """Everything that changes while the server runs, and the questions the routes put to it."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self.faults = Faults()
        self.throttle = Throttle(config.throttle)
        self.requests: Counter[str] = Counter()
        self.source = build_season(config)
        earlier = state.read(config.state, config.season)
        start = config.start or (earlier.start if earlier else clock())
        self.timetable: Timetable | None = lay(self.source.weekends, start, config.pace) if config.pace else None
        self.state = State(
            season=config.season,
            start=self.timetable.start if self.timetable else start,
            amendments=earlier.amendments if earlier else (),
        )
        try:
            self._amended = self._amend(self.state.amendments)
        except AmendmentError as error:
            raise ConfigError(f"{config.state} has amendments of another season's results: {error}") from error
        state.write(config.state, self.state)

    @property
    def label(self) -> str:
        """What the season is: `simulated`, `recorded`, or `recorded, amended`."""
        if self.source.simulated:
            return "simulated"
        return "recorded, amended" if self.state.amendments else "recorded"

    def now(self) -> datetime:
        """The present instant."""
        return self.clock()

    def season(self) -> Season:
        """The season as it is at this instant."""
        return self._amended if self.timetable is None else self.timetable.look(self._amended, self.now())

    def amend(self, decision: Amendment) -> NumberedAmendment:
        """Take a decision on a result that is there.

        Raises:
            LookupError: another season, or no such round.
            AmendmentError: the session has not ended, or the decision does not fit its result.
        """
        if decision.season != self.source.year or self.source.weekend(decision.round) is None:
            raise LookupError(f"season {decision.season} has no round {decision.round} here")
        session = SESSION_NAMES[decision.session]
        if self.timetable is not None and not self.timetable.ended(decision.round, session, self.now()):
            raise AmendmentError(f"the {decision.session} of round {decision.round} has not ended yet")
        number = max((found.id for found in self.state.amendments), default=0) + 1
        numbered = NumberedAmendment(number, decision)
        self._decide((*self.state.amendments, numbered))
        return numbered

    def take_back(self, number: int) -> None:
        """Undo a decision.

        Raises:
            LookupError: there is no decision of this number.
            AmendmentError: a later decision stands on it.
        """
        kept = tuple(found for found in self.state.amendments if found.id != number)
        if len(kept) == len(self.state.amendments):
            raise LookupError(f"there is no amendment {number}")
        self._decide(kept)

    def reset(self) -> None:
        """Lift all faults, undo all decisions, count requests from 0. The timetable stays."""
        self.faults.clear()
        self.requests.clear()
        self._decide(())

    def _amend(self, amendments: tuple[NumberedAmendment, ...]) -> Season:
        return amend_season(self.source, [found.decision for found in amendments])

    def _decide(self, amendments: tuple[NumberedAmendment, ...]) -> None:
        self._amended = self._amend(amendments)
        self.state = replace(self.state, amendments=amendments)
        state.write(self.config.state, self.state)
