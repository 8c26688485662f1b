"""Runs migrations on the connection that notifier.store.migrating hands over; it owns the transaction."""

from alembic import context

from notifier.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=False, render_as_batch=True)
context.run_migrations()
