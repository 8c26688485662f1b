"""Where a process is killed: at the n-th time it passes a place, just before or just after what happens there.

`os._exit` is as near to `kill -9` as a test can aim: no handler, no `finally`, no flush, no ROLLBACK is said.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum

from notifier.core.model import ChannelName
from notifier.store import SqlStore
from notifier.unit import CommitPoint, Reader, Writer

KILLED = 77  #: exit code of a process that died where it was to die


def sending(channel: ChannelName) -> str:
    """The place that is no transaction: the network."""
    return f"send by {channel.value}"


class Moment(StrEnum):
    """Either side of the instant that counts: the COMMIT, or the receiver's taking of a message."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Kill:
    """Die at the `nth` passing."""

    place: str  #: a CommitPoint, or sending by a channel
    moment: Moment
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.moment} {self.place} {self.nth}"


class Killer:
    """Counts who passes, and kills the process at the time it was given."""

    def __init__(self, kill: Kill | None = None) -> None:
        self.kill = kill
        self.passed: Counter[str] = Counter()  #: by place, whatever the moment

    def passing(self, place: str, moment: Moment) -> None:
        """The process is there now."""
        if moment is Moment.BEFORE:
            self.passed[place] += 1
        if self.kill == Kill(place, moment, self.passed[place]):
            os._exit(KILLED)


class CrashingStore:
    """The real store; its process may die on either side of a COMMIT."""

    def __init__(self, inner: SqlStore, killer: Killer) -> None:
        self.inner = inner
        self._killer = killer

    @contextmanager
    def write(self, point: CommitPoint = CommitPoint.ADMIN) -> Iterator[Writer]:
        """The store's transaction."""
        with self.inner.write(point) as tx:
            yield tx
            self._killer.passing(point, Moment.BEFORE)
        self._killer.passing(point, Moment.AFTER)

    def read(self) -> AbstractContextManager[Reader]:
        """The store's own: nothing is committed here."""
        return self.inner.read()
