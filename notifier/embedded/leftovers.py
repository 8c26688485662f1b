"""Ends what a killed supervisor left behind: its parts and all they started, by identity.

Used by the watchdog at once and by the next start, whichever comes first; both may do it at the same time.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from pathlib import Path

from notifier.embedded.identity import Identity, alive, processes_of, read_pid_files, remove_pid_file, send

STEP = 0.05  #: seconds between looks


def end_leftovers(run: Path, grace: float, run_id: str = "") -> list[str]:
    """Ask every recorded part to end, kill after `grace` seconds what has not; returns the names of those that lived.

    With `run_id` only parts of that run are meant: a watchdog must not touch the parts of the next start.
    """
    found = {path: i for path, i in read_pid_files(run).items() if i.mark.startswith(run_id)}
    living = [path.stem for path, identity in found.items() if processes_of(identity)]
    for identity in found.values():
        if alive(identity):
            send(identity.pid, signal.SIGTERM)
    _wait(found, grace)
    for path, identity in found.items():
        kill_all(identity)
        remove_pid_file(path, identity)
    return living


def kill_all(identity: Identity) -> None:
    """Kill the part and everything it started, also what is being started meanwhile."""
    for _ in range(100):
        left = processes_of(identity)
        if not left:
            return
        for pid in left:
            send(pid, signal.SIGKILL)
        time.sleep(STEP / 5)


def _wait(found: Mapping[Path, Identity], grace: float) -> None:
    deadline = time.monotonic() + grace
    while any(processes_of(i) for i in found.values()) and time.monotonic() < deadline:
        time.sleep(STEP)
