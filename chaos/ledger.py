"""Ledgers: files of JSON lines, each written and flushed before what it records is answered or relied on."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Ledger:
    """One writer's file; every line carries the time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, **facts: Any) -> None:
        """Append a line. It is in the kernel's hands when this returns, so a kill of the writer loses nothing."""
        self._file.write(json.dumps({"t": time.time(), **facts}, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Tail:
    """Reads what a ledger gained since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def more(self) -> list[Line]:
        """Complete new lines."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            found = file.read()
        whole = found[: found.rfind(b"\n") + 1]
        self._position += len(whole)
        return [json.loads(line) for line in whole.splitlines()]
