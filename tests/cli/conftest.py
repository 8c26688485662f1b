"""The command line over a furnished database of its own, in this process; test_processes.py starts real ones."""

from __future__ import annotations

import base64
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from notifier.bootstrap import System
from notifier.cli import app, current, printing
from notifier.core.acceptance import Answer
from notifier.core.events import RawItem
from notifier.core.model import Credential
from notifier.core.records import ApiKey
from notifier.testing import ACME, BASE_URL, LINK_KEYS, NOW, SOURCE, furnish

KEY_ID = "key-1"


def fresh(item: RawItem | Mapping[str, Any], **changes: Any) -> RawItem:
    """The same event, happened just now: what is a day old is told to nobody."""
    value = json.loads(item.body) if isinstance(item, RawItem) else dict(item)
    value |= {"time": datetime.now(UTC).isoformat(), **changes}
    return RawItem(value, json.dumps(value))


@dataclass(frozen=True)
class Ran:
    """What a command answered."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Cli:
    """Runs commands, and takes events in as the web application would."""

    folder: Path

    def __call__(self, *words: object, code: int = 0) -> Ran:
        """Run a command that is expected to leave with that code."""
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return Ran(result.exit_code, result.stdout, result.stderr)

    @property
    def system(self) -> System:
        return current.system()

    def restart(self) -> None:
        """Read the environment again."""
        self.system.store.close()
        current.system.cache_clear()

    def accept(self, *items: RawItem, **rights: Any) -> list[Answer]:
        return self.system.pipeline.accept(list(items), Credential(KEY_ID, ACME, (SOURCE,), ("coolr.*",), **rights))

    def route(self) -> None:
        while self.system.pipeline.route():
            pass

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


@pytest.fixture
def bare(migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """A migrated database with nothing in it; no setting of the machine's own environment counts."""
    shutil.copyfile(migrated_file, tmp_path / "store.db")
    for name in [name for name in os.environ if name.startswith("NOTIFIER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NOTIFIER_DATABASE_URL", f"sqlite:///{tmp_path}/store.db")
    monkeypatch.setenv("NOTIFIER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NOTIFIER_BASE_URL", BASE_URL)
    monkeypatch.setenv("NOTIFIER_LINK_KEYS", base64.b64encode(LINK_KEYS[0]).decode())
    current.system.cache_clear()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )  # main() sends them to stderr
    yield Cli(tmp_path)
    structlog.reset_defaults()
    current.system().store.close()
    current.system.cache_clear()


@pytest.fixture
def cli(bare: Cli) -> Cli:
    """Two tenants with their rules, their people, and a key that may send."""
    furnish(bare.system.store, now=NOW)
    key = ApiKey(KEY_ID, ACME, "coolr", "0" * 64, (SOURCE,), ("coolr.*",), False, False, NOW)
    with bare.system.store.write() as tx:
        tx.save_api_key(key)
    return bare


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the width of the terminal."""
    return lambda columns: monkeypatch.setattr(printing.console, "width", columns)
