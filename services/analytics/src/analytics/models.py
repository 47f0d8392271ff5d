"""The tables of `analytics`: what it has learnt of seasons and results from the events of `ingest`.

Events come in any order. So a season is replaced as a whole by each newer version of itself, a classification by each
newer version of itself, and nothing refers from one to the other but by name.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
)

from common.contracts.ingest import CarStatus, ResultStatus, SessionKind
from common.db import service_metadata
from common.inbox import attempts_table, inbox_table
from common.outbox import outbox_table

metadata = service_metadata()
outbox_table(metadata)
inbox_table(metadata)
attempts_table(metadata)


def _one_of(column: str, values: type[SessionKind | ResultStatus | CarStatus]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


SEASONS = Table(
    "seasons",
    metadata,
    Column("season", Integer, primary_key=True, autoincrement=False),
    Column("season_version", Integer, nullable=False),
    Column("simulated", Boolean, nullable=False),
)

RACES = Table(
    "races",
    metadata,
    Column("race_id", Text, primary_key=True),
    Column("season", ForeignKey(SEASONS.c.season), nullable=False),
    Column("round", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("circuit_id", Text, nullable=False),
    Column("circuit_name", Text, nullable=False),
    Column("locality", Text, nullable=False),
    Column("country", Text, nullable=False),
    Column("sprint", Boolean, nullable=False),
    UniqueConstraint("season", "round"),
    CheckConstraint("round > 0", name="round"),
)

SESSIONS = Table(
    "sessions",
    metadata,
    Column("race_id", ForeignKey(RACES.c.race_id, ondelete="CASCADE"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("starts_at", DateTime(timezone=True), nullable=False),
    CheckConstraint(_one_of("kind", SessionKind), name="kind"),
)

DRIVERS = Table(
    "drivers",
    metadata,
    Column("season", ForeignKey(SEASONS.c.season), primary_key=True),
    Column("driver_id", Text, primary_key=True),
    Column("given_name", Text, nullable=False),
    Column("family_name", Text, nullable=False),
    Column("code", Text),
    Column("number", Integer),
    Column("nationality", Text),
)

CONSTRUCTORS = Table(
    "constructors",
    metadata,
    Column("season", ForeignKey(SEASONS.c.season), primary_key=True),
    Column("constructor_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("nationality", Text),
)

RESULTS = Table(
    "results",
    metadata,
    Column("race_id", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("result_version", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("observed_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("result_version > 0", name="result_version"),
    CheckConstraint(_one_of("session", SessionKind), name="session"),
    CheckConstraint(_one_of("status", ResultStatus), name="status"),
)
"""The highest version of each session's classification. Its season and round are those of the calendar."""

CARS = Table(
    "cars",
    metadata,
    Column("race_id", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("driver_id", Text, nullable=False),
    Column("constructor_id", Text, nullable=False),
    Column("number", Integer),
    Column("position", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_text", Text, nullable=False),
    Column("grid", Integer),
    Column("laps", Integer),
    Column("points", Numeric, nullable=False),
    Column("time_millis", Integer),
    Column("fastest_lap_rank", Integer),
    Column("q1", Text),
    Column("q2", Text),
    Column("q3", Text),
    ForeignKeyConstraint(["race_id", "session"], [RESULTS.c.race_id, RESULTS.c.session], ondelete="CASCADE"),
    CheckConstraint(_one_of("status", CarStatus), name="status"),
)
"""The rows of the classifications. ``place`` counts them as they are listed, for positions may repeat."""
