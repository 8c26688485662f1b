"""One filled system for all tests that only look at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.system import Filled, filled_system


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """The whole system after an hour of the fleet; tests must leave it as it is."""
    yield from filled_system(Path(tmp_path_factory.mktemp("fleet")))
