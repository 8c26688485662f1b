"""What every area of the repository stands on: the open connection, and the few differences of the two databases."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy import column as sql_column
from sqlalchemy.dialects import postgresql, sqlite

from notifier.store.rowsets import IGNORE, replacing, rowset

Item = TypeVar("Item")
MOST_VALUES = 400  #: values in one IN list, below SQLite's limit of parameters


class Base:
    """Holds the connection of the running transaction."""

    connection: Connection

    @property
    def on_postgresql(self) -> bool:
        """Whether this is PostgreSQL (else SQLite)."""
        return self.connection.dialect.name == "postgresql"

    def _insert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert; a row that exists already is an error."""
        if rows and self.on_postgresql:
            self._insert_rowset(table, rows)
        elif rows:
            self.connection.execute(table.insert(), list(rows))

    def insert_new(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert; rows that exist already (any unique key) are left alone."""
        if len(rows) > 1 and self.on_postgresql:
            self._insert_rowset(table, rows, IGNORE)
        elif rows:
            insert = postgresql.insert if self.on_postgresql else sqlite.insert
            self.connection.execute(insert(table).on_conflict_do_nothing(), list(rows))

    def upsert(self, table: Table, rows: Sequence[Mapping[str, Any]], key: Sequence[str]) -> None:
        """Insert, or replace every other column where the key exists."""
        if not rows:
            return
        insert = (postgresql.insert if self.on_postgresql else sqlite.insert)(table)
        rest = {name: insert.excluded[name] for name in rows[0] if name not in key}
        self.connection.execute(insert.on_conflict_do_update(index_elements=list(key), set_=rest), list(rows))

    def _upsert_each(self, table: Table, rows: Sequence[Mapping[str, Any]], key: Sequence[str]) -> None:
        """Insert or replace rows of which no two have the same key."""
        if rows and self.on_postgresql:
            self._insert_rowset(table, rows, replacing(list(rows[0]), key))
        else:
            self.upsert(table, rows, key)

    def _insert_rowset(self, table: Table, rows: Sequence[Mapping[str, Any]], tail: str = "") -> None:
        made = rowset(self.connection.dialect, table, list(rows[0]), tail)
        self.connection.exec_driver_sql(made.statement, made.parameters(rows))

    def _many(self, values: Sequence[str]) -> Any:
        """The parameter of `among`."""
        return list(values) if self.on_postgresql else json.dumps(list(values))

    def locked(self, query: Select[Any], *, skip: bool = False) -> Select[Any]:
        """Lock the rows read (PostgreSQL); SQLite's writing transaction is alone already.

        NO KEY UPDATE: a foreign key's check of the row (a notification inserted into a lane) neither waits for us
        nor makes others skip the row.
        """
        return locking(query, skip=skip, on_postgresql=self.on_postgresql)


def locking(query: Select[Any], *, on_postgresql: bool, skip: bool = False) -> Select[Any]:
    """The same for a statement that is built once (`Base.locked`)."""
    return query.with_for_update(skip_locked=skip, key_share=True) if on_postgresql else query


def among(column: ColumnElement[str], parameter: str, *, on_postgresql: bool) -> ColumnElement[bool]:
    """The column is one of the texts of a parameter (`Base._many`), however many: a statement is built only once."""
    if on_postgresql:
        return column == any_(bindparam(parameter, type_=ARRAY(Text)))
    given = func.json_each(bindparam(parameter, type_=Text)).table_valued("value")
    return column.in_(select(given.c.value))


def each_of(query: Select[Any], column: Column[str], parameter: str, *, on_postgresql: bool) -> Select[Any]:
    """The rows of a query of which the column is one of the texts of a parameter (`Base._many`), in no order.

    For a column at the end of an index. PostgreSQL is made to look up one text after the other: with no statistics yet
    of a tenant's rows it would rather read all of them, a hundred times slower than it thought.
    """
    if not on_postgresql:
        return query.where(among(column, parameter, on_postgresql=False))
    texts = bindparam(parameter, type_=ARRAY(Text))
    given = func.unnest(texts).table_valued(sql_column("text", Text)).render_derived(name="given")
    one = query.where(column == given.c.text).offset(literal_column("0", Integer))  # OFFSET: planned on its own
    found = one.correlate(given).lateral("found")
    return select(found).select_from(given).join(found, true())


def chunks(values: Sequence[Item], size: int = MOST_VALUES) -> Iterator[Sequence[Item]]:
    """Split a long list of values for IN."""
    return (values[start : start + size] for start in range(0, len(values), size))
