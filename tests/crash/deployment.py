"""A deployment whose processes are killed and started again. Database and journal are all that lasts."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from notifier.store import open_store
from tests.crash.kill import KILLED, Kill
from tests.crash.outside import Journal
from tests.crash.promises import Rows, everything
from tests.crash.world import USUAL, World, be

#: A process that has imported everything and opened nothing; each child is a fork of it.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["pytest", "tests.crash.warm"])
SECONDS = 60.0  #: for a child at most
BETWEEN = 0.005  #: seconds between two looks at what the database still holds


class Deployment:
    """Runs the day of `World` in processes of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.path = folder / "journal"
        self.journal = Journal(self.path)
        self.day = USUAL
        self.kills = 0

    def dies(self, kill: Kill) -> None:
        """A process begins, and dies where it is to die: one that does not come by there is an error."""
        assert self.run(kill), f"not killed {kill}: the day has no such moment"

    def run(self, kill: Kill) -> bool:
        """A process goes on with the day until it is killed (True) or everything is done."""
        child = _processes.Process(target=be, args=(self.url, self.path, kill, self.day))
        child.start()
        child.join(SECONDS)
        if child.is_alive():
            child.kill()
            child.join()
        log = self.path.with_suffix(".log")
        assert child.exitcode in (0, KILLED), f"{kill}: exit code {child.exitcode}\\n{log.read_text()[-5000:]}"
        self.kills += child.exitcode == KILLED
        self._forgotten()
        return child.exitcode == KILLED

    def rows(self) -> Rows:
        """Every row, while no process runs."""
        store = open_store(self.url)
        try:
            return everything(store)
        finally:
            store.close()

    @contextmanager
    def restarted(self) -> Iterator[World]:
        """The process that is not killed."""
        world = World(self.url, self.path, day=self.day)
        try:
            yield world
        finally:
            world.close()

    def _forgotten(self) -> None:
        """PostgreSQL notices within milliseconds that a client is gone, and rolls back; SQLite has none to miss."""
        if not self.url.startswith("postgresql"):
            return
        url = make_url(self.url)
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        end = time.monotonic() + SECONDS
        with psycopg.connect(host=str(url.query["host"]), user="postgres", autocommit=True) as connection:
            while connection.execute(query, [url.database]).fetchone() != (0,):
                assert time.monotonic() < end, "the database still has a session of a dead process"
                time.sleep(BETWEEN)
