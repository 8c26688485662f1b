"""Finds the line of a dotted path in a TOML text: the parser of the standard library does not tell.

Good enough to point a person at the right line: table headers and keys at the beginning of a line are followed; for
what stands inside an inline table or a list, the line of its key is the answer.
"""

from __future__ import annotations

import re

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*(\"[^\"]+\"|[A-Za-z0-9_-]+)\s*=")


class Lines:
    """The line of every table and key of a text."""

    def __init__(self, text: str) -> None:
        self._found: dict[str, int] = {}
        counts: dict[str, int] = {}
        table = ""
        for number, line in enumerate(text.splitlines(), 1):
            header, key = _HEADER.match(line), _KEY.match(line)
            if header:
                table = _current(header[2].replace('"', "").replace(" ", ""), counts)
                if header[1] == "[[":
                    index = counts[table] = counts.get(table, -1) + 1
                    table = f"{table}[{index}]"
                self._found.setdefault(table, number)
            elif key:
                name = key[1].strip('"')
                self._found.setdefault(f"{table}.{name}".lstrip("."), number)

    def find(self, path: str) -> int:
        """The line of a path, else of the nearest thing around it; 1 when there is nothing."""
        while path:
            if path in self._found:
                return self._found[path]
            path = path[: path.rfind("[")] if path.endswith("]") else path.rpartition(".")[0]
        return 1


def _current(name: str, counts: dict[str, int]) -> str:
    """Inside [[a.b]] a header [a.b.c] belongs to the last a.b."""
    parts = name.split(".")
    path = ""
    for position, part in enumerate(parts):
        path = f"{path}.{part}".lstrip(".")
        if path in counts and position < len(parts) - 1:
            path = f"{path}[{counts[path]}]"
    return path
