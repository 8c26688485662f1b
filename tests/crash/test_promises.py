"""The checker finds what it is there for: after a day without a kill each promise is broken by hand, in the rows or in
what the world outside has seen, and it must say so. Else the kills prove nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from notifier.store import SqlStore, open_store
from tests.crash import promises
from tests.crash.outside import Journal
from tests.crash.world import World

#: What is done to the database, and the promise that is broken by it.
BREAKS = [
    # an event that was answered as accepted
    ("UPDATE events SET source_id = 'other' WHERE source_id = 'alert-1-open'", "P1"),
    # the number of a subject, the order of an event
    ("UPDATE subjects SET sequence = 0 WHERE subject = 'alert/1'", "P1"),
    ("UPDATE orders SET number = '7' WHERE number = '1044'", "P1"),
    ("UPDATE config_versions SET text = ''", "P1"),
    ("UPDATE notifications SET status = 'sent' WHERE channel = 'sms'", "P1"),
    # a notification, its message, its purpose
    ("UPDATE notifications SET channel = 'sms' WHERE channel = 'email' AND subject = 'alert/2'", "P2"),
    ("UPDATE notifications SET message_id = NULL WHERE subject = 'alert/1'", "P2"),
    ("UPDATE links SET notification_id = NULL", "P2"),
    # what is left lying about
    ("UPDATE events SET routed_at = NULL, routing_problem = NULL WHERE subject = 'alert/poison'", "P3"),
    ("UPDATE notifications SET status = 'due' WHERE subject = 'alert/1' AND channel = 'email'", "P3"),
    ("UPDATE notifications SET claimed_by = id WHERE subject = 'alert/1'", "P3"),
    ("UPDATE notifications SET status = 'expired' WHERE subject = 'alert/3'", "P3"),
    ("INSERT INTO workers SELECT id, '', 1, received_at, received_at FROM events LIMIT 1", "P3"),
    # sends that no attempt tells of, and attempts that nobody closes
    ("UPDATE attempts SET outcome = 'open' WHERE number = 2", "P4"),
    ("UPDATE attempts SET id = notification_id WHERE number = 2", "P4"),
    ("UPDATE attempts SET outcome = 'unknown', reason = 'worker_lost'", "P4"),
    # a decision beside its order, its event, its audit row; a wrong number
    ("UPDATE orders SET status = 'pending' WHERE number = '1042'", "P6"),
    ("UPDATE events SET source_id = id WHERE type = 'coolr.decision.recorded'", "P6"),
    ("UPDATE events SET source_id = id WHERE type = 'coolr.decision.undone'", "P6"),
    ("DELETE FROM audit WHERE action = 'decision.accept'", "P6"),
    ("DELETE FROM audit WHERE action = 'decision.undo'", "P6"),
    ("UPDATE order_numbers SET wrong = 2 WHERE wrong = 1", "P6"),
    ("UPDATE decisions SET undone_at = decided_at", "P6"),
]


@pytest.fixture(scope="module")
def day(furnished_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database and the journal of a day without a kill."""
    folder = tmp_path_factory.mktemp("day")
    shutil.copyfile(furnished_file, folder / "store.db")
    world = World(f"sqlite:///{folder}/store.db", folder / "journal")
    world.live()
    world.close()
    return folder


@pytest.fixture
def evening(day: Path, tmp_path: Path) -> Iterator[tuple[SqlStore, Journal]]:
    """A copy of it."""
    shutil.copytree(day, tmp_path / "copy")
    store = open_store(f"sqlite:///{tmp_path}/copy/store.db")
    yield store, Journal(tmp_path / "copy" / "journal")
    store.close()


def broken(evening: tuple[SqlStore, Journal]) -> set[str]:
    """The promises that the checker finds broken."""
    return {sentence[:2] for sentence in promises.kept_at_rest(*evening, kills=0)}


def test_a_day_without_a_kill_keeps_every_promise(evening: tuple[SqlStore, Journal]) -> None:
    assert promises.kept_at_rest(*evening, kills=0) == []


@pytest.mark.parametrize(("statement", "promise"), BREAKS, ids=lambda value: value[:40])
def test_what_is_broken_in_the_rows_is_found(evening: tuple[SqlStore, Journal], statement: str, promise: str) -> None:
    with evening[0].engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        assert connection.execute(text(statement)).rowcount
    assert promise in broken(evening)


@pytest.mark.parametrize("channel", ["email", "sms", "callback"])
def test_a_message_that_came_twice_is_found_p4(evening: tuple[SqlStore, Journal], channel: str) -> None:
    line = evening[1].of("received", channel=channel)[0]
    evening[1].add(**line)
    assert broken(evening) == {"P4"}


def test_a_repeat_that_looks_like_another_message_is_found_p4(evening: tuple[SqlStore, Journal]) -> None:
    line = evening[1].of("received", channel="callback")[0]
    evening[1].add(**(line | {"identity": "another"}))
    assert broken(evening) == {"P4"}


def test_a_batch_of_which_half_is_there_is_found_p1(evening: tuple[SqlStore, Journal]) -> None:
    evening[1].add("sent in", name="evening", ids=["alert-1-open", "alert-9-open"])
    assert broken(evening) == {"P1"}


def test_a_receipt_for_nothing_is_found_p6(evening: tuple[SqlStore, Journal]) -> None:
    evening[1].add("receipt", name="bob-is-late", done=True, error=None)
    assert {"P1", "P6"} <= broken(evening)


def test_reading_that_writes_is_found_p5(day: Path, tmp_path: Path) -> None:
    shutil.copytree(day, tmp_path / "copy")
    world = World(f"sqlite:///{tmp_path}/copy/store.db", tmp_path / "copy" / "journal")
    assert promises.kept_while_reading(world) == []
    opened = world.links.open_token

    def counted(token: str, host: str) -> object:
        with world.sql.engine.connect() as connection:
            connection.execute(text("UPDATE outlets SET city = city || '!'"))
        return opened(token, host)

    world.links = type("Counting", (), {"open_token": staticmethod(counted)})()
    assert promises.kept_while_reading(world) == ["P5: reading changed outlets"]
    world.close()
