"""The tables: what `leagues` owns, and what it knows of others from their events."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, ForeignKeyConstraint, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from common.contracts.leagues import GameMode
from common.db import service_metadata
from common.inbox import attempts_table, inbox_table
from common.outbox import outbox_table
from leagues.domain import CAP, CODE_ALPHABET, CODE_LENGTH, CONSTRUCTORS, DRIVERS, TEAMS_PER_SEASON

metadata = service_metadata()
outbox_table(metadata)
inbox_table(metadata)
attempts_table(metadata)

FIRST_TEAM_SLOT = 1
"""The place of a user's first team of a season; it is the one that plays where no team is named."""


class Model(DeclarativeBase):
    """A table of this service."""

    metadata = metadata
    type_annotation_map = {str: Text, datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's own


class Season(Model):
    """A season that `season.synced` told of, and which version of it is here."""

    __tablename__ = "seasons"

    season: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    season_version: Mapped[int]
    simulated: Mapped[bool]


class Round(Model):
    """A race weekend of the calendar. Replaced as a whole by each newer version of the season."""

    __tablename__ = "rounds"
    __table_args__ = (UniqueConstraint("race_id"), CheckConstraint("round > 0", name="round"))

    season: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    round: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    race_id: Mapped[str]
    name: Mapped[str]
    sprint: Mapped[bool]
    lock_session: Mapped[str]
    race_starts_at: Mapped[datetime]
    sessions: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)


class Lock(Model):
    """When a race weekend's line-ups lock. For each row there is exactly one `lineups.locked`, waiting or published.

    Once ``lock_at`` has come by the database's clock the row never changes again.
    """

    __tablename__ = "locks"

    race_id: Mapped[str] = mapped_column(primary_key=True)
    season: Mapped[int] = mapped_column(index=True)
    round: Mapped[int]
    lock_at: Mapped[datetime]


class Asset(Model):
    """A driver or constructor entered for a season."""

    __tablename__ = "assets"
    __table_args__ = (CheckConstraint("kind IN ('driver', 'constructor')", name="kind"),)

    season: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(primary_key=True)
    asset_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    code: Mapped[str | None]
    number: Mapped[int | None]


class Seat(Model):
    """Who drives for whom, from one round to another, both included."""

    __tablename__ = "seats"

    season: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    driver_id: Mapped[str] = mapped_column(primary_key=True)
    from_round: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    constructor_id: Mapped[str] = mapped_column(primary_key=True)
    to_round: Mapped[int | None]


class Price(Model):
    """A price that holds from a round on, in tenths of a million. Rows are only ever added."""

    __tablename__ = "prices"
    __table_args__ = (CheckConstraint("price >= 0", name="price"),)

    season: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(primary_key=True)
    asset_id: Mapped[str] = mapped_column(primary_key=True)
    price_version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    effective_round: Mapped[int]
    price: Mapped[int]


class User(Model):
    """What others see of a user, from the events `user.*`. Whoever is blocked, deleted or erased shows no name."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint("NOT erased OR username IS NULL", name="erased"),)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str | None]
    profile_version: Mapped[int] = mapped_column(server_default=text("1"))
    """Of the name; 0 before one is known."""
    active: Mapped[bool] = mapped_column(server_default=text("true"))
    status_at: Mapped[datetime | None]
    """When they last went or came back."""
    erased: Mapped[bool] = mapped_column(server_default=text("false"))


class League(Model):
    """A league. ``members`` counts its memberships, so that a full league is refused by one UPDATE."""

    __tablename__ = "leagues"
    __table_args__ = (
        UniqueConstraint("code"),
        UniqueConstraint("league_id", "season"),
        CheckConstraint("char_length(name) BETWEEN 3 AND 100", name="name"),
        CheckConstraint("char_length(description) <= 1000", name="description"),
        CheckConstraint(f"code ~ '^[{CODE_ALPHABET}]{{{CODE_LENGTH}}}$'", name="code"),
        CheckConstraint("mode IN ('budget', 'draft')", name="mode"),
        CheckConstraint("max_members BETWEEN 2 AND 1000", name="max_members"),
        CheckConstraint("NOT private OR max_members IS NOT NULL", name="limit"),
        CheckConstraint("members >= 0 AND (max_members IS NULL OR members <= max_members)", name="capacity"),
        Index("ix_leagues_public", "created_at", "league_id", postgresql_where=text("NOT private")),
    )

    league_id: Mapped[UUID] = mapped_column(primary_key=True)
    season: Mapped[int] = mapped_column(ForeignKey("seasons.season"))
    name: Mapped[str]
    description: Mapped[str]
    mode: Mapped[str]
    private: Mapped[bool]
    max_members: Mapped[int | None]
    members: Mapped[int]
    code: Mapped[str]
    owner_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))

    def game_mode(self) -> GameMode:
        """Return the mode as the contract's enum."""
        return GameMode(self.mode)


class Team(Model):
    """A user's team of a season, in one of three slots. ``lineup_version`` is its newest line-up's, 0 without one."""

    __tablename__ = "teams"
    __table_args__ = (
        UniqueConstraint("user_id", "season", "slot"),
        UniqueConstraint("user_id", "season", "name"),
        UniqueConstraint("team_id", "user_id", "season"),
        CheckConstraint("char_length(name) BETWEEN 3 AND 100", name="name"),
        CheckConstraint(f"slot BETWEEN {FIRST_TEAM_SLOT} AND {TEAMS_PER_SEASON}", name="slot"),
        CheckConstraint("lineup_version >= 0", name="lineup_version"),
    )

    team_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    season: Mapped[int] = mapped_column(ForeignKey("seasons.season"))
    slot: Mapped[int]
    name: Mapped[str]
    lineup_version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class Membership(Model):
    """A user in a league. The keys make sure that a team that plays is his own and of the league's season."""

    __tablename__ = "memberships"
    __table_args__ = (
        ForeignKeyConstraint(["league_id", "season"], ["leagues.league_id", "leagues.season"]),
        ForeignKeyConstraint(["team_id", "user_id", "season"], ["teams.team_id", "teams.user_id", "teams.season"]),
        CheckConstraint("membership_version > 0", name="membership_version"),
        Index(None, "user_id", "season"),
        Index(None, "team_id"),
    )

    league_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    season: Mapped[int]
    team_id: Mapped[UUID | None]
    membership_version: Mapped[int]
    joined_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


_ASCENDING = " AND ".join(
    f'{column}[{place}] COLLATE "C" < {column}[{place + 1}] COLLATE "C"'
    for column, size in (("drivers", DRIVERS), ("constructors", CONSTRUCTORS))
    for place in range(1, size)
)


class Lineup(Model):
    """An accepted line-up. Rows are only ever added; ids are in order, so that none can be there twice."""

    __tablename__ = "lineups"
    __table_args__ = (
        CheckConstraint("lineup_version > 0 AND effective_round > 0", name="version"),
        CheckConstraint(
            f"cardinality(drivers) = {DRIVERS} AND cardinality(constructors) = {CONSTRUCTORS}", name="size"
        ),
        CheckConstraint(_ASCENDING, name="distinct"),
        CheckConstraint(f"cost BETWEEN 0 AND {CAP}", name="cost"),
    )

    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.team_id"), primary_key=True)
    lineup_version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    effective_round: Mapped[int]
    drivers: Mapped[list[str]] = mapped_column(ARRAY(Text))
    constructors: Mapped[list[str]] = mapped_column(ARRAY(Text))
    cost: Mapped[int]
    submitted_at: Mapped[datetime]
