"""How the command line prints: sentences, tables, JSON; foreign data escaped so that it cannot steer a terminal."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

# Without emoji: ":100:" in a line number or a name is no picture.
console = Console(highlight=False, emoji=False)
errors = Console(stderr=True, highlight=False, emoji=False)

WIDE = 130  #: characters: a terminal that takes a table of ten columns

#: Unicode categories that steer a terminal or hide what is read: control, format (bidi), surrogates, private use, and
#: the two separators that some terminals take for line ends.
_STEERING = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def safe(value: Any) -> str:
    """Return one line of foreign text: no control or bidi characters, no line ends, no markup of ours."""
    return escape(_still("" if value is None else str(value), keep=""))


def say(text: str) -> None:
    """Print a sentence of our own (may hold markup), in one line however narrow the terminal."""
    console.print(text, soft_wrap=True)


def block(text: str) -> None:
    """Print foreign text of several lines as it is, except for what steers a terminal."""
    typer.echo(_still(text, keep="\n\t").rstrip("\n"))


def _still(text: str, keep: str) -> str:
    return "".join(char if char in keep or unicodedata.category(char) not in _STEERING else "�" for char in text)


def print_json(value: Any) -> None:
    """Print JSON for scripts: ASCII only, so that nothing in it can steer a terminal."""
    typer.echo(json.dumps(value, ensure_ascii=True, indent=2, default=str))


def print_table(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    narrow: Callable[[Mapping[str, Any]], Sequence[str]] | None = None,
) -> None:
    """Print rows of foreign data; on a narrow terminal, the lines that `narrow` makes of each (safe ones)."""
    table = Table(title=title, title_justify="left", show_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(safe(row.get(column)) for column in columns))
    if narrow is None or console.width >= WIDE:
        console.print(table)
        return
    for line in (safe(title), *(line for row in rows for line in narrow(row))):
        say(line)


def complain(text: str) -> None:
    """Print what is wrong to stderr."""
    errors.print(f"[red]error:[/red] {safe(text)}", soft_wrap=True)


def warn(text: str) -> None:
    """Print what may be wrong to stderr."""
    errors.print(f"[yellow]warning:[/yellow] {safe(text)}", soft_wrap=True)


def fail(text: str, code: int = 1) -> NoReturn:
    """Print what is wrong to stderr and leave with that code."""
    complain(text)
    raise typer.Exit(code)
