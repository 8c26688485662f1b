"""What one server received: appended to a JSONL file, line by line, with a bounded index in memory for the page.

The file is the witness that checks read; the index keeps only what the list shows and where each line lies.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEEP = 5_000  #: entries the page can show
LARGEST = 128_000_000  #: bytes; then the file becomes `<name>.1.jsonl` and a new one begins
SEARCHED = 2_000  #: characters of an entry that the search looks at

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Summary:
    """An entry in the list."""

    title: str
    who: str  #: recipient: address, number or endpoint
    note: str = ""  #: short fact beside it
    good: bool = True  #: False = something to look at
    search: str = ""  #: further text to search


@dataclass(frozen=True, slots=True)
class Entry:
    """One received message: what the list shows, and where the rest lies."""

    id: str
    at: str  #: ISO 8601, UTC
    summary: Summary
    haystack: str
    generation: int
    offset: int
    length: int


class Journal:
    """One server's log. Not for several threads."""

    def __init__(
        self, path: Path, summarise: Callable[[Record], Summary], *, keep: int = KEEP, largest: int = LARGEST
    ) -> None:
        self._path = path
        self._older = path.with_name(f"{path.stem}.1.jsonl")
        self._summarise = summarise
        self._largest = largest
        self._entries: deque[Entry] = deque(maxlen=keep)
        self._generation = 1
        for generation, file in ((0, self._older), (1, self._path)):
            for offset, line in _lines(file):
                self._index(line, generation, offset)
        self._open()

    def append(self, record: Mapping[str, Any], at: str) -> str:
        """Write one record with an id of its own; returns the id."""
        if self._size >= self._largest:
            self._turn()
        id_ = secrets.token_hex(6)
        line = json.dumps({"id": id_, "received_at": at, **record}, ensure_ascii=True).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._index(line, self._generation, self._size)
        self._size += len(line)
        return id_

    def newest_first(self) -> Iterator[Entry]:
        """Every entry in the index."""
        return reversed(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, id_: str) -> Record | None:
        """The whole record, from the file; None when it is unknown or its file was dropped."""
        entry = next((entry for entry in self.newest_first() if entry.id == id_), None)
        if entry is None:
            return None
        with (self._path if entry.generation == self._generation else self._older).open("rb") as file:
            file.seek(entry.offset)
            return dict(json.loads(file.read(entry.length)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> None:
        # Mails hold live links: nobody else on this machine may read them.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "ab")
        self._size = self._path.stat().st_size

    def _turn(self) -> None:
        self._file.close()
        self._path.replace(self._older)
        kept = [entry for entry in self._entries if entry.generation == self._generation]
        self._entries = deque(kept, maxlen=self._entries.maxlen)
        self._generation += 1
        self._open()

    def _index(self, line: bytes, generation: int, offset: int) -> None:
        try:
            record = json.loads(line)
            summary = self._summarise(record)
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # half a line, left by a crash
        haystack = f"{summary.title} {summary.who} {summary.search}"[:SEARCHED].casefold()
        self._entries.append(
            Entry(record["id"], record["received_at"], summary, haystack, generation, offset, len(line))
        )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if path.exists():
        with path.open("rb") as file:
            offset = 0
            for line in file:
                yield offset, line
                offset += len(line)
