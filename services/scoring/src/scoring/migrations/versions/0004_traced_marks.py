"""A mark keeps the trace of what left it, so that the scoring it asks for belongs to that trace."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("dirty_rounds", sa.Column("traceparent", sa.Text()))


def downgrade() -> None:
    op.drop_column("dirty_rounds", "traceparent")
