"""Delivery workers as real processes that are asked to stop, killed and stopped for a while in the middle of work.

The receiver counts by itself what reaches it; the database says how each try is told.
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
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from notifier.embedded.valkey import start_embedded_broker
from notifier.heartbeat import DEAD_AFTER
from notifier.store import SqlStore
from notifier.store.sessions import LOST
from notifier.testing import ACME, alert, credential, furnish, pipeline
from tests.peers.process import running, wait_until

pytestmark = pytest.mark.processes

SLOTS = 20
ANSWER_AFTER = 0.08  #: seconds the receiver takes
RECOVERY = 30.0  #: seconds within which what a dead worker held goes out
STOPPED = 13.0  #: seconds, longer than DEAD_AFTER with a sweep
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
    """Takes callbacks, slowly, and counts them by id when they arrive."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        counted = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                with counted:
                    receiver.seen[self.headers["webhook-id"]] += 1
                time.sleep(ANSWER_AFTER)
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

    @property
    def requests(self) -> int:
        """How many came in all."""
        return sum(dict(self.seen).values())

    def close(self) -> None:
        """Stop."""
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

    def wait_for_all(self, count: int, seconds: float = 60.0) -> None:
        """Until so many are delivered."""
        wait_until(lambda: self.statuses() == {"delivered": count}, f"{count} delivered", seconds)

    def said(self, action: str) -> list[str]:
        """Log lines of all workers with this action."""
        return [line for log in self.logs for line in log.read_text().splitlines() if f'"{action}"' in line]

    def check_doubles(self) -> None:
        """What came twice has a try whose outcome was lost, or was told only after its session was buried (P4)."""
        tries: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows("attempts"):
            tries.setdefault(row["notification_id"], []).append(row)
        twice = {name for name, times in self.receiver.seen.items() if times > 1}
        for name in twice:
            assert len(tries[name]) >= self.receiver.seen[name], tries[name]
            assert any(row["outcome"] == "unknown" for row in tries[name]) or told_late(tries[name]), tries[name]
        assert len(twice) <= SLOTS


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
    for taken, signals in ((1, 1), (80, 1), (160, 2)):
        with scene.worker() as (process, _):
            wait_until(lambda taken=taken: scene.receiver.requests >= taken, f"{taken} requests")  # type: ignore[misc]
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
                time.sleep(0.02)  # two signals at one instant are one
            assert process.wait(timeout=30) == 0
        with scene.store.read() as tx:
            assert tx.sessions() == []
        assert set(scene.statuses()) <= {"due", "delivered"}
        assert scene.statuses()["due"] > 0
    with scene.worker():
        scene.wait_for_all(300)
    assert len(scene.receiver.seen) == 300
    assert set(scene.receiver.seen.values()) == {1}
    assert {row["outcome"] for row in scene.rows("attempts")} == {"sent"}


def test_a_worker_that_is_asked_to_stop_as_soon_as_its_session_began_leaves_none_behind(scene: Scene) -> None:
    with scene.worker() as (process, _):
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert time.monotonic() - begun < 10
    with scene.store.read() as tx:
        assert tx.sessions() == []


def test_what_a_killed_worker_held_goes_out_within_half_a_minute_p1_p4(scene: Scene) -> None:
    """Nothing is lost; what came twice was in a busy slot, and its first try says that nobody knows."""
    scene.fill(0, 200)
    with scene.worker() as (process, _):
        wait_until(lambda: scene.receiver.requests >= 60, "sixty requests")
        process.kill()
        process.wait(timeout=10)
    killed = time.monotonic()
    with scene.worker():
        scene.wait_for_all(200, RECOVERY + 15)
    assert time.monotonic() - killed < RECOVERY
    assert len(scene.receiver.seen) == 200
    scene.check_doubles()
    lost = [row for row in scene.rows("attempts") if row["outcome"] == "unknown"]
    assert len(lost) <= SLOTS
    assert len(lost) + 200 == len(scene.rows("attempts"))


def test_a_worker_that_was_stopped_for_a_while_goes_on_under_a_new_session_p1_p4(scene: Scene) -> None:
    """The other one takes over meanwhile; the stopped one sends nothing of what it still had in hand."""
    assert DEAD_AFTER.total_seconds() + 2 < STOPPED
    with scene.worker() as (process, log):
        with scene.worker():
            scene.fill(0, 300)
            wait_until(lambda: scene.receiver.requests >= 60, "sixty requests")
            scene.stop(process)
            stopped = time.monotonic()
            try:
                scene.wait_for_all(300)
                time.sleep(max(0.0, stopped + STOPPED - time.monotonic()))
            finally:
                os.kill(process.pid, signal.SIGCONT)
            wait_until(lambda: log.read_text().count("session_started") == 2, "its new session", 15)
        assert "session_lost" in log.read_text()
        assert len(scene.receiver.seen) == 300
        scene.check_doubles()
        told = Counter(row["outcome"] for row in scene.rows("attempts"))
        assert told["unknown"] <= SLOTS
        scene.fill(1000, 40)  # the other has left
        scene.wait_for_all(340)
        assert process.poll() is None
