"""A road over each database."""

from __future__ import annotations

import pytest

from notifier.store import SqlStore
from tests.pipeline.road import Road


@pytest.fixture
def road(store: SqlStore) -> Road:
    """A configured system."""
    return Road(store)
