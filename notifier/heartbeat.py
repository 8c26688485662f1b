"""A worker session's life: its heartbeat, its own doubt (fencing), and how it sees that others are dead.

What is at stake: rows that a dead session held are freed and sent by others. A session that lives, but could not say
so, must have stopped sending by then.

- The row's `heartbeat_at` is wall time and only ever compared with itself. Whoever sweeps calls a session dead when
  that value stood still for DEAD_AFTER of the observer's own monotonic clock (`Watch`). So neither a jump of a host's
  clock nor hosts that disagree about the time kill a living session, or keep a dead one.
- Who is fenced judges nobody: what kept it from beating, a store that was away, kept the others as well.
- A session counts from the moment *before* it asked for its last heartbeat that succeeded, never from the end of the
  commit: an observer cannot have seen the new value sooner. It stops sending FENCE_AFTER later, whatever the heartbeat
  under way may still bring: one that waits 10 s for SQLite's writer, or 30 s for PostgreSQL's statement_timeout,
  revives the session when it succeeds only if it began less than FENCE_AFTER ago; else the next one does.
- FENCE_AFTER + the way from the last check to the first byte is below DEAD_AFTER, since channels check once more when
  they have their connection (`Delivery.check`), and nothing is awaited in between.
- The fence runs on a clock that goes on while the machine sleeps (CLOCK_BOOTTIME, where there is one); the observer's
  does not, so that after a sleep nobody is buried before having had the time to beat again.

What this cannot rule out is a process stopped between the check and the write. Its attempt row is committed by then,
so the sweep calls it `unknown` (promise P4).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Protocol

import structlog

from notifier.core.ids import SessionId, new_id
from notifier.core.records import WorkerSession
from notifier.core.retrying import FENCED
from notifier.errors import TemporaryFailure
from notifier.ports import Clock, StoreCall

log = structlog.get_logger(__name__)

HEARTBEAT = 2.0  #: seconds between heartbeats of a session
FENCE_AFTER = 8.0  #: seconds since the last heartbeat was asked for, after which a session sends nothing more
DEAD_AFTER = timedelta(seconds=10)  #: without a heartbeat for so long a session is dead for the others

Monotonic = Callable[[], float]


def awake_or_not() -> float:
    """Seconds on a clock that nobody sets and that goes on while the machine sleeps, where the system has one."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Session:
    """One session as its own process sees it."""

    __slots__ = ("_monotonic", "_until", "id")

    def __init__(self, session: SessionId, asked: float, monotonic: Monotonic) -> None:
        self.id = session
        self._monotonic = monotonic
        self._until = asked + FENCE_AFTER

    def beaten(self, asked: float) -> None:
        """A heartbeat that was asked for then has succeeded."""
        self._until = asked + FENCE_AFTER

    def lost(self) -> None:
        """Others have buried it."""
        self._until = float("-inf")

    def fenced(self) -> bool:
        """Whether it must not send: others may have freed its rows, or may before long."""
        return self._monotonic() > self._until

    def check(self) -> None:
        """Raise TemporaryFailure when it must not send."""
        if self.fenced():
            raise TemporaryFailure(FENCED, "the session missed its heartbeat before the send")


class SessionSteps(Protocol):
    """What the pipeline does for a session."""

    def start_session(self, session: WorkerSession) -> None: ...
    def beat_session(self, session: SessionId) -> bool: ...


class Heartbeat:
    """Keeps one session alive at a time, on a store thread of its own; opens a new one when it was buried."""

    def __init__(self, steps: SessionSteps, call: StoreCall, clock: Clock, monotonic: Monotonic = awake_or_not) -> None:
        self._steps = steps
        self._call = call
        self._clock = clock
        self._monotonic = monotonic
        self.session: Session | None = None  #: the one in force
        self.ending = False  #: no other follows

    async def open(self) -> None:
        """Begin a session. Raises StoreError; the one before it, if any, stays in force then."""
        asked, now = self._monotonic(), self._clock()
        row = WorkerSession(SessionId(new_id()), socket.gethostname(), os.getpid(), now, now)
        await self._call(partial(self._steps.start_session, row))
        self.session = Session(row.id, asked, self._monotonic)
        log.info("delivery session started", action="session_started", session=row.id)

    async def beat(self) -> None:
        """One heartbeat; a session that was buried meanwhile is followed by a new one. Raises StoreError."""
        asked, session = self._monotonic(), self.session
        assert session is not None
        if await self._call(partial(self._steps.beat_session, session.id)):
            session.beaten(asked)
            return
        session.lost()
        if self.ending:
            return
        log.warning("this session was declared dead; starting a new one", action="session_lost", session=session.id)
        await self.open()


class Watch:
    """Tells the dead among sessions: their heartbeat stood still while we watched."""

    def __init__(self) -> None:
        self._since: dict[WorkerSession, float] = {}

    def silent(self, sessions: Sequence[WorkerSession], asked: float, answered: float) -> list[WorkerSession]:
        """Return those unchanged for DEAD_AFTER. They were read between these two moments, monotonic.

        A slow answer must not make anybody look older: what it shows may be as new as its end, and what it does not
        show may have come since its beginning.
        """
        self._since = {session: self._since.get(session, answered) for session in sessions}
        return [session for session, since in self._since.items() if asked - since > DEAD_AFTER.total_seconds()]
