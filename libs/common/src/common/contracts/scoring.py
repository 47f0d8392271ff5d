"""What `scoring` publishes."""

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

import msgspec

from common.contracts.event import Event, Instant
from common.contracts.ingest import SessionKind


class AssetKind(StrEnum):
    """What a team can hold."""

    DRIVER = "driver"
    CONSTRUCTOR = "constructor"


class AssetPoints(msgspec.Struct, frozen=True, kw_only=True):
    """Points of one asset over a round so far."""

    kind: AssetKind
    asset_id: str
    points: int


class AssetPrice(msgspec.Struct, frozen=True, kw_only=True):
    """The price of one asset, in tenths of a million."""

    kind: AssetKind
    asset_id: str
    price: int


class SessionVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Which version of a session's classification went into a score."""

    session: SessionKind
    result_version: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a leaderboard; equal points share a rank."""

    rank: int
    team_id: UUID
    team_name: str
    total: int
    round_points: int


class RaceScored(Event, frozen=True, kw_only=True):
    """A round's points were computed: after each session, and again after each amendment."""

    subject: ClassVar[str] = "race.scored"
    source: ClassVar[str] = "scoring"

    season: int
    round: int
    race_id: str
    score_version: int
    """Counts the computations of the round that changed something; the highest is the truth."""
    rule_set: str
    sessions: list[SessionVersion]
    final: bool
    """True once the race itself is among ``sessions``; before, the points are those of the weekend so far."""
    assets: list[AssetPoints]
    teams: int
    """How many teams were scored."""
    scored_at: Instant

    def key(self) -> str:
        """Order is kept per race weekend."""
        return self.race_id


class LeaderboardUpdated(Event, frozen=True, kw_only=True):
    """A leaderboard has a new state after a round was scored."""

    subject: ClassVar[str] = "leaderboard.updated"
    source: ClassVar[str] = "scoring"

    season: int
    round: int
    league_id: UUID | None
    """Null for the global leaderboard."""
    score_version: int
    members: int
    leaders: list[Standing]
    """The first rows, at most ten."""
    updated_at: Instant

    def key(self) -> str:
        """Order is kept per leaderboard."""
        return str(self.league_id) if self.league_id else f"global:{self.season}"


class PricesChanged(Event, frozen=True, kw_only=True):
    """Prices that hold from a round on; assets that are not named keep theirs."""

    subject: ClassVar[str] = "prices.changed"
    source: ClassVar[str] = "scoring"

    season: int
    effective_round: int
    """The first round these prices hold for."""
    price_version: int
    """Counts the price lists of the season."""
    prices: list[AssetPrice]

    def key(self) -> str:
        """Order is kept per season."""
        return str(self.season)
