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

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Executable,
    Text,
    and_,
    bindparam,
    cast,
    column,
    func,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.types import TypeEngine

from notifier.store.types import UtcTime, to_micros


class Source(dict[str, ColumnElement[Any]]):
    """A column for each name, true for one row (SQLite) or for all of them (PostgreSQL)."""

    def __init__(self, columns: Mapping[str, ColumnElement[Any]], *, many: bool) -> None:
        super().__init__(columns)
        self.keys_asked: set[str] = set()  #: names whose values are handed over as a list, too
        self._many = many

    def finds(self, key: Column[str], name: str) -> ColumnElement[bool]:
        """Whether a row of a table is the one that a value names.

        PostgreSQL hears it twice: of the join alone it may think, from the statistics of an empty table, that the
        whole table is read faster than a few keys.
        """
        if not self._many:
            return key == self[name]
        self.keys_asked.add(name)
        return and_(key == self[name], key == func.any(bindparam(f"{name}_keys", type_=ARRAY(key.type))))


@dataclass(frozen=True)
class Bulk:
    """A statement over rows of values.

    `columns` names and types the values of a row. `build` returns the statement over them. It is built once per
    database.
    """

    columns: Mapping[str, TypeEngine[Any]]
    build: Callable[[Source], Executable]
    _built: dict[str, tuple[Executable, Source]] = field(default_factory=dict)

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> CursorResult[Any] | None:
        """Execute it for these rows, which have a value for every column; the result is PostgreSQL's to give."""
        if not rows:
            return None
        if connection.dialect.name == "postgresql":
            statement, source = self._statement("postgresql", self._recordset)
            keys = {f"{name}_keys": [row[name] for row in rows] for name in source.keys_asked}
            return connection.execute(statement, {"rows": self._text(rows)} | keys)
        connection.execute(self._statement("sqlite", self._bound)[0], list(rows))
        return None

    def _statement(self, database: str, given: Callable[[], Source]) -> tuple[Executable, Source]:
        if database not in self._built:
            source = given()
            self._built[database] = self.build(source), source
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
        return Source(
            dict(rows.table_valued(*names, name="given").render_derived(with_types=True).c.items()), many=True
        )

    def _bound(self) -> Source:
        return Source({name: bindparam(name, type_=kind) for name, kind in self.columns.items()}, many=False)
