"""Who took a decision back, and by which form."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("decisions", sa.Column("undone_by", sa.Text(), nullable=True))
    op.add_column("decisions", sa.Column("undone_via", sa.String(length=100), nullable=True))
    op.add_column("decisions", sa.Column("undo_nonce", sa.String(length=100), nullable=True))
    op.create_index(
        "uq_decisions_undo_nonce",
        "decisions",
        ["tenant", "order_id", "undo_nonce"],
        unique=True,
        sqlite_where=sa.text("undo_nonce IS NOT NULL"),
        postgresql_where=sa.text("undo_nonce IS NOT NULL"),
    )
