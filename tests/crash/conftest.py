"""A furnished deployment on either database, made once and copied per test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from notifier.store import open_store
from notifier.testing import furnish
from tests.crash.deployment import Deployment
from tests.peers.postgres import administer
from tests.stores import DATABASES, copies


def _furnish(url: str) -> None:
    store = open_store(url)
    furnish(store)
    store.close()


@pytest.fixture(scope="session")
def furnished_file(migrated_file: Path) -> Path:
    """A SQLite database with both tenants."""
    path = migrated_file.with_name("furnished.db")
    shutil.copyfile(migrated_file, path)
    _furnish(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def furnished_template(postgres_server: str, migrated_template: str) -> str:
    """Name of a PostgreSQL database with both tenants."""
    name = f"furnished_{os.getpid()}"
    administer(postgres_server, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    _furnish(f"postgresql+psycopg://postgres@/{name}?host={postgres_server}")
    return name


@pytest.fixture(params=DATABASES)
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment of this test."""
    with copies(request, request.param, "furnished") as make:
        yield Deployment(make(), tmp_path)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The processes here say much that nobody reads; a child's words are in its own log."""
    with structlog.testing.capture_logs():
        yield
