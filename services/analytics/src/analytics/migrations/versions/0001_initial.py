"""The calendar, the entry list and the classifications, as events told of them; outbox and inbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = ("cars", "results", "constructors", "drivers", "sessions", "races", "seasons", "inbox", "outbox")
SESSIONS = "('fp1', 'fp2', 'fp3', 'sprint_qualifying', 'sprint', 'qualifying', 'race')"


def upgrade() -> None:
    _messaging()
    _calendar()
    _entries()
    _results()


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)


def _messaging() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("slot", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deliver_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stream_seq", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("event_id", name=op.f("uq_outbox_event_id")),
    )
    op.create_index("ix_outbox_waiting", "outbox", ["id"], postgresql_where=sa.text("published_at IS NULL"))
    op.create_index(
        "uq_outbox_slot_waiting", "outbox", ["slot"], unique=True, postgresql_where=sa.text("published_at IS NULL")
    )
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("consumer", "event_id", name=op.f("pk_inbox")),
    )
    op.create_index(op.f("ix_inbox_received_at"), "inbox", ["received_at"])


def _calendar() -> None:
    op.create_table(
        "seasons",
        sa.Column("season", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("season_version", sa.Integer(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("season", name=op.f("pk_seasons")),
    )
    op.create_table(
        "races",
        sa.Column("race_id", sa.Text(), nullable=False),
        sa.Column("season", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("circuit_id", sa.Text(), nullable=False),
        sa.Column("circuit_name", sa.Text(), nullable=False),
        sa.Column("locality", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("sprint", sa.Boolean(), nullable=False),
        sa.CheckConstraint("round > 0", name=op.f("ck_races_round")),
        sa.ForeignKeyConstraint(["season"], ["seasons.season"], name=op.f("fk_races_season_seasons")),
        sa.PrimaryKeyConstraint("race_id", name=op.f("pk_races")),
        sa.UniqueConstraint("season", "round", name=op.f("uq_races_season_round")),
    )
    op.create_table(
        "sessions",
        sa.Column("race_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(f"kind IN {SESSIONS}", name=op.f("ck_sessions_kind")),
        sa.ForeignKeyConstraint(
            ["race_id"], ["races.race_id"], name=op.f("fk_sessions_race_id_races"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("race_id", "kind", name=op.f("pk_sessions")),
    )


def _entries() -> None:
    op.create_table(
        "drivers",
        sa.Column("season", sa.Integer(), nullable=False),
        sa.Column("driver_id", sa.Text(), nullable=False),
        sa.Column("given_name", sa.Text(), nullable=False),
        sa.Column("family_name", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("nationality", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["season"], ["seasons.season"], name=op.f("fk_drivers_season_seasons")),
        sa.PrimaryKeyConstraint("season", "driver_id", name=op.f("pk_drivers")),
    )
    op.create_table(
        "constructors",
        sa.Column("season", sa.Integer(), nullable=False),
        sa.Column("constructor_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("nationality", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["season"], ["seasons.season"], name=op.f("fk_constructors_season_seasons")),
        sa.PrimaryKeyConstraint("season", "constructor_id", name=op.f("pk_constructors")),
    )


def _results() -> None:
    op.create_table(
        "results",
        sa.Column("race_id", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("result_version", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("result_version > 0", name=op.f("ck_results_result_version")),
        sa.CheckConstraint(f"session IN {SESSIONS}", name=op.f("ck_results_session")),
        sa.CheckConstraint("status IN ('provisional', 'final', 'amended')", name=op.f("ck_results_status")),
        sa.PrimaryKeyConstraint("race_id", "session", name=op.f("pk_results")),
    )
    op.create_table(
        "cars",
        sa.Column("race_id", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("driver_id", sa.Text(), nullable=False),
        sa.Column("constructor_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_text", sa.Text(), nullable=False),
        sa.Column("grid", sa.Integer(), nullable=True),
        sa.Column("laps", sa.Integer(), nullable=True),
        sa.Column("points", sa.Numeric(), nullable=False),
        sa.Column("time_millis", sa.Integer(), nullable=True),
        sa.Column("fastest_lap_rank", sa.Integer(), nullable=True),
        sa.Column("q1", sa.Text(), nullable=True),
        sa.Column("q2", sa.Text(), nullable=True),
        sa.Column("q3", sa.Text(), nullable=True),
        sa.CheckConstraint("status IN ('finished', 'lapped', 'dnf', 'nc', 'dns', 'dsq')", name=op.f("ck_cars_status")),
        sa.ForeignKeyConstraint(
            ["race_id", "session"],
            ["results.race_id", "results.session"],
            name=op.f("fk_cars_race_id_session_results"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("race_id", "session", "place", name=op.f("pk_cars")),
    )
