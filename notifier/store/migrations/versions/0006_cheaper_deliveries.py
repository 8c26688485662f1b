"""Fewer index entries for each step of a delivery, and texts that are compared byte by byte.

An attempt's notification is known to exist when it is written: the foreign key looked, and locked, once more. What the
indexes found is found by others: rows of a session among the few that are claimed, notifications about an object by
its events, recent attempts by their ids.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.drop_index("ix_notifications_claimed", table_name="notifications")
    op.drop_index("ix_notifications_subject", table_name="notifications")
    op.drop_index("ix_attempts_open", table_name="attempts")
    op.drop_index("ix_attempts_finished", table_name="attempts")
    with op.batch_alter_table("attempts") as attempts:
        attempts.drop_constraint("fk_attempts_notification_id", type_="foreignkey")
    if op.get_bind().dialect.name == "postgresql":
        _compare_bytewise()


def _compare_bytewise() -> None:
    columns = sa.text(
        "SELECT table_name, column_name, character_maximum_length FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND data_type = 'character varying'"
        " AND table_name <> 'alembic_version' ORDER BY table_name, ordinal_position"
    )
    by_table: dict[str, list[str]] = {}
    for table, column, length in op.get_bind().execute(columns).all():
        change = f'ALTER COLUMN "{column}" TYPE varchar({length}) COLLATE "C"'
        by_table.setdefault(table, []).append(change)
    for table, changes in by_table.items():
        op.execute(f'ALTER TABLE "{table}" {", ".join(changes)}')
