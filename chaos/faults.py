"""The schedule of faults: drawn from a seed before anything starts, and printed.

Two tracks run beside each other, since faults of receivers and faults of parts meet in real life too. Within a track
one fault begins when the one before is over, at its time or later.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

#: Faults of parts. `kill` is SIGKILL, `stop` SIGSTOP and later SIGCONT.
PARTS = (
    "kill deliver1",
    "flush broker",
    "stop deliver2",
    "kill intake",
    "kill web1",
    "kill broker",
    "drop hints",
    "kill deliver2",
    "restart broker without data",
    "double hints",
    "stop intake",
    "kill web2",
    "kill beat",
    "kill both deliver",
)
OF_POSTGRESQL = ("restart database", "kill database")
OF_SQLITE = ("fill disk",)
#: Faults of receivers, as receivers.py names them.
RECEIVERS = (
    "callback cut",
    "smtp cut",
    "callback 429",
    "sms cut",
    "smtp 421",
    "callback late",
    "callback 503",
    "smtp 451",
    "callback refuse",
    "sms late",
    "smtp slow",
    "sms 429",
)
FIRST, LAST = 8.0, 25.0  #: seconds without faults of parts at the beginning, and at the end
PAUSE = (4.0, 9.0)  #: seconds between faults of one track
#: How long a fault holds, seconds.
HOLD = {"stop": (15.0, 60.0), "drop": (8.0, 15.0), "double": (8.0, 15.0), "fill": (6.0, 12.0), "restart": (0.5, 3.0)}
KILLED = (0.0, 0.0)
RECEIVER_HOLD = (6.0, 18.0)


@dataclass(frozen=True)
class Fault:
    """What happens when, seconds after the beginning, and for how long."""

    at: float
    what: str
    hold: float


@dataclass(frozen=True)
class Schedule:
    """Both tracks."""

    parts: tuple[Fault, ...]
    receivers: tuple[Fault, ...]
    seconds: float

    def lines(self) -> Iterator[str]:
        """For people."""
        both = sorted([*self.parts, *self.receivers], key=lambda fault: fault.at)
        for fault in both:
            yield f"{fault.at:7.1f} s  {fault.what}" + (f"  for {fault.hold:.1f} s" if fault.hold else "")


def draw(seed: int, minutes: float, database: str) -> Schedule:
    """The same seed, length and database give the same schedule. Every fault comes once before one comes again."""
    chance, seconds = random.Random(f"{seed} {database}"), minutes * 60
    kinds = PARTS + (OF_POSTGRESQL if database == "postgresql" else OF_SQLITE)
    longest = min(HOLD["stop"][1], seconds / 8)
    parts = _track(chance, kinds, FIRST, seconds - LAST, longest)
    return Schedule(parts, _track(chance, RECEIVERS, FIRST / 2, seconds - LAST, longest), seconds)


def short(seed: int) -> Schedule:
    """The form for continuous integration: a killed worker, a flushed broker, receivers that accept and cut."""
    chance = random.Random(seed)
    jitter = chance.uniform(0, 1)
    parts = (Fault(5 + jitter, "kill deliver1", 0), Fault(14 + jitter, "flush broker", 0))
    receivers = (Fault(3, "callback cut", 9), Fault(13, "smtp cut", 6))
    return Schedule(parts, receivers, 24)


def _track(
    chance: random.Random, kinds: tuple[str, ...], first: float, last: float, longest: float
) -> tuple[Fault, ...]:
    found: list[Fault] = []
    waiting: list[str] = []
    at = first
    while at < last:
        if not waiting:
            waiting = list(kinds)
            chance.shuffle(waiting)
        what = waiting.pop()
        bounds = RECEIVER_HOLD if what in RECEIVERS else HOLD.get(what.split()[0], KILLED)
        if what == "restart broker without data":
            bounds = HOLD["restart"]
        hold = min(round(chance.uniform(*bounds), 1), round(longest, 1))
        found.append(Fault(round(at, 1), what, hold))
        at += hold + chance.uniform(*PAUSE)
    return tuple(found)
