"""One `store` over SQLite and PostgreSQL: every test that takes it runs on both. Migrated once, copied per test."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifier.store import SqlStore, migrate, open_store
from tests.peers.postgres import administer

_numbers = itertools.count(1)
DATABASES = ("sqlite", "postgresql")


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
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of an empty, migrated database of this test."""
    if request.param == "sqlite":
        path = tmp_path / "store.db"
        shutil.copyfile(request.getfixturevalue("migrated_file"), path)
        yield f"sqlite:///{path}"
        return
    server, template = request.getfixturevalue("postgres_server"), request.getfixturevalue("migrated_template")
    name = f"store_{os.getpid()}_{next(_numbers)}"
    administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield f"postgresql+psycopg://postgres@/{name}?host={server}"
    administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def store(store_url: str) -> Iterator[SqlStore]:
    """A store over that database."""
    made = open_store(store_url)
    yield made
    made.close()
