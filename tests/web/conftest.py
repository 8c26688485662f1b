"""Sites of two tenants on SQLite; what races is shown on both databases."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notifier.store import migrate
from tests.web.site import POLICY, Site

MakeSite = Callable[..., Site]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("empty") / "notifier.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def make_site(tmp_path: Path, empty_database: Path) -> Iterator[MakeSite]:
    """Makes a site with a policy and settings of its own."""
    made: list[Site] = []

    def make(policy: str = POLICY, **settings: Any) -> Site:
        path = tmp_path / f"{len(made)}.db"
        shutil.copy(empty_database, path)
        made.append(Site(f"sqlite:///{path}", policy, prepared=True, **settings))
        return made[-1]

    yield make
    for site in made:
        site.system.store.close()


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """Acme and Borealis."""
    return make_site()
