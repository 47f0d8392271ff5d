"""Where races come from, and what is assumed when nobody says."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from common import clock
from devstack.errors import DevstackError

Source = Literal["sim", "live", "recorded"]
SOURCES: tuple[Source, ...] = get_args(Source)

LEAD_SECONDS = 20.0
"""From the first start to the beginning of a season's timetable: time for the services to be ready."""
DEFAULT_PACE_SECONDS = 120.0
DEFAULT_SEED = 24
SIMULATED_YEAR, RECORDED_YEAR = 2026, 2024


@dataclass(frozen=True, kw_only=True)
class Season:
    """A season and the timetable it runs on."""

    source: Source
    year: int
    seed: int
    """Decides a simulated season."""
    pace: float
    """Seconds per race weekend; without meaning for a live season."""
    start: datetime
    """When the timetable begins (UTC); without meaning for a live season."""
    recorded: str | None = None
    """Folder of recorded bodies."""
    rounds: str | None = None
    """The only rounds to run, as ``1-3``; None is the whole season."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What was asked for; None leaves it to what is kept, then to the default."""

    source: Source | None = None
    year: int | None = None
    seed: int | None = None
    pace: float | None = None
    start: datetime | None = None
    recorded: Path | None = None
    rounds: str | None = None

    def explicit(self) -> dict[str, object]:
        """What was really asked for, as a `Season` has it."""
        season = self.season(clock.now())
        return {name: getattr(season, name) for name in vars(self) if getattr(self, name) is not None}

    def season(self, now: datetime) -> Season:
        """Fill in the defaults; raise one line when the wishes contradict each other."""
        if self.source not in {None, *SOURCES}:
            raise DevstackError(f"there is no source {self.source}; choose one of {', '.join(SOURCES)}")
        source: Source = self.source or ("recorded" if self.recorded else "sim")
        if (source == "recorded") != (self.recorded is not None):
            raise DevstackError("--recorded DIR and --source recorded belong together; give both or neither")
        if self.recorded is not None and not self.recorded.is_dir():
            raise DevstackError(f"{self.recorded} is not a folder of recorded bodies; give one with --recorded")
        if self.pace is not None and self.pace <= 0:
            raise DevstackError(f"a weekend cannot last {self.pace:g} s; give --pace a positive number of seconds")
        years = {"sim": SIMULATED_YEAR, "recorded": RECORDED_YEAR, "live": now.year}
        return Season(
            source=source,
            year=years[source] if self.year is None else self.year,
            seed=DEFAULT_SEED if self.seed is None else self.seed,
            pace=DEFAULT_PACE_SECONDS if self.pace is None else self.pace,
            start=self.start or now + timedelta(seconds=LEAD_SECONDS),
            recorded=str(self.recorded.absolute()) if self.recorded else None,
            rounds=self.rounds,
        )
