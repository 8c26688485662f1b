"""Create and upgrade the schema with Alembic. Safe when several processes do it at once."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from notifier.errors import StoreError
from notifier.store.session import make_engine, normal_url

FOLDER = Path(__file__).parent / "migrations"
LOCK = 0x6E6F7469  #: any fixed number: PostgreSQL's advisory lock of our migrations


def newest_schema() -> str | None:
    """The migration this code was written for."""
    return ScriptDirectory.from_config(_config(None)).get_current_head()


def migrate(url: str) -> str:
    """Bring the database to the newest schema; returns its name. Raises StoreError."""
    engine = make_engine(normal_url(url))
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                _on_sqlite(connection)
            else:
                with connection.begin():
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
                    command.upgrade(_config(connection), "head")
    except OSError as error:
        raise StoreError(str(error)) from error
    finally:
        engine.dispose()
    return newest_schema() or ""


def _on_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        command.upgrade(_config(connection), "head")
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
