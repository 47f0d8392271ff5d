"""Leagues, memberships, teams, line-ups and locks; projections of others' events; outbox and inbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "memberships",
    "leagues",
    "lineups",
    "teams",
    "locks",
    "users",
    "prices",
    "seats",
    "assets",
    "rounds",
    "seasons",
    "inbox",
    "outbox",
)


def upgrade() -> None:
    _messaging()
    _projections()
    _locks()
    _teams()
    _leagues()


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


def _projections() -> None:
    op.create_table(
        "seasons",
        sa.Column("season", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("season_version", sa.Integer(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("season", name=op.f("pk_seasons")),
    )
    op.create_table(
        "rounds",
        sa.Column("season", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("race_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sprint", sa.Boolean(), nullable=False),
        sa.Column("lock_session", sa.Text(), nullable=False),
        sa.Column("race_starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sessions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint("round > 0", name=op.f("ck_rounds_round")),
        sa.PrimaryKeyConstraint("season", "round", name=op.f("pk_rounds")),
        sa.UniqueConstraint("race_id", name=op.f("uq_rounds_race_id")),
    )
    op.create_table(
        "assets",
        sa.Column("season", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("asset_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.CheckConstraint("kind IN ('driver', 'constructor')", name=op.f("ck_assets_kind")),
        sa.PrimaryKeyConstraint("season", "kind", "asset_id", name=op.f("pk_assets")),
    )
    op.create_table(
        "seats",
        sa.Column("season", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("driver_id", sa.Text(), nullable=False),
        sa.Column("from_round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("constructor_id", sa.Text(), nullable=False),
        sa.Column("to_round", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("season", "driver_id", "from_round", "constructor_id", name=op.f("pk_seats")),
    )
    op.create_table(
        "prices",
        sa.Column("season", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("asset_id", sa.Text(), nullable=False),
        sa.Column("price_version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("effective_round", sa.Integer(), nullable=False),
        sa.Column("price", sa.Integer(), nullable=False),
        sa.CheckConstraint("price >= 0", name=op.f("ck_prices_price")),
        sa.PrimaryKeyConstraint("season", "kind", "asset_id", "price_version", name=op.f("pk_prices")),
    )
    op.create_table(
        "users",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_users")),
    )


def _locks() -> None:
    op.create_table(
        "locks",
        sa.Column("race_id", sa.Text(), nullable=False),
        sa.Column("season", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("lock_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("race_id", name=op.f("pk_locks")),
    )
    op.create_index(op.f("ix_locks_season"), "locks", ["season"])


def _teams() -> None:
    op.create_table(
        "teams",
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("season", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("lineup_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("char_length(name) BETWEEN 3 AND 100", name=op.f("ck_teams_name")),
        sa.CheckConstraint("lineup_version >= 0", name=op.f("ck_teams_lineup_version")),
        sa.CheckConstraint("slot BETWEEN 1 AND 3", name=op.f("ck_teams_slot")),
        sa.ForeignKeyConstraint(["season"], ["seasons.season"], name=op.f("fk_teams_season_seasons")),
        sa.PrimaryKeyConstraint("team_id", name=op.f("pk_teams")),
        sa.UniqueConstraint("team_id", "user_id", "season", name=op.f("uq_teams_team_id_user_id_season")),
        sa.UniqueConstraint("user_id", "season", "name", name=op.f("uq_teams_user_id_season_name")),
        sa.UniqueConstraint("user_id", "season", "slot", name=op.f("uq_teams_user_id_season_slot")),
    )
    op.create_table(
        "lineups",
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("lineup_version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("effective_round", sa.Integer(), nullable=False),
        sa.Column("drivers", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("constructors", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("cost", sa.Integer(), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("cardinality(drivers) = 5 AND cardinality(constructors) = 2", name=op.f("ck_lineups_size")),
        sa.CheckConstraint("cost BETWEEN 0 AND 1000", name=op.f("ck_lineups_cost")),
        sa.CheckConstraint(
            'drivers[1] COLLATE "C" < drivers[2] COLLATE "C" AND drivers[2] COLLATE "C" < drivers[3] COLLATE "C" '
            'AND drivers[3] COLLATE "C" < drivers[4] COLLATE "C" AND drivers[4] COLLATE "C" < drivers[5] COLLATE "C" '
            'AND constructors[1] COLLATE "C" < constructors[2] COLLATE "C"',
            name=op.f("ck_lineups_distinct"),
        ),
        sa.CheckConstraint("lineup_version > 0 AND effective_round > 0", name=op.f("ck_lineups_version")),
        sa.ForeignKeyConstraint(["team_id"], ["teams.team_id"], name=op.f("fk_lineups_team_id_teams")),
        sa.PrimaryKeyConstraint("team_id", "lineup_version", name=op.f("pk_lineups")),
    )


def _leagues() -> None:
    op.create_table(
        "leagues",
        sa.Column("league_id", sa.Uuid(), nullable=False),
        sa.Column("season", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("private", sa.Boolean(), nullable=False),
        sa.Column("max_members", sa.Integer(), nullable=True),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("code ~ '^[ABCDEFGHJKLMNPQRSTUVWXYZ23456789]{8}$'", name=op.f("ck_leagues_code")),
        sa.CheckConstraint("mode IN ('budget', 'draft')", name=op.f("ck_leagues_mode")),
        sa.CheckConstraint("NOT private OR max_members IS NOT NULL", name=op.f("ck_leagues_limit")),
        sa.CheckConstraint("char_length(description) <= 1000", name=op.f("ck_leagues_description")),
        sa.CheckConstraint("char_length(name) BETWEEN 3 AND 100", name=op.f("ck_leagues_name")),
        sa.CheckConstraint("max_members BETWEEN 2 AND 1000", name=op.f("ck_leagues_max_members")),
        sa.CheckConstraint(
            "members >= 0 AND (max_members IS NULL OR members <= max_members)", name=op.f("ck_leagues_capacity")
        ),
        sa.ForeignKeyConstraint(["season"], ["seasons.season"], name=op.f("fk_leagues_season_seasons")),
        sa.PrimaryKeyConstraint("league_id", name=op.f("pk_leagues")),
        sa.UniqueConstraint("code", name=op.f("uq_leagues_code")),
        sa.UniqueConstraint("league_id", "season", name=op.f("uq_leagues_league_id_season")),
    )
    op.create_index(
        "ix_leagues_public", "leagues", ["created_at", "league_id"], postgresql_where=sa.text("NOT private")
    )
    op.create_table(
        "memberships",
        sa.Column("league_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("season", sa.Integer(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=True),
        sa.Column("membership_version", sa.Integer(), nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("membership_version > 0", name=op.f("ck_memberships_membership_version")),
        sa.ForeignKeyConstraint(
            ["league_id", "season"],
            ["leagues.league_id", "leagues.season"],
            name=op.f("fk_memberships_league_id_season_leagues"),
        ),
        sa.ForeignKeyConstraint(
            ["team_id", "user_id", "season"],
            ["teams.team_id", "teams.user_id", "teams.season"],
            name=op.f("fk_memberships_team_id_user_id_season_teams"),
        ),
        sa.PrimaryKeyConstraint("league_id", "user_id", name=op.f("pk_memberships")),
    )
    op.create_index(op.f("ix_memberships_team_id"), "memberships", ["team_id"])
    op.create_index(op.f("ix_memberships_user_id_season"), "memberships", ["user_id", "season"])
