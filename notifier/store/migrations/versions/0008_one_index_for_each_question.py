"""What waits for routing is asked for in two ways, and each has one index that can answer it."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _replace("ix_events_unrouted", ["tenant", "id"], "routed_at IS NULL AND id <> ''")
    _replace("ix_events_unrouted_subject", ["tenant", "subject", "sequence"], "routed_at IS NULL AND subject <> ''")


def _replace(name: str, columns: list[str], condition: str) -> None:
    only = sa.text(condition)
    op.drop_index(name, table_name="events")
    op.create_index(name, "events", columns, postgresql_where=only, sqlite_where=only)
