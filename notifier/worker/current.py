"""This process's one built system, made when first asked for and after every fork."""

from __future__ import annotations

import os
import threading

from notifier.bootstrap import System, build
from notifier.config import load

_lock = threading.Lock()
_built: tuple[int, System] | None = None


def system() -> System:
    """Return the system of this process, building it on first use."""
    global _built
    with _lock:
        if _built is None or _built[0] != os.getpid():
            _built = (os.getpid(), build(load(os.environ)))
        return _built[1]


def forget() -> None:
    """Drop what the parent built, without closing its connections."""
    global _built
    _built = None
