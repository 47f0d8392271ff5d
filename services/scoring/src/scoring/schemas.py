"""What the API answers."""

from datetime import datetime
from uuid import UUID

import msgspec

from common.contracts.ingest import SessionKind
from common.contracts.scoring import AssetKind, AssetPoints
from common.http import Page
from scoring.domain import Component
from scoring.tables import Mark


class LeaderboardRow(msgspec.Struct, frozen=True, kw_only=True):
    """A team's place. Equal totals share a rank, and stand in order of their names."""

    rank: int
    change: int | None
    """Ranks gained (negative: lost) since the round before; absent for a team that did not stand there."""
    team_id: UUID
    team_name: str
    round_points: int
    total: int


class Leaderboard(Page, frozen=True, kw_only=True):
    """A page of a leaderboard after a round."""

    season: int | None
    """Absent while no season is known."""
    league_id: UUID | None
    """Absent for the global leaderboard."""
    round: int | None
    """Absent while no round of the season has been scored; then everybody stands at 0."""
    race_id: str | None
    score_version: int | None
    provisional: bool
    """True until the race itself is scored."""
    scored_at: datetime | None
    items: list[LeaderboardRow]


class TeamRound(msgspec.Struct, frozen=True, kw_only=True):
    """What a team scored in a round, and with what."""

    round: int
    race_id: str
    provisional: bool
    score_version: int
    points: int
    total: int
    rank: int
    assets: list[AssetPoints]


class TeamPoints(msgspec.Struct, frozen=True, kw_only=True):
    """A team's season so far. Only rounds that are scored show, and those were locked before."""

    team_id: UUID
    team_name: str
    season: int
    total: int
    rounds: list[TeamRound]


class SessionResult(msgspec.Struct, frozen=True, kw_only=True):
    """Which version of a session's classification was scored."""

    session: SessionKind
    result_version: int


class SessionPoints(msgspec.Struct, frozen=True, kw_only=True):
    """Points of one session."""

    session: SessionKind
    points: int


class AssetScore(msgspec.Struct, frozen=True, kw_only=True):
    """What an asset scored in a round, session by session."""

    kind: AssetKind
    asset_id: str
    points: int
    sessions: list[SessionPoints]
    missing: bool
    """True when something that counts is not known yet and scores 0 for now."""


class ScoreBasis(msgspec.Struct, frozen=True, kw_only=True):
    """What a round's points stand on."""

    season: int
    round: int
    race_id: str
    score_version: int
    provisional: bool
    scored_at: datetime
    rule_set: str
    rule_hash: str
    results: list[SessionResult]


class RoundScores(ScoreBasis, frozen=True, kw_only=True):
    """Points of every asset in a round, most first."""

    assets: list[AssetScore]


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the ledger: so many points, and why."""

    session: SessionKind
    component: Component
    quantity: int
    points: int
    missing: bool
    explanation: str


class Explanation(ScoreBasis, frozen=True, kw_only=True):
    """Where an asset's points of a round come from; `total` is the sum of the rows."""

    kind: AssetKind
    asset_id: str
    total: int
    rows: list[LedgerLine]


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What an asset costs, in tenths of a million."""

    kind: AssetKind
    asset_id: str
    price: int
    effective_round: int


class PriceList(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of a season as they stand, dearest first; a season has some dozens."""

    season: int | None
    price_version: int | None
    items: list[Price]


class RuleComponent(msgspec.Struct, frozen=True, kw_only=True):
    """One number, or one table of numbers, of a rule set."""

    name: str
    """Where it stands in the rule file: `race.constructors.disqualified_car`."""
    values: dict[str, int | list[int | str]]
    mark: Mark | None
    """Absent for what is not a number of points, such as how many cars reach Q2."""
    source: str | None
    otherwise: str | None
    """What sources that disagree say."""


class RuleSetView(msgspec.Struct, frozen=True, kw_only=True):
    """A rule set and everything it says."""

    name: str
    title: str
    hash: str
    default: bool
    """True when a season without a rule set of its own is played by this one."""
    seasons: list[int]
    components: list[RuleComponent]


class RuleSets(msgspec.Struct, frozen=True, kw_only=True):
    """Rule sets that ship with Paddock."""

    items: list[RuleSetView]
