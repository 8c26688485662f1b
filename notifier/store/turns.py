"""Whose turn it is to write to SQLite, which has one writer at a time and no queue for the others.

SQLite's own waiting sleeps longer and longer, up to 100 ms, while whoever has just committed is back at once: beside
a worker that routes one chunk after another the web process got a turn every few seconds. So waiting writers look
every half millisecond; routing, for whose long transactions nobody waits, looks less often than those who are waited
for, and leaves a gap between them (`give_way`).
"""

from __future__ import annotations

import sqlite3
import time
from typing import cast

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from notifier.unit import CommitPoint

LOOK_EVERY = 0.0005  #: seconds
LOOK_AT_LEISURE = 8 * LOOK_EVERY
GAP = 4 * LOOK_EVERY
AT_LEISURE = frozenset({CommitPoint.ROUTE})
BEGIN = "BEGIN IMMEDIATE"


def begin_writing(connection: Connection, point: CommitPoint, patience: float) -> None:
    """Begin a writing transaction, waiting at most `patience` seconds for others. Raises OperationalError."""
    driver = cast(sqlite3.Connection, connection.connection.driver_connection)
    driver.execute("PRAGMA busy_timeout=0")
    try:
        look_every = LOOK_AT_LEISURE if point in AT_LEISURE else LOOK_EVERY
        _take_turn(driver, look_every, time.monotonic() + patience)
    except sqlite3.OperationalError as error:
        raise OperationalError(BEGIN, None, error) from error
    finally:
        driver.execute(f"PRAGMA busy_timeout={round(patience * 1000)}")


def _take_turn(driver: sqlite3.Connection, look_every: float, end: float) -> None:
    while True:
        try:
            driver.execute(BEGIN)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(look_every)


def give_way() -> None:
    """Between two transactions of one and the same long work: let those who wait have their turn."""
    time.sleep(GAP)
