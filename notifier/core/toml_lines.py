"""Finds the line of a dotted path in a TOML text: the parser of the standard library does not tell.

Good enough to point a person at the right line: table headers and keys at the beginning of a line are followed, dotted
and quoted ones too; for what stands inside an inline table or a list, the line of its key is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_NAME = r"(?:\"(?:[^\"\\]|\\.)*\"|'[^']*'|[A-Za-z0-9_-]+)"
_PATH = rf"{_NAME}(?:[ \t]*\.[ \t]*{_NAME})*"
_HEADER = re.compile(rf"^\s*(\[\[?)\s*({_PATH})\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(rf"^\s*({_PATH})\s*=(.*)$")
_PART = re.compile(_NAME)
_LONG = ('"""', "'''")


class Lines:
    """The line of every table and key of a text."""

    def __init__(self, text: str) -> None:
        self._found: dict[str, int] = {}
        counts: dict[str, int] = {}
        table = ""
        for number, line in _outside_long_texts(text):
            header, key = _HEADER.match(line), _KEY.match(line)
            if header:
                table = _current(_names(header[2]), counts)
                if header[1] == "[[":
                    index = counts[table] = counts.get(table, -1) + 1
                    table = f"{table}[{index}]"
                self._found.setdefault(table, number)
            elif key:
                path = table
                for name in _names(key[1]):
                    path = f"{path}.{name}".lstrip(".")
                    self._found.setdefault(path, number)

    def find(self, path: str) -> int:
        """The line of a path, else of the nearest thing around it; 1 when there is nothing."""
        while path:
            if path in self._found:
                return self._found[path]
            path = path[: path.rfind("[")] if path.endswith("]") else path.rpartition(".")[0]
        return 1


def _outside_long_texts(text: str) -> Iterator[tuple[int, str]]:
    """The numbered lines, without those that only go on with a multi-line text."""
    closing = ""
    for number, line in enumerate(text.split("\n"), 1):
        if closing:
            closing = "" if closing in line else closing
            continue
        yield number, line
        key = _KEY.match(line)
        value = key[2].strip() if key else ""
        if value[:3] in _LONG and value[:3] not in value[3:]:
            closing = value[:3]


def _names(path: str) -> list[str]:
    """The parts of a dotted path, without quotes."""
    return [part[1:-1] if part[0] in "\"'" else part for part in _PART.findall(path)]


def _current(parts: list[str], counts: dict[str, int]) -> str:
    """Inside [[a.b]] a header [a.b.c] belongs to the last a.b."""
    path = ""
    for position, part in enumerate(parts):
        path = f"{path}.{part}".lstrip(".")
        if path in counts and position < len(parts) - 1:
            path = f"{path}[{counts[path]}]"
    return path
