"""A race weekend told in lines: pure, from events to words."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from common.contracts import Event
from common.contracts.ingest import Car, Race, ResultsAmended, ResultsSynced, SeasonSynced, SessionKind, SessionStarted
from common.contracts.leagues import LineupsLocked
from common.contracts.scoring import LeaderboardUpdated, RaceScored

SESSION_NAMES = {
    SessionKind.SPRINT_QUALIFYING: "sprint qualifying",
    SessionKind.SPRINT: "sprint",
    SessionKind.QUALIFYING: "qualifying",
    SessionKind.RACE: "race",
}
"""The sessions worth a line."""
PODIUM = 3
MINUTE, HOUR, DAY = 60, 3600, 86400
TOLD = (SeasonSynced, SessionStarted, LineupsLocked, ResultsSynced, ResultsAmended, RaceScored, LeaderboardUpdated)
"""The events a story is made of."""


class Story:
    """Turns events into lines; knows the season's names and who leads which leaderboard."""

    def __init__(self) -> None:
        self.simulated = False
        self.leagues: Mapping[UUID, str] = {}
        """Leagues whose leaders are told, beside the overall leaderboard."""
        self._races: dict[str, Race] = {}
        self._drivers: dict[str, str] = {}
        self._version: tuple[int, int] = (0, 0)
        self._leaders: dict[UUID | None, frozenset[UUID]] = {}
        self._scored: dict[UUID | None, tuple[int, int]] = {}

    def tell(self, event: Event, now: datetime) -> str | None:
        """One line about ``event``, or None when it is not worth one."""
        match event:
            case SeasonSynced():
                self._learn(event)
            case LineupsLocked():
                return f"{self._race(event.race_id)}: line-ups locked"
            case RaceScored():
                return self._score(event, now)
            case LeaderboardUpdated():
                return self._lead(event)
            case SessionStarted() | ResultsSynced() | ResultsAmended() if event.session in SESSION_NAMES:
                return f"{self._race(event.race_id)}: {SESSION_NAMES[event.session]} {self._stage(event)}"
        return None

    def _stage(self, event: SessionStarted | ResultsSynced | ResultsAmended) -> str:
        match event:
            case SessionStarted():
                return "under way"
            case ResultsSynced():
                return f"done, {self._podium(event)}"
            case ResultsAmended():
                return f"amended, {event.reason}"

    @property
    def known(self) -> bool:
        """True once the calendar has been read."""
        return bool(self._races)

    def next_session(self, now: datetime) -> str | None:
        """What comes next and in how many seconds, None when the season is over or unknown."""
        coming = [
            (session.starts_at, race.race_id, SESSION_NAMES[session.kind])
            for race in self._races.values()
            for session in race.sessions
            if session.starts_at > now and session.kind in SESSION_NAMES
        ]
        if not coming:
            return None
        starts_at, race_id, name = min(coming)
        return f"{self._race(race_id)}, {name}, {_in(starts_at - now)}"

    def _learn(self, event: SeasonSynced) -> None:
        if (event.season, event.season_version) <= self._version:
            return
        self._version = (event.season, event.season_version)
        self.simulated = event.simulated
        self._races = {race.race_id: race for race in event.races}
        self._drivers = {driver.driver_id: driver.family_name for driver in event.drivers}

    def _race(self, race_id: str) -> str:
        race = self._races.get(race_id)
        return f"R{race.round} {race.name}" if race else race_id

    def _driver(self, car: Car) -> str:
        return self._drivers.get(car.driver_id, car.driver_id)

    def _podium(self, event: ResultsSynced) -> str:
        first = sorted(event.classification, key=lambda car: car.position)[:PODIUM]
        return ", ".join(f"{car.position} {self._driver(car)}" for car in first)

    def _score(self, event: RaceScored, now: datetime) -> str:
        line = f"{self._race(event.race_id)}: scored, {event.teams} teams"
        best = max((asset for asset in event.assets if asset.kind == "driver"), key=lambda a: a.points, default=None)
        if best:
            line += f", best driver {self._drivers.get(best.asset_id, best.asset_id)} with {best.points} points"
        if event.final and (following := self.next_session(now)):
            line += f"; next {following}"
        return line

    def _lead(self, event: LeaderboardUpdated) -> str | None:
        """Tell of a new leader only: every scoring updates every leaderboard."""
        board = event.league_id
        version = (event.round, event.score_version)
        if (board is not None and board not in self.leagues) or version < self._scored.get(board, version):
            return None
        self._scored[board] = version
        first = [row for row in event.leaders if row.rank == 1]
        leaders = frozenset(row.team_id for row in first)
        if not first or leaders == self._leaders.get(board):
            return None
        self._leaders[board] = leaders
        name = "overall" if board is None else f"in {self.leagues[board]}"
        if len(first) > 1:
            return f"new leaders {name}: {len(first)} teams with {first[0].total} points"
        return f"new leader {name}: {first[0].team_name} with {first[0].total} points"


def _in(left: timedelta) -> str:
    seconds = int(left.total_seconds())
    if seconds < 2 * MINUTE:
        return f"in {seconds} s"
    if seconds < 2 * HOUR:
        return f"in {seconds // MINUTE} min"
    if seconds < 2 * DAY:
        return f"in {seconds // HOUR} h"
    return f"in {seconds // DAY} days"
