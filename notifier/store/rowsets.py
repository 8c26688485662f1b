"""Many rows into one table by one statement on PostgreSQL: they go as one JSON text (`json_to_recordset`).

Row by row costs a bind and an execute for each; arrays (notifier.store.bulk) do not carry values that are lists.
SQLite, which is inside the process, takes rows one by one as cheaply as any other way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Dialect, Table

IGNORE = " ON CONFLICT DO NOTHING"
_prepared: dict[tuple[str, tuple[str, ...], str], Rowset] = {}


@dataclass(frozen=True, slots=True)
class Rowset:
    """An INSERT of any number of rows, and how each column's value is written."""

    statement: str
    columns: Mapping[str, Callable[[Any], Any] | None]

    def parameters(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """The rows as the statement's one parameter."""
        columns = self.columns.items()
        plain = [{name: write(row[name]) if write else row[name] for name, write in columns} for row in rows]
        return {"rows": json.dumps(plain, ensure_ascii=False, separators=(",", ":"))}


def rowset(dialect: Dialect, table: Table, names: Sequence[str], tail: str = "") -> Rowset:
    """Return the INSERT into these columns; `tail` says what becomes of rows that exist."""
    key = (table.name, tuple(names), tail)
    if key not in _prepared:
        types = {name: table.c[name].type for name in names}
        listed = ", ".join(names)
        declared = ", ".join(f"{name} {kind.compile(dialect)}" for name, kind in types.items())
        source = f"json_to_recordset(%(rows)s::json) AS given({declared})"
        statement = f"INSERT INTO {table.name} ({listed}) SELECT {listed} FROM {source}{tail}"  # noqa: S608  # our names
        writers = {name: kind.dialect_impl(dialect).bind_processor(dialect) for name, kind in types.items()}
        _prepared[key] = Rowset(statement, writers)
    return _prepared[key]


def replacing(names: Sequence[str], key: Sequence[str]) -> str:
    """The tail that replaces every other column of a row whose key exists."""
    rest = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key)
    return f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {rest}"
