"""What goes over HTTP: input and output are different types."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from common.contracts.ingest import Session, SessionKind
from common.contracts.leagues import GameMode
from common.contracts.scoring import AssetKind
from common.http import Page
from leagues.domain import (
    DESCRIPTION_MAX,
    MEMBERS_DEFAULT,
    MEMBERS_MAX,
    MEMBERS_MIN,
    NAME_MAX,
    NAME_MIN,
    Calendar,
    NewLeague,
    PlannedRound,
    Player,
    PricedAsset,
    Selection,
    select,
    tidy_name,
)
from leagues.models import Lineup, Membership
from leagues.queries import LeagueRow, TeamRow

Name = Annotated[str, msgspec.Meta(min_length=NAME_MIN, max_length=NAME_MAX, description="Trimmed; printable")]
Seats = Annotated[int, msgspec.Meta(ge=MEMBERS_MIN, le=MEMBERS_MAX)]
Year = Annotated[int, msgspec.Meta(ge=1950, le=2200)]
RoundNumber = Annotated[int, msgspec.Meta(ge=1, le=100)]
AssetId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class LeagueInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A league to create. ``season`` is the current one by default; ``team_id`` the owner's team that plays in it."""

    name: Name
    description: Annotated[str, msgspec.Meta(max_length=DESCRIPTION_MAX)] = ""
    private: bool = False
    max_members: Annotated[Seats | None, msgspec.Meta(description="null is without limit, for public leagues")] = (
        MEMBERS_DEFAULT
    )
    mode: GameMode = GameMode.BUDGET
    season: Year | None = None
    team_id: UUID | None = None

    def league(self) -> NewLeague:
        """Return what the domain makes of it; raises `InvalidError` and `ConflictError`."""
        return NewLeague(
            name=tidy_name(self.name),
            description=self.description.strip(),
            private=self.private,
            max_members=self.max_members,
            mode=self.mode,
        )


class EntryInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to enter a public league: with a team of yours, by default the first one."""

    team_id: UUID | None = None


class CodeInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to enter a league by its code, in capitals or not."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    team_id: UUID | None = None


class TeamInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A team to enter for a season, by default the current one."""

    name: Name
    season: Year | None = None


class LineupInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Five drivers and two constructors, in any order; ``round`` is the round the line-up is meant for."""

    drivers: Annotated[list[AssetId], msgspec.Meta(description="Ids of exactly five drivers, each once")]
    constructors: Annotated[list[AssetId], msgspec.Meta(description="Ids of exactly two constructors, each once")]
    round: Annotated[RoundNumber | None, msgspec.Meta(description="The round it is meant for, if not the current")] = (
        None
    )

    def selection(self) -> Selection:
        """Return what the domain makes of it; raises `InvalidError`."""
        return select(self.drivers, self.constructors)


class MembershipView(msgspec.Struct, frozen=True, kw_only=True):
    """Your place in a league."""

    team_id: UUID | None
    joined_at: datetime

    @classmethod
    def of(cls, membership: Membership) -> "MembershipView":
        """Show a membership."""
        return cls(team_id=membership.team_id, joined_at=membership.joined_at)


class LeagueView(msgspec.Struct, frozen=True, kw_only=True):
    """A league. ``code`` and ``membership`` are there for members only."""

    league_id: UUID
    season: int
    name: str
    description: str
    mode: GameMode
    private: bool
    max_members: int | None
    members: int
    owner: Player
    created_at: datetime
    code: str | None
    membership: MembershipView | None

    @classmethod
    def of(cls, row: LeagueRow) -> "LeagueView":
        """Show a league to the user it was read for."""
        league, owner, membership = row
        return cls(
            league_id=league.league_id,
            season=league.season,
            name=league.name,
            description=league.description,
            mode=league.game_mode(),
            private=league.private,
            max_members=league.max_members,
            members=league.members,
            owner=owner,
            created_at=league.created_at,
            code=league.code if membership else None,
            membership=MembershipView.of(membership) if membership else None,
        )


class LeaguePage(Page, frozen=True, kw_only=True):
    """A part of a list of leagues."""

    items: list[LeagueView]


class LineupView(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted line-up; it plays from ``effective_round`` until a later one replaces it."""

    team_id: UUID
    lineup_version: int
    effective_round: int
    drivers: list[str]
    constructors: list[str]
    cost: Annotated[int, msgspec.Meta(description="In tenths of a million, at the prices of the moment")]
    submitted_at: datetime

    @classmethod
    def of(cls, lineup: Lineup) -> "LineupView":
        """Show a line-up."""
        return cls(
            team_id=lineup.team_id,
            lineup_version=lineup.lineup_version,
            effective_round=lineup.effective_round,
            drivers=lineup.drivers,
            constructors=lineup.constructors,
            cost=lineup.cost,
            submitted_at=lineup.submitted_at,
        )


