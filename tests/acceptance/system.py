"""A whole embedded system as real processes, filled by the fleet and its people; and what an onlooker can see of it."""

from __future__ import annotations

import html
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from notifier.bootstrap import System, build
from notifier.config import load
from notifier.embedded.demo import simulate
from notifier.embedded.system import recorded_environment
from notifier.simulator.idle import wait_until_idle
from tests.peers.process import running, wait_until

ROOT = Path(__file__).parent.parent.parent
UP = [sys.executable, "-m", "notifier", "up"]
LINK = re.compile(r"https?://[^\s\"'<>)]+")
HREF = re.compile(r'href="(https?://[^"]+)"')
SEED = 7


@dataclass
class Filled:
    """A running system after an hour of the fleet."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The settings it runs with."""
        return recorded_environment(self.folder)

    @property
    def web(self) -> str:
        return self.environment["NOTIFIER_BASE_URL"]

    @property
    def database(self) -> Path:
        return self.folder / "notifier.db"

    @property
    def api_keys(self) -> dict[str, str]:
        """The fleet's own keys by tenant; they may read."""
        return dict(json.loads((self.folder / "fleet-keys.json").read_text()))

    @cached_property
    def system(self) -> System:
        """Our own view of its store."""
        return build(load(self.environment), self.environment)

    def caught(self, server: str) -> list[dict[str, Any]]:
        """What one of the outbox's servers logged: smtp, sms or callbacks."""
        lines = (self.folder / "outbox" / f"{server}.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def links(self) -> list[str]:
        """Every link of every message, once."""
        mails, texts = self.caught("smtp"), self.caught("sms")
        found = [url for mail in mails for url in (*LINK.findall(mail["text"]), *HREF.findall(mail["html"]))]
        found += [url for text in texts for url in LINK.findall(text["body"])]
        return sorted({html.unescape(url) for url in found})

    def cli(self, *arguments: str) -> str:
        """Everything one of our commands prints."""
        command = [sys.executable, "-m", "notifier", *arguments]
        environment = {**os.environ, "NOTIFIER_DATA_DIR": str(self.folder), "COLUMNS": "400"}
        run = subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, timeout=60)
        return run.stdout + run.stderr


def dump(database: Path, without: Sequence[str] = ("workers",)) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, but for the workers' heartbeats."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        wanted = sorted(name for name in names if name not in without and not name.startswith("sqlite_"))
        rows = {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in wanted}  # noqa: S608
    return rows


def changes(before: dict[str, list[tuple[Any, ...]]], after: dict[str, list[tuple[Any, ...]]]) -> list[str]:
    """What differs between two dumps, by table: rows that went and rows that came."""
    return [
        f"{name}: {kind} {row!r:.300}"
        for name in after
        for kind, rows, others in (("gone", before[name], after[name]), ("new", after[name], before[name]))
        for row in rows
        if row not in others
    ]


def filled_system(folder: Path) -> Iterator[Filled]:
    """Start everything, feed an hour at once, let people read, look and decide; then hand it over, idle."""
    log = folder / "up.log"
    environment = {"NOTIFIER_DATA_DIR": str(folder)}
    with running(UP, lambda: "stops everything" in log.read_text(), log=log, environment=environment, patience=90):
        filled = Filled(folder)
        simulate(folder, filled.environment, SEED, 0)
        assert wait_until_idle(filled.system) == {}
        subprocess.run([sys.executable, ROOT / "demo" / "people.py", folder], check=True, timeout=120)
        assert wait_until_idle(filled.system) == {}
        wait_until(lambda: _at_rest(filled.database), "the last of the provider's call-backs")
        with closing(filled.system.store):
            yield filled


def _at_rest(database: Path) -> bool:
    """Whether nothing changes any more: what the provider reports of its SMS comes seconds after the hand-over."""
    before = dump(database)
    time.sleep(2)
    return dump(database) == before
