"""Outlives the supervisor by seconds: when that is gone, also by kill -9, no part and no grandchild stays.

The parent-death signal reaches only direct children, not a Celery pool. This process holds the reading end of a pipe
whose writing end only the supervisor has; end of file means that the supervisor is gone.

    python -m notifier.embedded.watchdog RUN_FOLDER RUN_ID      (the pipe is standard input)
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO

from notifier.embedded.leftovers import end_leftovers

GRACE = 3.0  #: seconds for parts to end by themselves once the supervisor is gone


def main(run: str, run_id: str) -> None:
    """Wait for the end of the supervisor, then end what it left."""
    sys.stdin.buffer.read()
    left = end_leftovers(Path(run), GRACE, run_id)
    if left:
        sys.stderr.write(f"the supervisor is gone; ended {', '.join(left)}\n")


class Watchdog:
    """The supervisor's side: keeps one watchdog running."""

    def __init__(self, run: Path, run_id: str, log: Path) -> None:
        self._command = [sys.executable, "-m", "notifier.embedded.watchdog", str(run), run_id]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def keep(self) -> None:
        """Start it, or start another one when it was killed."""
        if self._process is not None and self._process.poll() is None:
            return
        self._close()
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C and a closed terminal must not reach it.
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    def release(self) -> None:
        """Everything has ended in order: let it see the end of the pipe and go."""
        self._close()
        if self._process is not None:
            try:
                self._process.wait(timeout=GRACE + 5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _close(self) -> None:
        pipe: IO[bytes] | None = self._process.stdin if self._process is not None else None
        if pipe is not None:
            pipe.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
