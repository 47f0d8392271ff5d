"""Everything people expect of accounts: devices, locks, links by mail, preferences, pictures, tokens, admins, audit."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WHEN = sa.DateTime(timezone=True)
KEPT = sa.text("deleted_at IS NULL")
INDEXES = ("ix_users_search", "ix_users_created_at", "ix_users_deleted_at")
TABLES = (
    "audit",
    "registration_keys",
    "personal_access_tokens",
    "avatars",
    "league_members",
    "preferences",
    "mails",
    "one_time_tokens",
    "allowances",
    "familiar",
    "guards",
    "attempts",
)


def upgrade() -> None:
    _users()
    _admins()
    _sessions()
    _guards()
    _mails()
    _profiles()
    _tokens()
    _audit()


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_change()")
    op.execute("DELETE FROM sessions WHERE user_id IS NULL")
    op.drop_constraint(op.f("ck_sessions_owner"), "sessions")
    op.drop_column("sessions", "admin_id")
    op.alter_column("sessions", "user_id", nullable=False)
    for column in ("device", "address", "last_seen_at"):
        op.drop_column("sessions", column)
    op.drop_table("admins")
    op.drop_column("signing_keys", "signs_from")
    op.execute("DELETE FROM users WHERE deleted_at IS NOT NULL")
    for index in ("uq_users_username", "uq_users_email", "uq_users_phone", *INDEXES):
        op.drop_index(index, "users")
    op.create_index("uq_users_username", "users", [sa.literal_column("lower(username)")], unique=True)
    op.create_index("uq_users_email", "users", [sa.literal_column("lower(email)")], unique=True)
    op.drop_constraint(op.f("ck_users_phone"), "users")
    columns = ("phone", "updated_at", "version", "email_verified_at", "password_changed_at")
    for column in (*columns, "username_changed_at", "must_reset_password", "deactivated_at", "deleted_at"):
        op.drop_column("users", column)


def _users() -> None:
    now = sa.text("now()")
    op.add_column("users", sa.Column("phone", sa.Text()))
    op.add_column("users", sa.Column("updated_at", WHEN, server_default=now, nullable=False))
    op.add_column("users", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column("users", sa.Column("email_verified_at", WHEN))
    op.add_column("users", sa.Column("password_changed_at", WHEN))
    op.add_column("users", sa.Column("username_changed_at", WHEN))
    op.add_column("users", sa.Column("must_reset_password", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("users", sa.Column("deactivated_at", WHEN))
    op.add_column("users", sa.Column("deleted_at", WHEN))
    op.create_check_constraint(op.f("ck_users_phone"), "users", "phone ~ '^[+][1-9][0-9]{6,14}$'")
    op.drop_index("uq_users_username", "users")
    op.drop_index("uq_users_email", "users")
    _unique("users", "username", sa.literal_column("lower(username)"), KEPT)
    _unique("users", "email", sa.literal_column("lower(email)"), KEPT)
    op.create_index("uq_users_phone", "users", ["phone"], unique=True, postgresql_where=KEPT)
    op.create_index(
        "ix_users_search",
        "users",
        ["username", "full_name", "email"],
        postgresql_using="gin",
        postgresql_ops=dict.fromkeys(("username", "full_name", "email"), "extensions.gin_trgm_ops"),
    )
    op.create_index("ix_users_created_at", "users", ["created_at", "id"])
    op.create_index("ix_users_deleted_at", "users", ["deleted_at"], postgresql_where=sa.text("deleted_at IS NOT NULL"))
    op.add_column("signing_keys", sa.Column("signs_from", WHEN, server_default=now, nullable=False))


def _unique(table: str, name: str, expression: sa.ColumnElement[str], where: sa.TextClause | None = None) -> None:
    op.create_index(f"uq_{table}_{name}", table, [expression], unique=True, postgresql_where=where)


def _admins() -> None:
    op.create_table(
        "admins",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", WHEN, nullable=False),
        sa.Column("password_changed_at", WHEN),
        sa.Column("deactivated_at", WHEN),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_admins")),
    )
    _unique("admins", "username", sa.literal_column("lower(username)"))
    _unique("admins", "email", sa.literal_column("lower(email)"))


def _sessions() -> None:
    op.alter_column("sessions", "user_id", nullable=True)
    op.add_column("sessions", sa.Column("admin_id", sa.Uuid()))
    op.add_column("sessions", sa.Column("device", sa.Text()))
    op.add_column("sessions", sa.Column("address", sa.Text()))
    op.add_column("sessions", sa.Column("last_seen_at", WHEN, server_default=sa.text("now()"), nullable=False))
    op.create_foreign_key(
        op.f("fk_sessions_admin_id_admins"), "sessions", "admins", ["admin_id"], ["id"], ondelete="CASCADE"
    )
    op.create_check_constraint(op.f("ck_sessions_owner"), "sessions", "(user_id IS NULL) <> (admin_id IS NULL)")
    op.create_index(op.f("ix_sessions_admin_id"), "sessions", ["admin_id"])


def _guards() -> None:
    op.create_table(
        "guards",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid()),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("pending", sa.Integer(), nullable=False),
        sa.Column("last_at", WHEN, nullable=False),
        sa.Column("locked_until", WHEN),
        sa.PrimaryKeyConstraint("subject", "origin", name=op.f("pk_guards")),
    )
    op.create_index(op.f("ix_guards_last_at"), "guards", ["last_at"])
    op.create_index(op.f("ix_guards_user_id"), "guards", ["user_id"])
    op.create_table(
        "familiar",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("last_used_at", WHEN, nullable=False),
        _of_user("familiar"),
        sa.PrimaryKeyConstraint("user_id", "origin", name=op.f("pk_familiar")),
    )
    op.create_index(op.f("ix_familiar_last_used_at"), "familiar", ["last_used_at"])
    op.create_table(
        "allowances",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due", WHEN, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_allowances")),
        prefixes=["UNLOGGED"],
    )
    op.create_index(op.f("ix_allowances_due"), "allowances", ["due"])


def _of_user(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["user_id"], ["users.id"], name=op.f(f"fk_{table}_user_id_users"), ondelete="CASCADE"
    )


def _mails() -> None:
    op.create_table(
        "one_time_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("created_at", WHEN, nullable=False),
        sa.Column("expires_at", WHEN, nullable=False),
        sa.Column("used_at", WHEN),
        sa.CheckConstraint(
            "purpose IN ('verify_email', 'reset_password', 'change_email')", name=op.f("ck_one_time_tokens_purpose")
        ),
        sa.CheckConstraint("octet_length(token_hash) = 32", name=op.f("ck_one_time_tokens_token_hash")),
        _of_user("one_time_tokens"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_one_time_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_one_time_tokens_token_hash")),
    )
    op.create_index(op.f("ix_one_time_tokens_user_id"), "one_time_tokens", ["user_id"])
    op.create_index(op.f("ix_one_time_tokens_expires_at"), "one_time_tokens", ["expires_at"])
    op.create_index(
        "uq_one_time_tokens_live",
        "one_time_tokens",
        ["user_id", "purpose"],
        unique=True,
        postgresql_where=sa.text("used_at IS NULL"),
    )
    op.create_table(
        "mails",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid()),
        sa.Column("token_id", sa.Uuid()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.Column("created_at", WHEN, nullable=False),
        sa.Column("sent_at", WHEN),
        sa.Column("dropped_at", WHEN),
        sa.Column("dropped_because", sa.Text()),
        _of_user("mails"),
        sa.ForeignKeyConstraint(
            ["token_id"], ["one_time_tokens.id"], name=op.f("fk_mails_token_id_one_time_tokens"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mails")),
    )
    for column in ("user_id", "token_id", "created_at"):
        op.create_index(op.f(f"ix_mails_{column}"), "mails", [column])
    op.create_table(
        "attempts",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("since", WHEN, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("consumer", "event_id", name=op.f("pk_attempts")),
    )


def _profiles() -> None:
    op.create_table(
        "preferences",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("theme", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("profile_visibility", sa.Text(), nullable=False),
        sa.Column("show_email_to_league_members", sa.Boolean(), nullable=False),
        sa.Column("auto_pick_enabled", sa.Boolean(), nullable=False),
        sa.Column("auto_pick_strategy", sa.Text(), nullable=False),
        sa.Column("favorite_team", sa.Text()),
        sa.Column("favorite_driver", sa.Text()),
        sa.Column("notifications", postgresql.JSONB(), nullable=False),
        sa.Column("updated_at", WHEN, nullable=False),
        sa.CheckConstraint("theme IN ('light', 'dark', 'system')", name=op.f("ck_preferences_theme")),
        sa.CheckConstraint(
            "profile_visibility IN ('public', 'private', 'league_only')",
            name=op.f("ck_preferences_profile_visibility"),
        ),
        sa.CheckConstraint(
            "auto_pick_strategy IN ('highest_ranked', 'random', 'balanced')",
            name=op.f("ck_preferences_auto_pick_strategy"),
        ),
        _of_user("preferences"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_preferences")),
    )
    op.create_table(
        "league_members",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("league_id", sa.Uuid(), nullable=False),
        sa.Column("team_id", sa.Uuid()),
        sa.Column("membership_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "league_id", name=op.f("pk_league_members")),
    )
    op.create_index(op.f("ix_league_members_league_id"), "league_members", ["league_id"])
    op.create_table(
        "avatars",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("object_name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("created_at", WHEN, nullable=False),
        _of_user("avatars"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_avatars")),
        sa.UniqueConstraint("object_name", name=op.f("uq_avatars_object_name")),
    )


def _tokens() -> None:
    op.create_table(
        "personal_access_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", WHEN, nullable=False),
        sa.Column("expires_at", WHEN, nullable=False),
        sa.Column("last_used_at", WHEN),
        sa.Column("revoked_at", WHEN),
        sa.CheckConstraint("octet_length(token_hash) = 32", name=op.f("ck_personal_access_tokens_token_hash")),
        _of_user("personal_access_tokens"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_personal_access_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_personal_access_tokens_token_hash")),
    )
    op.create_index(op.f("ix_personal_access_tokens_user_id"), "personal_access_tokens", ["user_id"])
    op.create_index(op.f("ix_personal_access_tokens_expires_at"), "personal_access_tokens", ["expires_at"])
    op.create_index(
        "uq_personal_access_tokens_name",
        "personal_access_tokens",
        ["user_id", sa.literal_column("lower(name)")],
        unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.create_table(
        "registration_keys",
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", WHEN, nullable=False),
        sa.PrimaryKeyConstraint("key_hash", name=op.f("pk_registration_keys")),
    )
    op.create_index(op.f("ix_registration_keys_created_at"), "registration_keys", ["created_at"])


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", WHEN, nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid()),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Uuid()),
        sa.Column("address", sa.Text()),
        sa.Column("request_id", sa.Text()),
        sa.Column("trace_id", sa.Text()),
        sa.Column("before", postgresql.JSONB()),
        sa.Column("after", postgresql.JSONB()),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_hash")),
        sa.UniqueConstraint("previous_hash", name=op.f("uq_audit_previous_hash")),
    )
    for column in ("at", "actor_id", "action", "target_id"):
        op.create_index(op.f(f"ix_audit_{column}"), "audit", [column])
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'table % is only ever added to', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';"
        " END $$"
    )
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
