"""Who is that process? A part is known by process id and start time, and what it started by a mark in the environment.

A process id alone is reused, a name is shared: neither is ever enough to end anything. The mark finds grandchildren
(a Celery pool) whose parent is gone; it is read from /proc, so elsewhere than on Linux only the part itself is found.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from notifier.embedded.folder import write_private

MARK = "NOTIFIER_PART"  #: environment variable with the mark: run id and name of the part
PROC = Path("/proc")
_STATE, _STARTED = 0, 19  #: fields of /proc/PID/stat, counted after the name


@dataclass(frozen=True, slots=True)
class Identity:
    """One start of one part."""

    pid: int
    started: str  #: boot and clock ticks (Linux), else the time `ps` prints
    mark: str


def identify(pid: int, mark: str) -> Identity:
    """Identity of a living process. Raises ProcessLookupError."""
    started = start_time(pid)
    if started is None:
        raise ProcessLookupError(pid)
    return Identity(pid, started, mark)


def start_time(pid: int) -> str | None:
    """When a living process started, comparable with itself only; None when it is gone or a zombie."""
    return _from_proc(pid) if PROC.joinpath("self").exists() else _from_ps(pid)


def _from_proc(pid: int) -> str | None:
    try:
        text = PROC.joinpath(str(pid), "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[_STATE] in "ZX" else f"{_boot()}:{fields[_STARTED]}"


def _boot() -> str:
    """Ticks start anew with each boot."""
    return PROC.joinpath("sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _from_ps(pid: int) -> str | None:
    found = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = found.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def alive(identity: Identity) -> bool:
    """Whether that very process lives, not another one with its number."""
    return start_time(identity.pid) == identity.started


def processes_of(identity: Identity) -> list[int]:
    """Process ids of the part and of everything it started."""
    found = {pid for pid in _marked(identity.mark) if start_time(pid) is not None}
    return sorted(found | {identity.pid} if alive(identity) else found)


def _marked(mark: str) -> Iterator[int]:
    wanted = f"{MARK}={mark}".encode()
    for entry in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            if wanted in entry.joinpath("environ").read_bytes().split(b"\0"):
                yield int(entry.name)


def send(pid: int, signal_number: int) -> None:
    """Send a signal; a process that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_number)


# -- process id files -------------------------------------------------------------------------------------------------


def write_pid_file(path: Path, identity: Identity) -> None:
    """Record a part that starts."""
    write_private(path, json.dumps(asdict(identity)))


def read_pid_files(run: Path) -> dict[Path, Identity]:
    """Every recorded part; a file that cannot be read as one is left out."""
    found = {}
    for path in sorted(run.glob("*.pid")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found[path] = Identity(**json.loads(path.read_text(encoding="utf-8")))
    return found


def remove_pid_file(path: Path, identity: Identity) -> None:
    """Remove the record of that start; a later start's stays."""
    recorded = read_pid_files(path.parent).get(path)
    if recorded is not None and (recorded.pid, recorded.mark) == (identity.pid, identity.mark):
        path.unlink(missing_ok=True)
