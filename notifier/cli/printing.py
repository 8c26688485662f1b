"""How the command line prints: sentences, tables, JSON; foreign data escaped so that it cannot steer a terminal."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def safe(value: Any) -> str:
    """Return text without control and bidirectional override characters, and without markup of ours."""
    text = "" if value is None else str(value)
    kept = "".join(char if char == "\n" or unicodedata.category(char) not in ("Cc", "Cf") else "�" for char in text)
    return escape(kept)


def say(text: str) -> None:
    """Print a sentence of our own (may hold markup)."""
    console.print(text)


def print_json(value: Any) -> None:
    """Print JSON for scripts: ASCII only, so that nothing in it can steer a terminal."""
    typer.echo(json.dumps(value, ensure_ascii=True, indent=2, default=str))


def print_table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows of foreign data."""
    table = Table(title=title, title_justify="left", show_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(safe(row.get(column)) for column in columns))
    console.print(table)


def complain(text: str) -> None:
    """Print what is wrong to stderr."""
    errors.print(f"[red]error:[/red] {safe(text)}")


def fail(text: str, code: int = 1) -> NoReturn:
    """Print what is wrong to stderr and leave with that code."""
    complain(text)
    raise typer.Exit(code)
