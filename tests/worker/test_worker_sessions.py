"""Delivery workers as real processes that are asked to stop, killed and stopped for a while in the middle of work.

The receiver counts by itself what reaches it, and holds its answers back until a process is where it is to be hit: so
nothing here depends on how fast the machine is. The database says how each try is told.
"""

from __future__ import annotations

import base64
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from notifier.embedded.valkey import start_embedded_broker
from notifier.store import SqlStore
from notifier.store.sessions import LOST
from notifier.store.tables import notifications, workers
from notifier.testing import ACME, alert, credential, furnish, pipeline
from tests.peers.process import running, wait_until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

SLOTS = 20
RECOVERY = 30.0  #: seconds within which what a dead worker held goes out
HELD = 25.0  #: seconds for which an answer is held at most: less than a send may take
POLICY = """
[tenants.acme]
name = "Acme Beverages"
countries = ["ES"]
default = [{ to = "endpoint:erp" }]

[[tenants.acme.endpoints]]
name = "erp"
url = "http://127.0.0.1:PORT/hook"
secrets = ["env:ERP_SECRET"]
"""


def now() -> datetime:
    """Processes live in real time."""
    return datetime.now(UTC)


class Receiver:
    """Takes callbacks and counts them by id when they arrive; it may answer only so many, the others when let go."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.held: set[str] = set()  #: arrived, and waiting for their answers
        self._answers = float("inf")
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                receiver._take(self.headers["webhook-id"])
                with suppress(OSError):  # who asked is dead
                    self.send_response(204)
                    self.send_header("content-length", "0")
                    self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def _take(self, name: str) -> None:
        with self._changed:
            self.seen[name] += 1
            place = sum(self.seen.values())
            self.held.add(name)
            self._changed.wait_for(lambda: place <= self._answers, HELD)
            self.held.discard(name)

    def hold_after(self, answers: int) -> None:
        """Answer so many in all; whoever comes later waits."""
        self._answers = answers

    def wait_until_one_is_held(self) -> None:
        """A send is under way now, and stays so."""
        wait_until(lambda: self.requests > self._answers and bool(self.held), "a request that is held", 60)

    def let_go(self) -> None:
        """Answer everything from now on."""
        with self._changed:
            self._answers = float("inf")
            self._changed.notify_all()

    @property
    def requests(self) -> int:
        """How many came in all."""
        with self._changed:
            return sum(self.seen.values())

    def close(self) -> None:
        """Stop."""
        self.let_go()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@dataclass
class Scene:
    """A database, a broker, a receiver, and workers started on demand."""

    store: SqlStore
    folder: Path
    receiver: Receiver
    environment: dict[str, str]
    logs: list[Path] = field(default_factory=list)

    @contextmanager
    def worker(self) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """A delivery worker that has begun its session."""
        log = self.folder / f"deliver-{len(self.logs)}.log"
        self.logs.append(log)
        options = ["-P", "solo", "-Q", "deliver", "-n", f"deliver-{len(self.logs)}@test", "--without-mingle"]
        command = [sys.executable, "-m", "celery", "-A", "notifier.worker.app", "worker", *options]
        with running(
            command, lambda: "session_started" in log.read_text(), log=log, environment=self.environment, patience=60
        ) as process:
            yield process, log

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """SIGSTOP. On SQLite not inside a writing transaction: nobody can take that lock from a stopped process."""
        os.kill(process.pid, signal.SIGSTOP)
        while self.store.url.get_backend_name() == "sqlite" and not self.writable():
            os.kill(process.pid, signal.SIGCONT)
            time.sleep(0.01)
            os.kill(process.pid, signal.SIGSTOP)

    def writable(self) -> bool:
        """Whether SQLite's one writing lock becomes free within a moment."""
        with closing(sqlite3.connect(str(self.store.url.database), timeout=1, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            except sqlite3.OperationalError:
                return False
            return True

    def fill(self, first: int, count: int) -> None:
        """Route that many alerts, each with one callback."""
        pipe = pipeline(self.store, now)
        pipe.accept([alert(first + number, time=now()) for number in range(count)], credential())
        while pipe.route():
            pass

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Everything in a table."""
        with self.store.read() as tx:
            return [dict(row) for row in tx.list_rows(table, ACME, start=0, limit=2000, filters={})[0]]

    def statuses(self) -> Counter[str]:
        """Where the notifications stand."""
        return Counter(row["status"] for row in self.rows("notifications"))

    def busy(self, *processes: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """The one of these workers that waits for an answer."""
        waiting = notifications.c.id.in_(list(self.receiver.held)) & (notifications.c.claimed_by == workers.c.id)
        with self.store.engine.connect() as connection:
            pids = set(connection.scalars(select(workers.c.pid).where(waiting)))
        return next(process for process in processes if process.pid in pids)

    def wait_for_all(self, count: int, seconds: float = 120.0) -> None:
        """Until so many are delivered."""
        wait_until(lambda: self.statuses() == {"delivered": count}, f"{count} delivered", seconds)

    def check_doubles(self) -> None:
        """What came twice has a try whose outcome was lost, or was told only after its session was buried (P4)."""
        tries: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows("attempts"):
            tries.setdefault(row["notification_id"], []).append(row)
        twice = {name for name, times in self.receiver.seen.items() if times > 1}
        for name in twice:
            assert len(tries[name]) >= self.receiver.seen[name], tries[name]
            assert any(row["outcome"] == "unknown" for row in tries[name]) or told_late(tries[name]), tries[name]
        assert 0 < len(twice) <= SLOTS, "a send was under way, in at most one slot each"


def told_late(tries: list[dict[str, Any]]) -> bool:
    """Whether one was unknown until its outcome came after all."""
    return any(row["reason"] == LOST for row in tries)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One broker for all of these."""
    made = start_embedded_broker(tmp_path_factory.mktemp("broker") / "data")
    yield made.broker_url
    made.stop()


@pytest.fixture
def scene(store: SqlStore, store_url: str, broker: str, tmp_path: Path) -> Iterator[Scene]:
    """A configured system with nothing to do."""
    receiver = Receiver()
    furnish(store, POLICY.replace("PORT", str(receiver.port)), now())
    environment = {
        "NOTIFIER_DATABASE_URL": store_url,
        "NOTIFIER_BROKER_URL": broker,
        "NOTIFIER_LINK_KEYS": base64.urlsafe_b64encode(b"k" * 32).decode(),
        "NOTIFIER_CALLBACK_ALLOW": f"127.0.0.1:{receiver.port}",
        "NOTIFIER_SLOTS": str(SLOTS),
        "NOTIFIER_LOG_FORMAT": "json",
        "ERP_SECRET": "whsec_" + base64.b64encode(b"s" * 32).decode(),
    }
    yield Scene(store, tmp_path, receiver, environment)
    receiver.close()


def test_a_worker_that_is_asked_to_stop_at_any_time_loses_nothing_and_doubles_nothing_p1_p4(scene: Scene) -> None:
    """SIGTERM with the first send under way, in the middle, and twice in a row; a new worker goes on each time."""
    scene.fill(0, 300)
    for answered, signals in ((0, 1), (80, 1), (160, 2)):
        scene.receiver.hold_after(answered)
        with scene.worker() as (process, log):
            scene.receiver.wait_until_one_is_held()
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
                time.sleep(0.02)  # two signals at one instant are one
            wait_until(lambda log=log: '"drain"' in log.read_text(), "its draining", 30)  # type: ignore[misc]
            scene.receiver.let_go()
            assert process.wait(timeout=30) == 0
        with scene.store.read() as tx:
            assert tx.sessions() == []
        assert set(scene.statuses()) == {"due", "delivered"}
        assert answered < scene.statuses()["delivered"] <= answered + SLOTS, "what was under way, and nothing new"
    with scene.worker():
        scene.wait_for_all(300)
    assert len(scene.receiver.seen) == 300
    assert set(scene.receiver.seen.values()) == {1}
    assert {row["outcome"] for row in scene.rows("attempts")} == {"sent"}


def test_a_worker_that_is_asked_to_stop_as_soon_as_its_session_began_leaves_none_behind(scene: Scene) -> None:
    with scene.worker() as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    with scene.store.read() as tx:
        assert tx.sessions() == []


def test_what_a_killed_worker_held_goes_out_within_half_a_minute_p1_p4(scene: Scene) -> None:
    """Nothing is lost; what came twice was in a busy slot, and its first try says that nobody knows."""
    with scene.worker() as (one, _), scene.worker() as (other, _):
        scene.receiver.hold_after(60)
        scene.fill(0, 200)
        scene.receiver.wait_until_one_is_held()
        killed = scene.busy(one, other)
        killed.kill()
        killed.wait(timeout=10)
        begun = time.monotonic()
        scene.receiver.let_go()
        scene.wait_for_all(200, RECOVERY)
        assert time.monotonic() - begun < RECOVERY
    assert len(scene.receiver.seen) == 200
    scene.check_doubles()
    lost = [row for row in scene.rows("attempts") if row["outcome"] == "unknown"]
    assert len(lost) <= SLOTS
    assert len(lost) + 200 == len(scene.rows("attempts"))


def test_a_worker_that_was_stopped_for_a_while_goes_on_under_a_new_session_p1_p4(scene: Scene) -> None:
    """The other one takes over meanwhile; the stopped one sends nothing of what it still had in hand."""
    with scene.worker() as first, scene.worker() as second:
        scene.receiver.hold_after(60)
        scene.fill(0, 300)
        scene.receiver.wait_until_one_is_held()
        stopped = scene.busy(first[0], second[0])
        (process, log), (other, _) = (first, second) if stopped is first[0] else (second, first)
        scene.stop(process)
        try:
            scene.receiver.let_go()
            scene.wait_for_all(300)  # also what the stopped one held: it was buried
        finally:
            os.kill(process.pid, signal.SIGCONT)
        wait_until(lambda: log.read_text().count("session_started") == 2, "its new session", 30)
        assert "session_lost" in log.read_text()
        assert len(scene.receiver.seen) == 300
        scene.check_doubles()
        told = Counter(row["outcome"] for row in scene.rows("attempts"))
        assert told["unknown"] <= SLOTS
        other.send_signal(signal.SIGTERM)
        assert other.wait(timeout=30) == 0
        scene.fill(1000, 40)
        scene.wait_for_all(340)
        assert process.poll() is None
