"""Lanes take turns; events that routing cannot handle are set aside with the reason."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("lanes", sa.Column("claimed_at", sa.BigInteger(), nullable=True))
    op.add_column("events", sa.Column("routing_problem", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("reported_at", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_events_unrouted_subject",
        "events",
        ["tenant", "subject", "sequence"],
        sqlite_where=sa.text("routed_at IS NULL"),
        postgresql_where=sa.text("routed_at IS NULL"),
    )
    op.create_index(
        "ix_events_set_aside",
        "events",
        ["id"],
        sqlite_where=sa.text("routing_problem IS NOT NULL"),
        postgresql_where=sa.text("routing_problem IS NOT NULL"),
    )
