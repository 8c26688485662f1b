"""Transactions: one helper for writing, one for reading, the same on SQLite and PostgreSQL.

SQLite: WAL, synchronous=FULL, and every writing transaction begins IMMEDIATE, since a deferred one that turns into a
writer dies with "database is locked" under competition. Engines are made on first use in each process, after the fork.
Driver errors are translated into StoreError here and nowhere else.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from psycopg import RawCursor
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DataError, DBAPIError, DisconnectionError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from notifier.errors import StoreError
from notifier.store.repository import SqlReader, SqlWriter
from notifier.store.turns import begin_writing
from notifier.unit import CommitPoint

BUSY_TIMEOUT = 10  #: seconds SQLite waits for another writer
AGAIN = 0.01  #: seconds
RESTED = 1.0  #: seconds in the pool after which a connection is asked whether it lives
POOL = 5  #: connections kept to PostgreSQL per process
PRAGMAS = (
    "PRAGMA synchronous=FULL",
    f"PRAGMA busy_timeout={BUSY_TIMEOUT * 1000}",
    "PRAGMA foreign_keys=ON",
)
#: A database host that vanishes without a word is noticed within about ten seconds: a thread that waits for an answer
#: for ever would keep its session fenced when the database is back.
CUT = {"keepalives_idle": 4, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
#: A process that is stopped inside a transaction holds its locks: PostgreSQL ends it, so that others can take over.
#: Rows are found by index: a plan that reads a whole table for a batch of fifty is never right here.
LIMITS = "-c statement_timeout=30000 -c idle_in_transaction_session_timeout=8000 -c random_page_cost=1.1"
#: A page reads an order, then its decision: with what is committed in between it would show neither state (SQLite's
#: reading transactions are snapshots anyway).
SNAPSHOT: dict[str, Any] = {"isolation_level": "REPEATABLE READ"}
HIDDEN = {"hide_parameters": True}  #: errors quote statements without their values (P10)
#: PostgreSQL: serialisation failure, deadlock. Doing it again is right.
RETRYABLE_STATES = ("40001", "40P01")


class SqlStore:
    """The Store over SQLAlchemy Core."""

    def __init__(self, url: str) -> None:
        self.url = normal_url(url)
        self._engine: Engine | None = None
        self._pid = 0
        self._lock = threading.Lock()

    @property
    def engine(self) -> Engine:
        """This process's engine; a forked child never uses its parent's connections."""
        with self._lock:
            if self._engine is None or self._pid != os.getpid():
                if self._engine is not None:
                    self._engine.dispose(close=False)
                self._engine, self._pid = make_engine(self.url), os.getpid()
            return self._engine

    @contextmanager
    def write(self, point: CommitPoint = CommitPoint.ADMIN) -> Iterator[SqlWriter]:
        """One writing transaction: commits on success, rolls back on any error. Raises StoreError."""
        with _translated(), self._transaction(point) as connection:
            yield SqlWriter(connection)

    @contextmanager
    def read(self) -> Iterator[SqlReader]:
        """One reading transaction: everything in it is of one moment. Raises StoreError."""
        with _translated(), self._transaction(None) as connection:
            yield SqlReader(connection)

    @contextmanager
    def _transaction(self, point: CommitPoint | None) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            if self.url.get_backend_name() != "sqlite":
                if point is None:
                    connection.execution_options(**SNAPSHOT)
                with connection.begin():
                    yield connection
                return
            if point is None:
                connection.exec_driver_sql("BEGIN")
            else:
                begin_writing(connection, point, BUSY_TIMEOUT)
            try:
                yield connection
            except BaseException:
                with suppress(DBAPIError):  # SQLite has rolled back itself when the disk was full
                    connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    def close(self) -> None:
        """Close what this process opened."""
        with self._lock:
            if self._engine is not None and self._pid == os.getpid():
                self._engine.dispose()
            self._engine = None


def open_store(url: str) -> SqlStore:
    """Return the store at that address; nothing is connected yet. Raises StoreError for an address we cannot use."""
    return SqlStore(url)


def normal_url(url: str) -> URL:
    """Parse an address; `postgresql://` means psycopg 3."""
    try:
        parsed = make_url(url)
    except Exception:
        raise StoreError("DATABASE_URL is not a database address such as sqlite:///file or postgresql://...") from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(f"DATABASE_URL names {parsed.get_backend_name()}; only sqlite and postgresql are supported")
    return parsed


def make_engine(url: URL) -> Engine:
    """A new engine. SQLite's driver runs in autocommit, so that BEGIN IMMEDIATE is ours to say.

    PostgreSQL's gets statements in the server's own words (`$1`): others it reads through and rewrites, and those of
    more than 4 KB each time anew, which takes 0.1 ms.
    """
    if url.get_backend_name() == "sqlite":
        if url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"timeout": BUSY_TIMEOUT}, **HIDDEN)
        event.listen(engine, "connect", _set_pragmas)
        return engine
    options = {"application_name": "notifier", "options": LIMITS, "connect_timeout": 5, "cursor_factory": RawCursor}
    engine = create_engine(
        url, paramstyle="numeric_dollar", pool_size=POOL, max_overflow=POOL, connect_args=options | CUT, **HIDDEN
    )
    event.listen(engine, "checkin", _note_return)
    event.listen(engine, "checkout", partial(_ask_rested, engine.dialect.do_ping))
    return engine


def _note_return(_: Any, record: ConnectionPoolEntry) -> None:
    record.info["returned"] = time.monotonic()


def _ask_rested(ping: Callable[[Any], bool], connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
    """Whether a connection that rested still lives. The question costs a round trip: busy ones are not asked."""
    if time.monotonic() - record.info.get("returned", float("-inf")) < RESTED:
        return
    try:
        ping(connection)
    except Exception as error:
        raise DisconnectionError from error  # the pool drops it and lends another


def _set_pragmas(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    _keep_write_ahead_log(cursor)
    for pragma in PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _keep_write_ahead_log(cursor: Any) -> None:
    """Once for a file, by whoever opens it first. SQLite does not wait for a lock here, whatever its timeout says."""
    until = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(AGAIN)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise StoreError(_reason(error), conflict=True, refused=True) from error
    except DataError as error:
        raise StoreError(_reason(error), refused=True) from error
    except PoolTimeout as error:
        raise StoreError("no free connection to the database") from error
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        busy = isinstance(error, OperationalError) and "locked" in str(error.orig)
        raise StoreError(_reason(error), conflict=busy or state in RETRYABLE_STATES) from error


def _reason(error: DBAPIError) -> str:
    """The driver's own sentence, without the statement and its values (P10)."""
    return f"{type(error.orig).__name__}: {str(error.orig).partition(chr(10))[0][:200]}"
