"""What one server received: appended to a JSONL file, line by line, with a bounded index in memory for the page.

The file is the witness that checks read; the index keeps only what the list shows and where each line lies.
"""

from __future__ import annotations

import json
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

KEEP = 5_000  #: entries the page can show
LARGEST = 128_000_000  #: bytes; then the file becomes `<name>.1.jsonl` and a new one begins
SEARCHED = 2_000  #: characters of an entry that the search looks at
CHUNK = 65_536  #: bytes read at once while looking for the last whole line
SHOWN = 200  #: characters of a title, recipient or note in the list

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
        return None if entry is None else self._read(entry)

    def records(self, most: int) -> Iterator[Record]:
        """The newest records, the oldest of them first."""
        entries = list(islice(self.newest_first(), most))
        return (record for entry in reversed(entries) if (record := self._read(entry)) is not None)

    def _read(self, entry: Entry) -> Record | None:
        try:
            with (self._path if entry.generation == self._generation else self._older).open("rb") as file:
                file.seek(entry.offset)
                return dict(json.loads(file.read(entry.length)))
        except (OSError, ValueError):  # somebody emptied the folder meanwhile
            return None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> None:
        # Mails hold live links: nobody else on this machine may read them.
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.fchmod(descriptor, 0o600)  # also when the file is older than this rule
        self._file = os.fdopen(descriptor, "ab")
        self._size = _whole_lines(self._path)
        self._file.truncate(self._size)

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
            id_, at = str(record["id"]), str(record["received_at"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return  # not a line of ours
        haystack = f"{summary.title} {summary.who} {summary.search}"[:SEARCHED].casefold()
        self._entries.append(Entry(id_, at, _shortened(summary), haystack, generation, offset, len(line)))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if path.exists():
        with path.open("rb") as file:
            offset = 0
            for line in file:
                yield offset, line
                offset += len(line)


def _whole_lines(path: Path) -> int:
    """Size of the file without half a line left by a crash: its sender was never told that we had it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for end in range(size, 0, -CHUNK):
            start = max(0, end - CHUNK)
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                return start + found + 1
    return 0


def _shortened(summary: Summary) -> Summary:
    return replace(summary, title=summary.title[:SHOWN], who=summary.who[:SHOWN], note=summary.note[:SHOWN], search="")
