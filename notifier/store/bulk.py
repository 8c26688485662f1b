"""One statement for many rows, written once for both databases.

PostgreSQL gets the rows as arrays (`unnest`): one statement, one plan, one round trip, where executing it row by row
costs several times as much. SQLite, which is inside the process, gets them by `executemany`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Connection, Executable, bindparam, column, func
from sqlalchemy.types import TypeEngine

Source = Mapping[str, ColumnElement[Any]]


@dataclass(frozen=True)
class Bulk:
    """A statement over rows of values.

    `columns` names and types the values of a row. `build` gets a column for each name, true for one row (SQLite) or
    for all of them (PostgreSQL), and returns the statement. It is built once per database.
    """

    columns: Mapping[str, TypeEngine[Any]]
    build: Callable[[Source], Executable]
    _built: dict[str, Executable] = field(default_factory=dict)

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute it for these rows, which have a value for every column."""
        if not rows:
            return
        if connection.dialect.name == "postgresql":
            arrays = {name: [row[name] for row in rows] for name in self.columns}
            connection.execute(self._statement("postgresql", self._unnested), arrays)
        else:
            connection.execute(self._statement("sqlite", self._bound), list(rows))

    def _statement(self, database: str, source: Callable[[], Source]) -> Executable:
        if database not in self._built:
            self._built[database] = self.build(source())
        return self._built[database]

    def _unnested(self) -> Source:
        arrays = [bindparam(name, type_=ARRAY(kind)) for name, kind in self.columns.items()]
        names = [column(name, kind) for name, kind in self.columns.items()]
        return dict(func.unnest(*arrays).table_valued(*names, name="given").render_derived().c.items())

    def _bound(self) -> Source:
        return {name: bindparam(name, type_=kind) for name, kind in self.columns.items()}
