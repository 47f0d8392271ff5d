"""Seasons, races, sessions, entries, stints, classifications, raw bodies, runs, outbox and inbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

AT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "seasons",
        sa.Column("season", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("season_version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("content_hash", sa.Text(), server_default="", nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("checked_at", AT),
        sa.CheckConstraint("season BETWEEN 1950 AND 2999", name=op.f("ck_seasons_season")),
        sa.CheckConstraint("season_version >= 0", name=op.f("ck_seasons_season_version")),
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
        sa.Column("date", sa.Date(), nullable=False),
        sa.CheckConstraint("round > 0", name=op.f("ck_races_round")),
        sa.ForeignKeyConstraint(["season"], ["seasons.season"], name=op.f("fk_races_season_seasons")),
        sa.PrimaryKeyConstraint("race_id", name=op.f("pk_races")),
        sa.UniqueConstraint(
            "season", "round", name=op.f("uq_races_season_round"), deferrable=True, initially="DEFERRED"
        ),
    )
    op.create_table(
        "sessions",
        sa.Column("race_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("starts_at", AT, nullable=False),
        sa.Column("checked_at", AT),
        sa.Column("failed_at", AT),
        sa.CheckConstraint(
            "kind IN ('fp1', 'fp2', 'fp3', 'sprint_qualifying', 'sprint', 'qualifying', 'race')",
            name=op.f("ck_sessions_kind"),
        ),
        sa.ForeignKeyConstraint(
            ["race_id"], ["races.race_id"], name=op.f("fk_sessions_race_id_races"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("race_id", "kind", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_starts_at"), "sessions", ["starts_at"])
    op.create_table(
        "drivers",
        sa.Column("season", sa.Integer(), nullable=False),
        sa.Column("driver_id", sa.Text(), nullable=False),
        sa.Column("given_name", sa.Text(), nullable=False),
        sa.Column("family_name", sa.Text(), nullable=False),
        sa.Column("code", sa.Text()),
        sa.Column("number", sa.Integer()),
        sa.Column("nationality", sa.Text()),
        sa.ForeignKeyConstraint(["season"], ["seasons.season"], name=op.f("fk_drivers_season_seasons")),
        sa.PrimaryKeyConstraint("season", "driver_id", name=op.f("pk_drivers")),
    )
    op.create_table(
        "constructors",
        sa.Column("season", sa.Integer(), nullable=False),
        sa.Column("constructor_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("nationality", sa.Text()),
        sa.ForeignKeyConstraint(["season"], ["seasons.season"], name=op.f("fk_constructors_season_seasons")),
        sa.PrimaryKeyConstraint("season", "constructor_id", name=op.f("pk_constructors")),
    )
    op.create_table(
        "stints",
        sa.Column("season", sa.Integer(), nullable=False),
        sa.Column("driver_id", sa.Text(), nullable=False),
        sa.Column("from_round", sa.Integer(), nullable=False),
        sa.Column("constructor_id", sa.Text(), nullable=False),
        sa.Column("to_round", sa.Integer()),
        sa.CheckConstraint(
            "from_round > 0 AND (to_round IS NULL OR to_round >= from_round)", name=op.f("ck_stints_rounds")
        ),
        sa.ForeignKeyConstraint(
            ["season", "driver_id"],
            ["drivers.season", "drivers.driver_id"],
            name=op.f("fk_stints_season_driver_id_drivers"),
        ),
        sa.ForeignKeyConstraint(
            ["season", "constructor_id"],
            ["constructors.season", "constructors.constructor_id"],
            name=op.f("fk_stints_season_constructor_id_constructors"),
        ),
        sa.PrimaryKeyConstraint("season", "driver_id", "from_round", name=op.f("pk_stints")),
    )
    _results_and_books()
    _messages()


def _results_and_books() -> None:
    op.create_table(
        "results",
        sa.Column("race_id", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("result_version", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("classification", postgresql.JSONB(), nullable=False),
        sa.Column("observed_at", AT, nullable=False),
        sa.Column("body_hashes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.CheckConstraint("result_version > 0", name=op.f("ck_results_result_version")),
        sa.CheckConstraint("status IN ('provisional', 'final', 'amended')", name=op.f("ck_results_status")),
        sa.ForeignKeyConstraint(
            ["race_id", "session"],
            ["sessions.race_id", "sessions.kind"],
            name=op.f("fk_results_race_id_session_sessions"),
        ),
        sa.PrimaryKeyConstraint("race_id", "session", "result_version", name=op.f("pk_results")),
    )
    op.create_table(
        "raw_bodies",
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("fetched_at", AT, nullable=False),
        sa.PrimaryKeyConstraint("content_hash", name=op.f("pk_raw_bodies")),
    )
    op.create_table(
        "sync_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("started_at", AT, nullable=False),
        sa.Column("finished_at", AT, nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.CheckConstraint("outcome IN ('changed', 'unchanged', 'empty', 'failed')", name=op.f("ck_sync_runs_outcome")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sync_runs")),
    )
    op.create_index(op.f("ix_sync_runs_started_at"), "sync_runs", ["started_at"])


def _messages() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("traceparent", sa.Text()),
        sa.Column("slot", sa.Text()),
        sa.Column("created_at", AT, server_default=sa.func.now(), nullable=False),
        sa.Column("deliver_at", AT, server_default=sa.func.now(), nullable=False),
        sa.Column("published_at", AT),
        sa.Column("stream_seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("event_id", name=op.f("uq_outbox_event_id")),
    )
    waiting = sa.text("published_at IS NULL")
    op.create_index("ix_outbox_waiting", "outbox", ["id"], postgresql_where=waiting)
    op.create_index("uq_outbox_slot_waiting", "outbox", ["slot"], unique=True, postgresql_where=waiting)
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("received_at", AT, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("consumer", "event_id", name=op.f("pk_inbox")),
    )
    op.create_index(op.f("ix_inbox_received_at"), "inbox", ["received_at"])


def downgrade() -> None:
    for table in (
        "inbox",
        "outbox",
        "sync_runs",
        "raw_bodies",
        "results",
        "stints",
        "constructors",
        "drivers",
        "sessions",
        "races",
        "seasons",
    ):
        op.drop_table(table)
