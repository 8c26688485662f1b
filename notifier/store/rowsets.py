"""Many rows into one table by one statement on PostgreSQL: they go as one JSON text (`json_to_recordset`).

Row by row costs a bind and an execute for each; arrays (notifier.store.bulk) do not carry values that are lists.
SQLite, which is inside the process, takes rows one by one as cheaply as any other way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Dialect, Table

IGNORE = " ON CONFLICT DO NOTHING"
Write = Callable[[Any], Any]
Columns = Mapping[str, Column[Any]]
_prepared: dict[tuple[str, tuple[str, ...], str], Rowset] = {}


@dataclass(frozen=True, slots=True)
class Rowset:
    """An INSERT of any number of rows, and how each column's value is written."""

    statement: str
    columns: Mapping[str, Write | None]

    def parameters(self, rows: Sequence[Mapping[str, Any]]) -> tuple[str]:
        """The rows as the statement's one parameter."""
        return (as_text(self.columns, rows),)


def rowset(dialect: Dialect, table: Table, names: Sequence[str], tail: str = "") -> Rowset:
    """Return the INSERT into these columns; `tail` says what becomes of rows that exist."""
    key = (table.name, tuple(names), tail)
    if key not in _prepared:
        columns = {name: table.c[name] for name in names}
        listed = ", ".join(names)
        source = recordset(dialect, 1, columns)
        statement = f"INSERT INTO {table.name} ({listed}) SELECT {listed} FROM {source}{tail}"  # noqa: S608  # our names
        _prepared[key] = Rowset(statement, writers(dialect, columns))
    return _prepared[key]


def recordset(dialect: Dialect, parameter: int, columns: Columns) -> str:
    """Rows handed over as the parameter of that number, to select from: what a table of these columns would hold."""
    declared = ", ".join(f"{name} {column.type.compile(dialect)}" for name, column in columns.items())
    return f"json_to_recordset(${parameter}::json) AS given_{parameter}({declared})"


def writers(dialect: Dialect, columns: Columns) -> dict[str, Write | None]:
    """How each column's value is written; None = as it is."""
    kinds = {name: column.type.dialect_impl(dialect) for name, column in columns.items()}
    return {name: kind.bind_processor(dialect) for name, kind in kinds.items()}


def as_text(columns: Mapping[str, Write | None], rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as one parameter."""
    plain = [{name: write(row[name]) if write else row[name] for name, write in columns.items()} for row in rows]
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def replacing(names: Sequence[str], key: Sequence[str]) -> str:
    """The tail that replaces every other column of a row whose key exists."""
    rest = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key)
    return f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {rest}"
