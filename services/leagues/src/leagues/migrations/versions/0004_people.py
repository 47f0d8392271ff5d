"""People change their names, go, come back and are erased."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("users", "username", nullable=True)
    op.add_column("users", sa.Column("profile_version", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("users", sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    op.add_column("users", sa.Column("status_at", sa.DateTime(timezone=True)))
    op.add_column("users", sa.Column("erased", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_check_constraint(op.f("ck_users_erased"), "users", "NOT erased OR username IS NULL")


def downgrade() -> None:
    op.execute("DELETE FROM users WHERE username IS NULL")
    op.drop_constraint(op.f("ck_users_erased"), "users")
    for column in ("erased", "status_at", "active", "profile_version"):
        op.drop_column("users", column)
    op.alter_column("users", "username", nullable=False)
