"""A timer that the relay has taken out of its slot can no longer be moved or cancelled."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outbox", sa.Column("claimed_at", sa.DateTime(timezone=True)))
    op.execute("UPDATE outbox SET claimed_at = published_at WHERE slot IS NOT NULL AND published_at IS NOT NULL")
    unclaimed = sa.text("published_at IS NULL AND claimed_at IS NULL")
    op.create_index("uq_outbox_slot_unclaimed", "outbox", ["slot"], unique=True, postgresql_where=unclaimed)
    op.drop_index("uq_outbox_slot_waiting", "outbox")


def downgrade() -> None:
    waiting = sa.text("published_at IS NULL")
    op.create_index("uq_outbox_slot_waiting", "outbox", ["slot"], unique=True, postgresql_where=waiting)
    op.drop_index("uq_outbox_slot_unclaimed", "outbox")
    op.drop_column("outbox", "claimed_at")
