"""When Python's cyclic garbage collector looks.

A delivery makes some hundred objects that live for a second, nearly none in a cycle: reference counting frees them.
With CPython's usual thresholds the collector walks the young ones for every few deliveries, and what was imported now
and then: a tenth of a busy worker's time. Long-running processes call this when they start.
"""

from __future__ import annotations

import gc

YOUNG = 20_000  #: more containers made than freed before the collector looks at them
OLDER = 50  #: looks at the young ones for one at those that survived


def collect_seldom() -> None:
    """Never look at what exists now again, and at what comes less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, OLDER)
