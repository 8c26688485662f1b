"""What operators turn off; rows of an event type that is off are held."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "switches",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=100), nullable=False),
        sa.Column("channel", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=100), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_switches"),
        sa.UniqueConstraint("tenant", "channel", "kind", "endpoint", name="uq_switches_tenant_channel_kind_endpoint"),
    )
    held = sa.text("status = 'held'")
    op.create_index(
        "ix_notifications_held", "notifications", ["kind", "lane_id"], sqlite_where=held, postgresql_where=held
    )
    op.create_index(
        "ix_notifications_held_expiry", "notifications", ["expires_at"], sqlite_where=held, postgresql_where=held
    )
