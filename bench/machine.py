"""What this machine is, and what processes cost: CPU seconds and memory of a process with its children, from /proc."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PACKAGES = ("celery", "kombu", "redis", "sqlalchemy", "psycopg", "aiohttp", "httpx", "aiosmtplib", "jinja2", "uvloop")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process and all below it."""

    cpu: float  #: seconds
    memory: int  #: bytes, resident, the largest single process


def usage(pid: int) -> Usage:
    """Return what the process and its living and ended children have used so far."""
    family = list(_family(pid))
    return Usage(sum(map(_cpu, family)), max(map(_memory, family), default=0))


def _family(pid: int) -> Iterator[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    waiting = [pid]
    while waiting:
        found = waiting.pop()
        yield found
        waiting += parents.get(found, [])


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cpu(pid: int) -> float:
    fields = _stat(pid)
    return sum(int(ticks) for ticks in fields[11:15]) / TICK if fields else 0.0


def _memory(pid: int) -> int:
    """The most it ever had resident."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


class Busy:
    """How busy all processors together were while it was entered, 0 to 1: whoever used them (/proc/stat)."""

    share = 0.0

    def __enter__(self) -> Busy:
        self._before = _processors()
        return self

    def __exit__(self, *_: object) -> None:
        worked, idle = (now - before for now, before in zip(_processors(), self._before, strict=True))
        self.share = worked / (worked + idle)


def _processors() -> tuple[int, int]:
    """Ticks of work and of idleness since the machine started."""
    user, nice, system, idle, waiting, *rest = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8])
    return user + nice + system + sum(rest), idle + waiting


def describe() -> dict[str, str]:
    """Machine and versions, for the head of the results."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    facts = {
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GiB, {_model()}",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }
    facts |= {name: metadata.version(name) for name in PACKAGES}
    return facts | {name: said for name, command in PROGRAMS.items() if (said := _said(command))}


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


PROGRAMS = {"alertmanager": ("prometheus-alertmanager", "--version")}


def _said(command: tuple[str, ...]) -> str:
    """The first line a program says of its version; nothing when it is not installed."""
    if shutil.which(command[0]) is None:
        return ""
    told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return (told.stdout or told.stderr).splitlines()[0].strip()
