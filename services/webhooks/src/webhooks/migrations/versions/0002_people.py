"""Endpoints of somebody who is gone get nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

REASONS = "disabled_reason IN ('owner', 'gone', 'failing')"


def upgrade() -> None:
    op.create_table(
        "people",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("status_at", sa.DateTime(timezone=True)),
        sa.Column("erased", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_people")),
    )
    op.drop_constraint(op.f("ck_endpoints_disabled_reason"), "endpoints")
    op.create_check_constraint(
        op.f("ck_endpoints_disabled_reason"),
        "endpoints",
        "disabled_reason IN ('owner', 'gone', 'failing', 'deactivated')",
    )


def downgrade() -> None:
    op.drop_table("people")
    op.execute("UPDATE endpoints SET disabled_reason = 'owner' WHERE disabled_reason = 'deactivated'")
    op.drop_constraint(op.f("ck_endpoints_disabled_reason"), "endpoints")
    op.create_check_constraint(op.f("ck_endpoints_disabled_reason"), "endpoints", REASONS)
