"""Lanes prove themselves: in-flight window, breaker, rows under way by lane; waiting is told from trying."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("lanes", sa.Column("in_flight_window", sa.Integer(), nullable=True))
    op.add_column("lanes", sa.Column("failures", sa.Integer(), server_default="0", nullable=False))
    op.add_column("notifications", sa.Column("waits", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "ix_notifications_in_flight",
        "notifications",
        ["lane_id"],
        sqlite_where=sa.text("status = 'claimed'"),
        postgresql_where=sa.text("status = 'claimed'"),
    )
