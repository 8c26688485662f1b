"""What every area of the repository stands on: the open connection, and the few differences of the two databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Table
from sqlalchemy.dialects import postgresql, sqlite

Item = TypeVar("Item")
MOST_VALUES = 400  #: values in one IN list, below SQLite's limit of parameters


class Base:
    """Holds the connection of the running transaction."""

    connection: Connection

    @property
    def on_postgresql(self) -> bool:
        """Whether this is PostgreSQL (else SQLite)."""
        return self.connection.dialect.name == "postgresql"

    def insert_new(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert; rows that exist already (any unique key) are left alone."""
        if rows:
            insert = postgresql.insert if self.on_postgresql else sqlite.insert
            self.connection.execute(insert(table).on_conflict_do_nothing(), list(rows))

    def upsert(self, table: Table, rows: Sequence[Mapping[str, Any]], key: Sequence[str]) -> None:
        """Insert, or replace every other column where the key exists."""
        if not rows:
            return
        insert = (postgresql.insert if self.on_postgresql else sqlite.insert)(table)
        rest = {name: insert.excluded[name] for name in rows[0] if name not in key}
        self.connection.execute(insert.on_conflict_do_update(index_elements=list(key), set_=rest), list(rows))

    def locked(self, query: Select[Any], *, skip: bool = False) -> Select[Any]:
        """Lock the rows read (PostgreSQL); SQLite's writing transaction is alone already.

        NO KEY UPDATE: a foreign key's check of the row (a notification inserted into a lane) neither waits for us
        nor makes others skip the row.
        """
        return query.with_for_update(skip_locked=skip, key_share=True) if self.on_postgresql else query


def chunks(values: Sequence[Item], size: int = MOST_VALUES) -> Iterator[Sequence[Item]]:
    """Split a long list of values for IN."""
    return (values[start : start + size] for start in range(0, len(values), size))
