"""What `leagues` publishes."""

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from common.contracts.event import Event, Instant


class GameMode(StrEnum):
    """The game a league plays."""

    BUDGET = "budget"
    DRAFT = "draft"


class LeagueCreated(Event, frozen=True, kw_only=True):
    """A league was opened."""

    subject: ClassVar[str] = "league.created"
    source: ClassVar[str] = "leagues"

    league_id: UUID
    name: str
    season: int
    mode: GameMode
    private: bool
    owner_id: UUID
    created_at: Instant

    def key(self) -> str:
        """Order is kept per league."""
        return str(self.league_id)


class LeagueJoined(Event, frozen=True, kw_only=True):
    """A user became a member of a league, with a team or, before having one, without."""

    subject: ClassVar[str] = "league.joined"
    source: ClassVar[str] = "leagues"

    league_id: UUID
    user_id: UUID
    team_id: UUID | None
    """The team that plays in the league; a later event for the same member names it once there is one."""
    membership_version: int
    """Counts the changes of this membership; a consumer ignores a version that is not newer than the one it has."""
    joined_at: Instant

    def key(self) -> str:
        """Order is kept per league."""
        return str(self.league_id)


class TeamCreated(Event, frozen=True, kw_only=True):
    """A user entered a team for a season."""

    subject: ClassVar[str] = "team.created"
    source: ClassVar[str] = "leagues"

    team_id: UUID
    user_id: UUID
    name: str
    season: int
    created_at: Instant

    def key(self) -> str:
        """Order is kept per team."""
        return str(self.team_id)


def former_name(team_id: UUID) -> str:
    """Return what a team is called by everybody once its owner is erased, for the owner chose its name."""
    return f"Former team {team_id.hex[:12]}"


class LineupSubmitted(Event, frozen=True, kw_only=True):
    """A team's line-up was accepted; it plays from ``effective_round`` until a later one replaces it."""

    subject: ClassVar[str] = "lineup.submitted"
    source: ClassVar[str] = "leagues"

    team_id: UUID
    user_id: UUID
    season: int
    effective_round: int
    """The first round that was not locked when the line-up was accepted, by the database's clock."""
    lineup_version: int
    """Counts the team's line-ups; in a round the highest one with ``effective_round`` up to it plays."""
    drivers: list[str]
    constructors: list[str]
    cost: int
    """In tenths of a million, at the prices of the moment."""
    submitted_at: Instant

    def key(self) -> str:
        """Order is kept per team."""
        return str(self.team_id)


class LineupsLocked(Event, frozen=True, kw_only=True):
    """No line-up can change any more for this round."""

    subject: ClassVar[str] = "lineups.locked"
    source: ClassVar[str] = "leagues"

    season: int
    round: int
    race_id: str
    locked_at: Instant

    def key(self) -> str:
        """Order is kept per race weekend."""
        return self.race_id
