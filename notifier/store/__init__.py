"""The store: SQLAlchemy Core over SQLite (default) and PostgreSQL. Synchronous; knows nothing of channels or web."""

from notifier.store.migrating import migrate, newest_schema
from notifier.store.session import SqlStore, open_store

__all__ = ["SqlStore", "migrate", "newest_schema", "open_store"]
