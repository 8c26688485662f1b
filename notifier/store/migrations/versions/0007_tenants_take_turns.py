"""Tenants take turns in routing: what waits is found by tenant."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.drop_index("ix_events_unrouted", table_name="events")
    unrouted = sa.text("routed_at IS NULL")
    op.create_index("ix_events_unrouted", "events", ["tenant", "id"], postgresql_where=unrouted, sqlite_where=unrouted)
