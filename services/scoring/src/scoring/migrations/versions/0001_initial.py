"""The first tables of scoring."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "dirty_rounds",
    "prices",
    "standings",
    "scored_rounds",
    "ledger",
    "league_members",
    "leagues",
    "lineups",
    "teams",
    "assets",
    "results",
    "round_locks",
    "rounds",
    "seasons",
    "inbox",
    "outbox",
)
ASSET_KINDS = "kind IN ('driver', 'constructor')"
SESSIONS = "session IN ('qualifying', 'sprint', 'race')"


def upgrade() -> None:
    _messaging()
    _race_facts()
    _team_facts()
    _scores()


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)


def _messaging() -> None:
    now = sa.text("now()")
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("traceparent", sa.Text),
        sa.Column("slot", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.Column("deliver_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.Column("stream_seq", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("event_id", name="uq_outbox_event_id"),
    )
    waiting = sa.text("published_at IS NULL")
    op.create_index("ix_outbox_waiting", "outbox", ["id"], postgresql_where=waiting)
    op.create_index("uq_outbox_slot_waiting", "outbox", ["slot"], unique=True, postgresql_where=waiting)
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text, nullable=False),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("consumer", "event_id", name="pk_inbox"),
    )
    op.create_index("ix_inbox_received_at", "inbox", ["received_at"])


def _race_facts() -> None:
    op.create_table(
        "seasons",
        sa.Column("season", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("season_version", sa.Integer, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("stints", postgresql.JSONB, nullable=False),
        sa.PrimaryKeyConstraint("season", name="pk_seasons"),
    )
    op.create_table(
        "rounds",
        sa.Column("race_id", sa.Text, nullable=False),
        sa.Column("season", sa.Integer, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sessions", postgresql.ARRAY(sa.Text), nullable=False),
        sa.PrimaryKeyConstraint("race_id", name="pk_rounds"),
        sa.UniqueConstraint("season", "round", name="uq_rounds_season_round"),
    )
    op.create_table(
        "round_locks",
        sa.Column("race_id", sa.Text, nullable=False),
        sa.Column("season", sa.Integer, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("locked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("race_id", name="pk_round_locks"),
    )
    op.create_index("ix_round_locks_season_round", "round_locks", ["season", "round"])
    op.create_table(
        "results",
        sa.Column("race_id", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("season", sa.Integer, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("result_version", sa.Integer, nullable=False),
        sa.Column("classification", postgresql.JSONB, nullable=False),
        sa.PrimaryKeyConstraint("race_id", "session", name="pk_results"),
        sa.CheckConstraint(SESSIONS, name="session"),
    )
    op.create_index("ix_results_season", "results", ["season"])


def _team_facts() -> None:
    op.create_table(
        "assets",
        sa.Column("slot", sa.Integer, sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("asset_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("slot", name="pk_assets"),
        sa.UniqueConstraint("kind", "asset_id", name="uq_assets_kind_asset_id"),
        sa.CheckConstraint(ASSET_KINDS, name="kind"),
    )
    op.create_table(
        "teams",
        sa.Column("team_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("season", sa.Integer, nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("team_id", name="pk_teams"),
    )
    op.create_index("ix_teams_season_name_team_id", "teams", ["season", "name", "team_id"])
    op.create_table(
        "lineups",
        sa.Column("team_id", sa.Uuid, nullable=False),
        sa.Column("lineup_version", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("season", sa.Integer, nullable=False),
        sa.Column("effective_round", sa.Integer, nullable=False),
        sa.Column("slots", postgresql.ARRAY(sa.Integer), nullable=False),
        sa.PrimaryKeyConstraint("team_id", "lineup_version", name="pk_lineups"),
    )
    op.create_table(
        "leagues",
        sa.Column("league_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("season", sa.Integer, nullable=False),
        sa.Column("private", sa.Boolean, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.PrimaryKeyConstraint("league_id", name="pk_leagues"),
    )
    op.create_index("ix_leagues_season", "leagues", ["season"])
    op.create_table(
        "league_members",
        sa.Column("league_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("team_id", sa.Uuid),
        sa.Column("membership_version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("league_id", "user_id", name="pk_league_members"),
    )


def _scores() -> None:
    op.create_table(
        "ledger",
        sa.Column("season", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("round", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("asset_id", sa.Text, nullable=False),
        sa.Column("component", sa.Text, nullable=False),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.Column("points", sa.Integer, nullable=False),
        sa.Column("missing", sa.Boolean, nullable=False),
        sa.Column("explanation", sa.Text, nullable=False),
        sa.Column("rule_set", sa.Text, nullable=False),
        sa.Column("rule_hash", sa.Text, nullable=False),
        sa.Column("result_version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("season", "round", "session", "kind", "asset_id", "component", name="pk_ledger"),
        sa.CheckConstraint(ASSET_KINDS, name="kind"),
        sa.CheckConstraint(SESSIONS, name="session"),
    )
    op.create_table(
        "scored_rounds",
        sa.Column("season", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("round", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("race_id", sa.Text, nullable=False),
        sa.Column("score_version", sa.Integer, nullable=False),
        sa.Column("rule_set", sa.Text, nullable=False),
        sa.Column("rule_hash", sa.Text, nullable=False),
        sa.Column("sessions", postgresql.JSONB, nullable=False),
        sa.Column("final", sa.Boolean, nullable=False),
        sa.Column("teams", sa.Integer, nullable=False),
        sa.Column("points_mark", sa.Text, nullable=False),
        sa.Column("standings_mark", sa.Text, nullable=False),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("season", "round", name="pk_scored_rounds"),
        sa.CheckConstraint("score_version > 0", name="score_version"),
    )
    op.create_table(
        "standings",
        sa.Column("season", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("round", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("score_version", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("team_id", sa.Uuid, nullable=False),
        sa.Column("round_points", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("season", "round", "score_version", "team_id", name="pk_standings"),
    )
    place = ["season", "round", "score_version", "place"]
    op.create_index("ix_standings_season_round_score_version_place", "standings", place, unique=True)
    op.create_table(
        "prices",
        sa.Column("season", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("asset_id", sa.Text, nullable=False),
        sa.Column("price_version", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("effective_round", sa.Integer, nullable=False),
        sa.Column("price", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("season", "kind", "asset_id", "price_version", name="pk_prices"),
        sa.CheckConstraint(ASSET_KINDS, name="kind"),
        sa.CheckConstraint("price > 0", name="price"),
    )
    op.create_table(
        "dirty_rounds",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("season", sa.Integer, nullable=False),
        sa.Column("from_round", sa.Integer, nullable=False),
        sa.Column("marked_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="pk_dirty_rounds"),
    )
    op.create_index("ix_dirty_rounds_season_from_round", "dirty_rounds", ["season", "from_round"])
