"""SQLite's one writer at a time: those who wait get their turn, and wait no longer than told."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest

from notifier.errors import StoreError
from notifier.store import SqlStore, session
from notifier.store.turns import give_way


def test_a_writer_gets_its_turn_beside_one_that_writes_without_end_p1(store: SqlStore) -> None:
    """As a web process beside a worker that routes a backlog: its own transactions must not wait for seconds."""
    stop, begun = threading.Event(), threading.Event()
    rival = SqlStore(store.url.render_as_string(hide_password=False))

    def without_end() -> None:
        while not stop.is_set():
            with rival.write() as tx:
                begun.set()
                tx.policy_version()
                time.sleep(0.02)  # what routing a chunk takes
            give_way()

    thread = threading.Thread(target=without_end)
    thread.start()
    try:
        assert begun.wait(10)
        waited = []
        for _ in range(20):
            began = time.monotonic()
            with store.write() as tx:
                tx.policy_version()
            waited.append(time.monotonic() - began)
    finally:
        stop.set()
        thread.join(10)
        rival.close()
    assert sorted(waited)[10] < 0.2


def test_who_waits_too_long_is_told_that_the_store_is_busy(
    migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only SQLite: PostgreSQL has as many writers as it likes."""
    shutil.copyfile(migrated_file, tmp_path / "store.db")
    monkeypatch.setattr(session, "BUSY_TIMEOUT", 0.1)
    store, rival = (SqlStore(f"sqlite:///{tmp_path / 'store.db'}") for _ in range(2))
    with rival.write(), pytest.raises(StoreError) as error, store.write():
        raise AssertionError("two writers at once")
    rival.close()
    assert error.value.conflict
    with store.write() as tx:  # and it can write again
        assert tx.policy_version() == 0
    store.close()
