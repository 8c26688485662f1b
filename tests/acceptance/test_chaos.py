"""The short form of `make chaos`: a killed delivery worker, a flushed broker, receivers that accept and cut."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.acceptance.system import ROOT

pytestmark = [pytest.mark.processes, pytest.mark.long, pytest.mark.timeout(300)]


def test_nothing_is_lost_or_silently_doubled_when_parts_are_killed() -> None:
    """P1, P3, P4, P6: real processes, faults on schedule, three ledgers compared by a reckoner that shares no code."""
    command = [sys.executable, "-m", "chaos.run", "--short", "--seed", "7", "--database", "sqlite"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    text = run.stdout + run.stderr
    assert run.returncode == 0, text[-6000:]
    assert text.startswith("chaos: seed 7, sqlite")
    assert {"kill deliver1", "flush broker"} <= set(re.findall(r"kill deliver1|flush broker", text))
    assert int(re.findall(r"(\d+) delivered", text)[0]) > 300
    assert int(re.findall(r"(\d+) decided by people", text)[0]) > 0, "people decided orders meanwhile"
    assert int(re.findall(r"(\d+) cut", text)[0]) > 0, "the receivers' faults were met"
