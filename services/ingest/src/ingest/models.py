"""The tables of `ingest`."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from common.contracts.ingest import ResultStatus, SessionKind
from common.db import service_metadata
from common.inbox import inbox_table
from common.outbox import outbox_table

metadata = service_metadata()
outbox = outbox_table(metadata)
inbox_table(metadata)


def _one_of(column: str, values: list[str]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


seasons = Table(
    "seasons",
    metadata,
    Column("season", Integer, primary_key=True, autoincrement=False),
    Column("season_version", Integer, nullable=False, server_default="0"),
    Column("content_hash", Text, nullable=False, server_default=""),
    Column("simulated", Boolean, nullable=False),
    Column("checked_at", DateTime(timezone=True)),
    CheckConstraint("season BETWEEN 1950 AND 2999", name="season"),
    CheckConstraint("season_version >= 0", name="season_version"),
)
"""``season_version`` and ``content_hash`` are those of the last `season.synced`."""

races = Table(
    "races",
    metadata,
    Column("race_id", Text, primary_key=True),
    Column("season", ForeignKey("seasons.season"), nullable=False),
    Column("round", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("circuit_id", Text, nullable=False),
    Column("circuit_name", Text, nullable=False),
    Column("locality", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("sprint", Boolean, nullable=False),
    Column("date", Date, nullable=False),
    UniqueConstraint("season", "round", deferrable=True, initially="DEFERRED"),
    CheckConstraint("round > 0", name="round"),
)
"""``date`` is the UTC day of the race. Rounds are compared at commit: a cancelled race shifts all that follow."""

sessions = Table(
    "sessions",
    metadata,
    Column("race_id", ForeignKey("races.race_id", ondelete="CASCADE"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("starts_at", DateTime(timezone=True), nullable=False),
    Column("checked_at", DateTime(timezone=True)),
    Column("failed_at", DateTime(timezone=True)),
    CheckConstraint(_one_of("kind", list(SessionKind)), name="kind"),
    Index(None, "starts_at"),
)
"""``checked_at``: when the upstream last answered about the result. ``failed_at``: the last try, if it failed."""

drivers = Table(
    "drivers",
    metadata,
    Column("season", ForeignKey("seasons.season"), primary_key=True),
    Column("driver_id", Text, primary_key=True),
    Column("given_name", Text, nullable=False),
    Column("family_name", Text, nullable=False),
    Column("code", Text),
    Column("number", Integer),
    Column("nationality", Text),
)

constructors = Table(
    "constructors",
    metadata,
    Column("season", ForeignKey("seasons.season"), primary_key=True),
    Column("constructor_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("nationality", Text),
)

stints = Table(
    "stints",
    metadata,
    Column("season", Integer, primary_key=True),
    Column("driver_id", Text, primary_key=True),
    Column("from_round", Integer, primary_key=True),
    Column("constructor_id", Text, nullable=False),
    Column("to_round", Integer),
    ForeignKeyConstraint(["season", "driver_id"], ["drivers.season", "drivers.driver_id"]),
    ForeignKeyConstraint(["season", "constructor_id"], ["constructors.season", "constructors.constructor_id"]),
    CheckConstraint("from_round > 0 AND (to_round IS NULL OR to_round >= from_round)", name="rounds"),
)

results = Table(
    "results",
    metadata,
    Column("race_id", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("result_version", Integer, primary_key=True),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("content_hash", Text, nullable=False),
    Column("classification", JSONB, nullable=False),
    Column("observed_at", DateTime(timezone=True), nullable=False),
    Column("body_hashes", ARRAY(Text), nullable=False),
    ForeignKeyConstraint(["race_id", "session"], ["sessions.race_id", "sessions.kind"]),
    CheckConstraint("result_version > 0", name="result_version"),
    CheckConstraint(_one_of("status", list(ResultStatus)), name="status"),
)
"""Every version of every classification; rows are only ever added."""

raw_bodies = Table(
    "raw_bodies",
    metadata,
    Column("content_hash", Text, primary_key=True),
    Column("path", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("fetched_at", DateTime(timezone=True), nullable=False),
)
"""What the upstream said, as it said it, compressed by zlib; ``content_hash`` is SHA-256 of what was compressed."""

sync_runs = Table(
    "sync_runs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("what", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("finished_at", DateTime(timezone=True), nullable=False),
    Column("outcome", Text, nullable=False),
    Column("changes", Integer, nullable=False),
    Column("error", Text),
    CheckConstraint("outcome IN ('changed', 'unchanged', 'empty', 'failed')", name="outcome"),
    Index(None, "started_at"),
)
"""``outcome`` is ``empty`` when the upstream has no result yet; ``changes`` counts the events that a run published."""
