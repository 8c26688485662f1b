"""One `store` over SQLite and PostgreSQL: every test that takes it runs on both. Migrated once, copied per test."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from notifier.store import SqlStore, migrate, open_store, routed
from tests.peers.postgres import administer

_numbers = itertools.count(1)
DATABASES = ("sqlite", "postgresql")
MEMORY = Path("/dev/shm")  #: every commit is synced: in memory that costs nothing
ROOM = 1_000_000_000  #: bytes that must be free there

MakeDatabase = Callable[[], str]


def fast_folder() -> Path | None:
    """Where files cost least; None = wherever temporary files are."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else None


@contextmanager
def copies_of_file(path: Path) -> Iterator[MakeDatabase]:
    """Makes copies of an SQLite database and returns their addresses; they are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="store", dir=fast_folder()) as folder:

        def make() -> str:
            copy = Path(folder, f"{next(_numbers)}.db")
            shutil.copyfile(path, copy)
            return f"sqlite:///{copy}"

        yield make


@contextmanager
def copies_of_template(server: str, template: str) -> Iterator[MakeDatabase]:
    """Makes copies of a PostgreSQL database and returns their addresses; they are gone afterwards."""
    made: list[str] = []

    def make() -> str:
        made.append(f"copy_{os.getpid()}_{next(_numbers)}")
        administer(server, f"CREATE DATABASE {made[-1]} TEMPLATE {template}")
        return f"postgresql+psycopg://postgres@/{made[-1]}?host={server}"

    yield make
    for name in made:
        administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def copies(request: pytest.FixtureRequest, database: str, state: str = "migrated") -> Iterator[MakeDatabase]:
    """Makes copies of the fixture `{state}_file` or `{state}_template`, whichever that database has."""
    if database == "sqlite":
        with copies_of_file(request.getfixturevalue(f"{state}_file")) as make:
            yield make
    else:
        server = request.getfixturevalue("postgres_server")
        with copies_of_template(server, request.getfixturevalue(f"{state}_template")) as make:
            yield make


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite database to copy."""
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_template(postgres_server: str) -> str:
    """Name of an empty, migrated PostgreSQL database to copy."""
    name = f"migrated_{os.getpid()}"
    administer(postgres_server, f"CREATE DATABASE {name} TEMPLATE template0")
    migrate(f"postgresql+psycopg://postgres@/{name}?host={postgres_server}")
    return name


@pytest.fixture(params=DATABASES)
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of an empty, migrated database of this test."""
    with copies(request, request.param) as make:
        yield make()


@pytest.fixture
def store(store_url: str) -> Iterator[SqlStore]:
    """A store over that database."""
    made = open_store(store_url)
    yield made
    made.close()


@pytest.fixture
def proven_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """New lanes need not prove themselves: for tests of something else."""
    monkeypatch.setattr(routed, "NEW_WINDOW", None)
