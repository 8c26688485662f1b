"""Whose turn it is to write to SQLite, which has one writer at a time and no queue for the others.

SQLite's own waiting sleeps longer and longer, up to 100 ms, while whoever has just committed is back at once: beside
a worker that routes one chunk after another the web process got a turn every few seconds. So waiting writers look
every half millisecond, and who writes one transaction after another (`give_way`) leaves a gap between them.
"""

from __future__ import annotations

import sqlite3
import time
from typing import cast

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

LOOK_EVERY = 0.0005  #: seconds
GAP = 4 * LOOK_EVERY
BEGIN = "BEGIN IMMEDIATE"


def begin_writing(connection: Connection, patience: float) -> None:
    """Begin a writing transaction, waiting at most `patience` seconds for others. Raises OperationalError."""
    driver = cast(sqlite3.Connection, connection.connection.driver_connection)
    driver.execute("PRAGMA busy_timeout=0")
    try:
        _take_turn(driver, time.monotonic() + patience)
    except sqlite3.OperationalError as error:
        raise OperationalError(BEGIN, None, error) from error
    finally:
        driver.execute(f"PRAGMA busy_timeout={round(patience * 1000)}")


def _take_turn(driver: sqlite3.Connection, end: float) -> None:
    while True:
        try:
            driver.execute(BEGIN)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(LOOK_EVERY)


def give_way() -> None:
    """Between two transactions of one and the same long work: let those who wait have their turn."""
    time.sleep(GAP)
