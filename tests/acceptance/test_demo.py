"""`make demo ONCE=1` as a stranger runs it: everything arrives, and it notices when something is taken away."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.system import ROOT

pytestmark = [pytest.mark.processes, pytest.mark.timeout(400)]

VERDICT = re.compile(
    r"demo: (\d+) events, (\d+) notifications, (\d+) delivered, (\d+) links opened, (\d+) problems",
)


def run_demo(folder: Path, **settings: str) -> tuple[int, str, tuple[int, ...]]:
    """Exit code, everything printed, and the five numbers of the last line. What it leaves to look at is removed."""
    command = [sys.executable, "-m", "notifier", "demo", "--once"]
    with tempfile.TemporaryDirectory(prefix="demo") as left:
        environment = {**os.environ, "PYTHONPATH": str(folder), "TMPDIR": left, **settings}
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=360)
    last = next((line for line in reversed(run.stdout.splitlines()) if line.startswith("demo: ")), "")
    verdict = VERDICT.fullmatch(last)
    assert verdict, run.stdout[-3000:] + run.stderr[-3000:]
    return run.returncode, run.stdout, tuple(int(number) for number in verdict.groups())


def test_everything_expected_arrives_and_every_link_opens() -> None:
    code, text, (events, notifications, delivered, links, problems) = run_demo(ROOT)
    assert code == 0, text
    assert text.splitlines()[-1].startswith("demo: "), "the verdict is the last line"
    assert problems == 0
    assert delivered == notifications > 400
    assert events > 200
    assert links > 150


@pytest.mark.long
def test_everything_arrives_on_postgresql_too(postgres_url: str) -> None:
    code, text, (_, notifications, delivered, _, problems) = run_demo(ROOT, NOTIFIER_DATABASE_URL=postgres_url)
    assert code == 0, text
    assert (delivered, problems) == (notifications, 0)


def remove_a_rule(tree: Path) -> None:
    path = tree / "notifier" / "simulator" / "data" / "notifier.toml"
    before = path.read_text()
    path.write_text(re.sub(r'\[\[tenants\.acme\.rules\]\]\nname = "warm coolers"\n(.+\n)+', "", before))
    assert path.read_text() != before


def remove_a_template(tree: Path) -> None:
    (tree / "templates" / "sms" / "order_recommended.txt").unlink()


def remove_a_channel(tree: Path) -> None:
    path = tree / "notifier" / "channels" / "__init__.py"
    without = [
        "\n_all_channels = build_channels\n",
        "def build_channels(settings):",
        "    return {name: made for name, made in _all_channels(settings).items() if name != 'sms'}\n",
    ]
    path.write_text(path.read_text() + "\n".join(without))


@pytest.mark.long
@pytest.mark.parametrize("remove", [remove_a_rule, remove_a_template, remove_a_channel], ids=lambda f: f.__name__)
def test_it_fails_when_something_is_removed(remove: Callable[[Path], None], tmp_path: Path) -> None:
    for part in ("notifier", "templates", "demo"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    remove(tmp_path)
    idle = tmp_path / "notifier" / "simulator" / "idle.py"
    idle.write_text(idle.read_text().replace("PATIENCE = 20.0", "PATIENCE = 4.0"))  # what is gone never comes
    code, text, (_, _, _, _, problems) = run_demo(tmp_path)
    assert code == 1
    assert problems > 0
    assert "problem: " in text
