"""The tables of scoring: projections of other services' facts, the ledger, standings, prices and waiting work."""

from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    Row,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from common.db import service_metadata
from common.inbox import attempts_table, inbox_table
from common.outbox import outbox_table

metadata = service_metadata()
outbox_table(metadata)
inbox_table(metadata)
attempts_table(metadata)

StructT = TypeVar("StructT", bound=msgspec.Struct)

ASSET_KINDS = "kind IN ('driver', 'constructor')"
SESSIONS = "session IN ('qualifying', 'sprint', 'race')"

SEASONS = Table(
    "seasons",
    metadata,
    Column("season", Integer, primary_key=True, autoincrement=False),
    Column("season_version", Integer, nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("stints", JSONB, nullable=False),
)
"""Who drives for whom, as the latest version of the season tells."""

ROUNDS = Table(
    "rounds",
    metadata,
    Column("race_id", Text, primary_key=True),
    Column("season", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("sessions", ARRAY(Text), nullable=False),
    UniqueConstraint("season", "round"),
)
"""The calendar. ``sessions`` are those that score, in order of their starts."""

ROUND_LOCKS = Table(
    "round_locks",
    metadata,
    Column("race_id", Text, primary_key=True),
    Column("season", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("locked_at", DateTime(timezone=True), nullable=False),
    Index(None, "season", "round"),
)

RESULTS = Table(
    "results",
    metadata,
    Column("race_id", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("season", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("result_version", Integer, nullable=False),
    Column("classification", JSONB, nullable=False),
    CheckConstraint(SESSIONS, name="session"),
    Index(None, "season"),
)
"""The highest version of each session's classification. ``round`` is what the event said; the calendar goes before."""

ASSETS = Table(
    "assets",
    metadata,
    Column("slot", Integer, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("asset_id", Text, nullable=False),
    UniqueConstraint("kind", "asset_id"),
    CheckConstraint(ASSET_KINDS, name="kind"),
)
"""A small number for everything a team can hold: a round's points are an array that line-ups index with it."""

TEAMS = Table(
    "teams",
    metadata,
    Column("team_id", Uuid, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("season", Integer, nullable=False),
    Column("name", Text(collation="C"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Index(None, "season", "name", "team_id"),
)
"""Names sort by code point, so that order does not depend on the machine's locale."""

FORMER_OWNERS = Table("former_owners", metadata, Column("user_id", Uuid, primary_key=True))
"""Users who were erased: what they called their teams is forgotten, also where it comes late."""

LINEUPS = Table(
    "lineups",
    metadata,
    Column("team_id", Uuid, primary_key=True),
    Column("lineup_version", Integer, primary_key=True, autoincrement=False),
    Column("season", Integer, nullable=False),
    Column("effective_round", Integer, nullable=False),
    Column("slots", ARRAY(Integer), nullable=False),
)
"""Every line-up there was: in a round the highest version with ``effective_round`` up to it plays."""

LEAGUES = Table(
    "leagues",
    metadata,
    Column("league_id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("season", Integer, nullable=False),
    Column("private", Boolean, nullable=False),
    Column("owner_id", Uuid, nullable=False),
    Index(None, "season"),
)

LEAGUE_MEMBERS = Table(
    "league_members",
    metadata,
    Column("league_id", Uuid, primary_key=True),
    Column("user_id", Uuid, primary_key=True),
    Column("team_id", Uuid),
    Column("membership_version", Integer, nullable=False),
)
"""Only members with a team stand on the leaderboard."""

LEDGER = Table(
    "ledger",
    metadata,
    Column("season", Integer, primary_key=True, autoincrement=False),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("session", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("asset_id", Text, primary_key=True),
    Column("component", Text, primary_key=True),
    Column("quantity", Integer, nullable=False),
    Column("points", Integer, nullable=False),
    Column("missing", Boolean, nullable=False),
    Column("explanation", Text, nullable=False),
    Column("rule_set", Text, nullable=False),
    Column("rule_hash", Text, nullable=False),
    Column("result_version", Integer, nullable=False),
    CheckConstraint(ASSET_KINDS, name="kind"),
    CheckConstraint(SESSIONS, name="session"),
)
"""What each asset got for each component of each session, and why: the current truth of every round."""

SCORED_ROUNDS = Table(
    "scored_rounds",
    metadata,
    Column("season", Integer, primary_key=True, autoincrement=False),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("race_id", Text, nullable=False),
    Column("score_version", Integer, nullable=False),
    Column("rule_set", Text, nullable=False),
    Column("rule_hash", Text, nullable=False),
    Column("sessions", JSONB, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("teams", Integer, nullable=False),
    Column("points_mark", Text, nullable=False),
    Column("standings_mark", Text, nullable=False),
    Column("scored_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("score_version > 0", name="score_version"),
)
"""Which ``score_version`` of a round's standings holds, and what went into it.

``sessions`` maps session to result version, empty when the round lost its results to a change of the calendar. The
marks are fingerprints: of every team's points of the round, and of the whole standings.
"""

STANDINGS = Table(
    "standings",
    metadata,
    Column("season", Integer, primary_key=True, autoincrement=False),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("score_version", Integer, primary_key=True, autoincrement=False),
    Column("team_id", Uuid, primary_key=True),
    Column("round_points", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("place", Integer, nullable=False),
    Index(None, "season", "round", "score_version", "place", unique=True),
)
"""Insert-only: a new ``score_version`` is a new set of rows. ``place`` counts 1, 2, 3 where ``rank`` is shared."""

PRICES = Table(
    "prices",
    metadata,
    Column("season", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("asset_id", Text, primary_key=True),
    Column("price_version", Integer, primary_key=True, autoincrement=False),
    Column("effective_round", Integer, nullable=False),
    Column("price", Integer, nullable=False),
    CheckConstraint(ASSET_KINDS, name="kind"),
    CheckConstraint("price > 0", name="price"),
)
"""In tenths of a million; of an asset the highest ``price_version`` holds."""

DIRTY_ROUNDS = Table(
    "dirty_rounds",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("season", Integer, nullable=False),
    Column("from_round", Integer, nullable=False),
    Column("marked_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("traceparent", Text),
    Index(None, "season", "from_round"),
)
"""Work that waits: points of ``from_round`` and later may have changed. Rows are added and taken, never updated."""


def struct_of(row: Row[*tuple[Any, ...]], kind: type[StructT]) -> StructT:
    """Turn a row into the struct that has its columns as fields."""
    return msgspec.convert({str(name): value for name, value in row._asdict().items()}, kind)
