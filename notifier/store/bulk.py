"""One statement for many rows, written once for both databases.

PostgreSQL gets the rows as one JSON text (`json_to_recordset`): one statement, one plan, one round trip, where row by
row costs several times as much, and arrays cost the client more than all the rest. SQLite, which is inside the
process, gets them by `executemany`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, CursorResult, Executable, Text, bindparam, cast, column, func
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.types import TypeEngine

from notifier.store.types import UtcTime, to_micros

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

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> CursorResult[Any] | None:
        """Execute it for these rows, which have a value for every column; the result is PostgreSQL's to give."""
        if not rows:
            return None
        if connection.dialect.name == "postgresql":
            statement = self._statement("postgresql", self._recordset)
            return connection.execute(statement, {"rows": self._text(rows)})
        connection.execute(self._statement("sqlite", self._bound), list(rows))
        return None

    def _statement(self, database: str, source: Callable[[], Source]) -> Executable:
        if database not in self._built:
            self._built[database] = self.build(source())
        return self._built[database]

    def _text(self, rows: Sequence[Mapping[str, Any]]) -> str:
        moments = {name for name, kind in self.columns.items() if isinstance(kind, UtcTime)}
        plain = [name for name in self.columns if name not in moments]
        written = [
            {name: row[name] for name in plain}
            | {name: to_micros(row[name]) for name in moments if row[name] is not None}
            for row in rows
        ]
        return json.dumps(written, ensure_ascii=False, separators=(",", ":"))

    def _recordset(self) -> Source:
        names = [column(name, kind) for name, kind in self.columns.items()]
        rows = func.json_to_recordset(cast(bindparam("rows", type_=Text()), JSON))
        return dict(rows.table_valued(*names, name="given").render_derived(with_types=True).c.items())

    def _bound(self) -> Source:
        return {name: bindparam(name, type_=kind) for name, kind in self.columns.items()}