class TeamView(msgspec.Struct, frozen=True, kw_only=True):
    """A team. Of your own you see the newest line-up, of others the one that plays in the last locked round."""

    team_id: UUID
    season: int
    name: str
    owner: Player
    created_at: datetime
    lineup: LineupView | None

    @classmethod
    def of(cls, row: TeamRow) -> "TeamView":
        """Show a team to the user it was read for."""
        team, owner, lineup = row
        return cls(
            team_id=team.team_id,
            season=team.season,
            name=team.name,
            owner=owner,
            created_at=team.created_at,
            lineup=LineupView.of(lineup) if lineup else None,
        )


class TeamPage(Page, frozen=True, kw_only=True):
    """A part of a list of teams."""

    items: list[TeamView]


Tenths = Annotated[int | None, msgspec.Meta(description="In tenths of a million; null before there is a price")]


class DriverView(msgspec.Struct, frozen=True, kw_only=True):
    """A driver that can be picked; ``constructor_id`` is null without a seat in the round."""

    driver_id: str
    name: str
    code: str | None
    number: int | None
    constructor_id: str | None
    price: Tenths


class ConstructorView(msgspec.Struct, frozen=True, kw_only=True):
    """A constructor that can be picked."""

    constructor_id: str
    name: str
    price: Tenths


class MarketView(msgspec.Struct, frozen=True, kw_only=True):
    """What can be picked for a round: the open one, or the last when none is open any more. Dearest first."""

    season: int
    simulated: bool
    round: int | None
    cap: int
    drivers: list[DriverView]
    constructors: list[ConstructorView]

    @classmethod
    def of(cls, calendar: Calendar, market_round: int | None, cap: int, assets: list[PricedAsset]) -> "MarketView":
        """Show the market of a round."""
        return cls(
            season=calendar.season,
            simulated=calendar.simulated,
            round=market_round,
            cap=cap,
            drivers=[
                DriverView(
                    driver_id=asset.asset_id,
                    name=asset.name,
                    code=asset.code,
                    number=asset.number,
                    constructor_id=asset.constructor_id,
                    price=asset.price,
                )
                for asset in assets
                if asset.kind is AssetKind.DRIVER
            ],
            constructors=[
                ConstructorView(constructor_id=asset.asset_id, name=asset.name, price=asset.price)
                for asset in assets
                if asset.kind is AssetKind.CONSTRUCTOR
            ],
        )


class RoundView(msgspec.Struct, frozen=True, kw_only=True):
    """The next round to lock. ``running_round`` is one that is locked and whose race has not started."""

    season: int
    simulated: bool
    round: int
    race_id: str
    name: str
    sprint: bool
    lock_session: SessionKind
    lock_at: datetime
    race_starts_at: datetime
    sessions: list[Session]
    running_round: int | None
    now: Annotated[datetime, msgspec.Meta(description="The clock that decides")]

    @classmethod
    def of(cls, calendar: Calendar, planned: PlannedRound) -> "RoundView":
        """Show a round."""
        running = calendar.running_round()
        return cls(
            season=calendar.season,
            simulated=calendar.simulated,
            **msgspec.structs.asdict(planned),
            running_round=running.round if running else None,
            now=calendar.now,
        )
