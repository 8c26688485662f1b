"""Becomes a part: asks the kernel to be told when the supervisor dies, records itself, then runs the part's command.

A small program between supervisor and part, because the same between fork and exec would not be safe in a process
with threads. Exec keeps the process id, its start time and the parent-death signal.

    python -m notifier.embedded.child PID_FILE SUPERVISOR_PID COMMAND...
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

from notifier.embedded.identity import MARK, identify, write_pid_file

PR_SET_PDEATHSIG = 1  #: linux/prctl.h


def main(pid_file: str, supervisor: str, *command: str) -> None:
    """Never returns."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(supervisor):
        sys.exit("the supervisor died before this part could start")
    write_pid_file(Path(pid_file), identify(os.getpid(), os.environ[MARK]))
    os.execvp(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main(*sys.argv[1:])
