"""Real programs as test peers: bound to loopback, ready before use, gone afterwards even when the tests are killed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

PR_SET_PDEATHSIG = 1
Argument = str | Path
NOBODY = "nobody"  #: some servers refuse to run as root


def find_free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A free loopback port for a server that cannot choose its own."""
    return find_free_port()


def answers(port: int) -> bool:
    """Whether somebody listens on this loopback port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False


def wait_until(ready: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Poll until `ready`; AssertionError naming `what` when it takes longer."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"{what} not within {seconds} s"
        time.sleep(0.02)


@contextlib.contextmanager
def running(
    command: Sequence[Argument],
    ready: Callable[[], bool],
    *,
    log: Path,
    user: str | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    environment: Mapping[str, str] | None = None,
    patience: float = 20.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program, wait until it is ready, stop it by its own process id on the way out.

    `patience` is how many seconds it may take to become ready, and to end. Its output goes to `log`, which an early
    death prints. It gets SIGTERM when this process dies (Linux).
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=user,
            env={**os.environ, **(environment or {})},
            preexec_fn=_die_with_parent,
        )
    try:
        wait_until(lambda: _alive(process, log) and ready(), f"{command[0]} ready", patience)
        yield process
    finally:
        _stop(process, stop_signal, patience)


def _alive(process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, f"ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}"
    return True


def _stop(process: subprocess.Popen[bytes], stop_signal: signal.Signals, patience: float) -> None:
    process.send_signal(stop_signal)
    try:
        process.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=10)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
