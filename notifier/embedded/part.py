"""One part of the system as a supervised process: what it is, started, looked at, ended.

A part is a command and an environment and nothing more, so that production can run the same thing without this
package, and tests can use small scripts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from notifier.embedded.folder import Folder
from notifier.embedded.identity import MARK, Identity, remove_pid_file, start_time
from notifier.embedded.leftovers import kill_all

LARGEST_LOG = 20_000_000  #: bytes; then the older half of a log's life moves to `<part>.1.log`


def at_once() -> bool:
    """Ready as soon as it runs."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What to run, and how to know that it works."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)  #: the whole of it; holds secrets
    #: Asked until it says yes; must return within a second or so and not raise.
    ready: Callable[[], bool] = at_once
    ready_within: float = 30.0  #: seconds
    #: Runs once and must succeed before the next part starts (the schema migration).
    once: bool = False
    #: Starts without waiting for the part before it.
    alongside: bool = False
    #: Seconds between SIGTERM and SIGKILL.
    grace: float = 10.0
    #: Ports on 127.0.0.1 it will listen on, by what they are for.
    ports: Mapping[str, int] = field(default_factory=dict)
    #: Shown when it is ready.
    address: str = ""


class Process:
    """The running (or dead) process of a part."""

    def __init__(self, part: Part, folder: Folder, run_id: str) -> None:
        self.part = part
        self.log = folder.logs / f"{part.name}.log"
        self.started_at = 0.0  #: monotonic
        self.ready = False
        self._pid_file = folder.run / f"{part.name}.pid"
        self._mark = f"{run_id}.{part.name}"
        self._process: subprocess.Popen[bytes] | None = None
        self._identity = Identity(0, "", self._mark)

    def start(self) -> None:
        """Start it, in a session of its own so that the terminal's Ctrl-C reaches the supervisor alone."""
        wrapper = [sys.executable, "-m", "notifier.embedded.child", str(self._pid_file), str(os.getpid())]
        self.trim_log()
        with os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            self._process = subprocess.Popen(
                [*wrapper, *self.part.command],
                env={**self.part.environment, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._identity = Identity(self._process.pid, start_time(self._process.pid) or "", self._mark)
        self.started_at, self.ready = time.monotonic(), False

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        """Exit code; negative = the signal that ended it; None = running or never started."""
        return self._process.poll() if self._process is not None else None

    def look(self) -> bool:
        """Ask whether it works, if that is not known yet; True at the moment it becomes ready."""
        if self.ready or (self.part.once and self.code != 0) or not (self.alive or self.part.once):
            return False
        self.ready = self.part.once or self.part.ready()
        return self.ready

    def ask_to_end(self) -> None:
        """SIGTERM to the part alone: it knows how to end what it started."""
        if self.alive and self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def clean_up(self) -> None:
        """Kill what is left of it, grandchildren too, and forget it."""
        kill_all(self._identity)
        if self._process is not None:
            self._process.wait()
        remove_pid_file(self._pid_file, self._identity)

    def trim_log(self) -> None:
        """Keep the log bounded while it is being written to (the writer appends, so emptying it is safe)."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > LARGEST_LOG:
                _move_content(self.log, self.log.with_suffix(".1.log"))

    def last_lines(self, count: int = 8) -> list[str]:
        """The end of its log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 8_000))
                return file.read().decode("utf-8", "replace").splitlines()[-count:]
        except OSError:
            return []


def _move_content(log: Path, older: Path) -> None:
    with log.open("rb") as source, older.open("wb") as target:
        older.chmod(0o600)
        while chunk := source.read(1_000_000):
            target.write(chunk)
    os.truncate(log, 0)
