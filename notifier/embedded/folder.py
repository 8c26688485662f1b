"""The data folder of an embedded system: where each thing lies, made readable by its owner only.

Logs of the outbox hold live links, so no other user of the machine may read them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Folder:
    """Paths inside one data folder. Made by `open_folder`."""

    root: Path

    @property
    def run(self) -> Path:
        """Process ids, ports, lock, socket: true while the system runs."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One log for each part."""
        return self.root / "logs"

    @property
    def outbox(self) -> Path:
        """What the outbox's servers received."""
        return self.root / "outbox"

    @property
    def valkey(self) -> Path:
        """The broker's append-only file."""
        return self.root / "valkey"

    @property
    def secrets(self) -> Path:
        """Random secrets of this installation."""
        return self.root / "secrets.json"

    @property
    def link_keys(self) -> Path:
        """Keys that sign links, one a line, newest last."""
        return self.root / "link-keys"

    @property
    def database(self) -> Path:
        """The SQLite database."""
        return self.root / "notifier.db"


def open_folder(path: Path) -> Folder:
    """Return the folder, made if need be; its parts are closed to other users. Raises OSError."""
    folder = Folder(path.absolute())
    for part in (folder.root, folder.run, folder.logs, folder.outbox, folder.valkey):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in (folder.run, folder.logs, folder.outbox, folder.valkey):
        part.chmod(0o700)  # the folder may be older than this rule; the root itself belongs to the user
    return folder


def write_private(path: Path, text: str) -> None:
    """Replace a file at once and whole, readable by its owner only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)
