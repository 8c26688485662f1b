"""Imported by the fork server: a whole day is lived here once, so that imports, templates and code are warm in each
child. Everything that was opened is closed again before the first fork."""

from __future__ import annotations

import tempfile
from pathlib import Path

import structlog

from notifier.store import open_store
from notifier.store.tables import metadata
from notifier.testing import furnish
from tests.crash.world import World

with tempfile.TemporaryDirectory() as folder, structlog.testing.capture_logs():
    url = f"sqlite:///{folder}/store.db"
    store = open_store(url)
    metadata.create_all(store.engine)
    furnish(store)
    store.close()
    world = World(url, Path(folder, "journal"))
    world.live()
    world.close()
