"""This process's one built system, made when first asked for and after every fork."""

from __future__ import annotations

import os
import threading

from notifier.bootstrap import System, build
from notifier.config import Settings, load
from notifier.worker.app import app

_lock = threading.Lock()
_built: tuple[int, System] | None = None


def system() -> System:
    """Return the system of this process, building it on first use."""
    global _built
    with _lock:
        if _built is None or _built[0] != os.getpid():
            _built = (os.getpid(), build_for_publishing(load(os.environ)))
        return _built[1]


def build_for_publishing(settings: Settings) -> System:
    """Return a system whose hints go to the broker."""
    return build(settings, os.environ, _publish)


def _publish(task: str) -> None:
    """Send a hint; the broker is tried once, since a hint may be lost and the thread must go on."""
    app.send_task(task, retry=False, ignore_result=True, expires=30)


def forget() -> None:
    """Drop what the parent built, without closing its connections."""
    global _built
    _built = None
