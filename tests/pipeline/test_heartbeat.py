"""A session's own doubt and others' judgement, by clocks that stand still until told: no process, no waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from notifier.core.ids import SessionId
from notifier.core.records import WorkerSession
from notifier.errors import StoreError, TemporaryFailure
from notifier.heartbeat import DEAD_AFTER, FENCE_AFTER, HEARTBEAT, Heartbeat, Session, Watch, awake_or_not

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
DEAD = DEAD_AFTER.total_seconds()
Answer = TypeVar("Answer")


@dataclass
class Seconds:
    """A monotonic clock that moves when told."""

    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Steps:
    """A store that takes `takes` seconds for a heartbeat; `alive` says whether the session still has its row."""

    seconds: Seconds
    takes: float = 0.0
    alive: bool = True
    away: bool = False
    started: list[WorkerSession] = field(default_factory=list)

    def start_session(self, session: WorkerSession) -> None:
        self.started.append(session)

    def beat_session(self, session: SessionId) -> bool:
        self.seconds.at += self.takes
        if self.away:
            raise StoreError("database is locked")
        return self.alive


async def at_once(call: Callable[[], Answer]) -> Answer:
    """Runs a store call on the spot."""
    return call()


def opened(steps: Steps) -> tuple[Heartbeat, Session]:
    """A heartbeat with its first session."""
    heartbeat = Heartbeat(steps, at_once, lambda: NOW, steps.seconds)
    asyncio.run(heartbeat.open())
    assert heartbeat.session is not None
    return heartbeat, heartbeat.session


@pytest.mark.parametrize(
    ("beats", "then", "fenced"),
    [
        # (seconds before it is asked, seconds until its commit) of each heartbeat; seconds after the last; fenced?
        ([], 0.0, False),  # just begun
        ([], FENCE_AFTER, False),  # the last moment
        ([], FENCE_AFTER + 0.1, True),
        ([(2.0, 0.0)], FENCE_AFTER, False),  # each heartbeat gives the full time again
        ([(2.0, 0.0), (2.0, 0.0), (2.0, 0.0)], FENCE_AFTER + 0.1, True),
        ([(2.0, 5.0)], 2.9, False),  # counted from when it was asked for ...
        ([(2.0, 5.0)], 3.1, True),  # ... not from its commit
        ([(2.0, 9.9)], 0.0, True),  # a commit too late revives nothing ...
        ([(2.0, 9.9), (0.0, 0.1)], 0.0, False),  # ... the next heartbeat does
        ([(2.0, 30.0)], 0.0, True),  # PostgreSQL's statement_timeout
    ],
)
def test_a_session_doubts_itself_from_the_moment_it_asked_for_its_last_heartbeat_p4(
    beats: Sequence[tuple[float, float]], then: float, fenced: bool
) -> None:
    steps = Steps(Seconds())
    heartbeat, session = opened(steps)
    for before, steps.takes in beats:
        steps.seconds.at += before
        asyncio.run(heartbeat.beat())
    steps.seconds.at += then
    assert session.fenced() is fenced
    if fenced:
        with pytest.raises(TemporaryFailure, match="fenced"):
            session.check()
    else:
        session.check()


@pytest.mark.parametrize("takes", [0.0, 1.0, 5.0, 7.9, 9.9, 30.0])
def test_whoever_is_called_dead_has_stopped_sending_before_p4(takes: float) -> None:
    """The observer reads after every commit, as early as it can know the value; its clock runs like ours."""
    steps, watch = Steps(Seconds(), takes), Watch()
    heartbeat, session = opened(steps)
    watch.silent(steps.started, steps.seconds.at, steps.seconds.at)  # the row appears
    steps.seconds.at += HEARTBEAT
    asyncio.run(heartbeat.beat())
    beaten = replace(steps.started[0], heartbeat_at=NOW + timedelta(seconds=HEARTBEAT))
    watch.silent([beaten], steps.seconds.at, steps.seconds.at)
    for _ in range(2000):
        steps.seconds.at += 0.01
        if watch.silent([beaten], steps.seconds.at, steps.seconds.at):
            break
    else:
        pytest.fail("nobody was called dead")
    assert session.fenced()


def test_a_heartbeat_that_fails_leaves_session_and_doubt_as_they_were() -> None:
    steps = Steps(Seconds(), takes=FENCE_AFTER + 1, away=True)
    heartbeat, session = opened(steps)
    with pytest.raises(StoreError):
        asyncio.run(heartbeat.beat())
    assert heartbeat.session is session
    assert session.fenced()
    steps.takes, steps.away = 0.0, False
    asyncio.run(heartbeat.beat())
    assert not session.fenced()


def test_a_buried_session_sends_nothing_from_the_moment_it_knows_and_a_new_one_follows_p4() -> None:
    steps = Steps(Seconds(), alive=False)
    heartbeat, first = opened(steps)
    asyncio.run(heartbeat.beat())
    assert first.fenced()
    assert heartbeat.session is not None and heartbeat.session is not first
    assert not heartbeat.session.fenced()
    assert len({session.id for session in steps.started}) == 2


def test_a_session_that_is_ending_is_followed_by_none() -> None:
    steps = Steps(Seconds(), alive=False)
    heartbeat, session = opened(steps)
    heartbeat.ending = True
    asyncio.run(heartbeat.beat())
    assert heartbeat.session is session
    assert len(steps.started) == 1


def row(name: str, beat: float) -> WorkerSession:
    """A session whose heartbeat says so many seconds."""
    return WorkerSession(SessionId(name), "host", 1, NOW, NOW + timedelta(seconds=beat))


@pytest.mark.parametrize(
    ("looks", "dead"),
    [
        # (the observer's clock, what the heartbeat says)
        ([(0, 0)], False),  # seen for the first time: however old it says it is
        ([(0, 0), (DEAD, 0)], False),  # the last moment
        ([(0, 0), (DEAD + 0.1, 0)], True),
        ([(0, 0), (9, 8), (18, 17)], False),  # it beats
        ([(0, 0), (9, 8), (9 + DEAD + 1, 8)], True),  # it did
        ([(0, 0), (2, 3600), (4, 3602)], False),  # its clock jumped forward
        ([(0, 0), (2, -3600), (4, -3598)], False),  # its clock jumped back
        ([(0, 3600), (DEAD + 1, 3600)], True),  # dead, its last heartbeat in the future
        ([(0, 0), (60, 58)], False),  # the observer was stopped for a minute: it reads before it judges
    ],
)
def test_a_session_is_dead_when_its_heartbeat_stands_still_whatever_time_it_says_p4(
    looks: Sequence[tuple[float, float]], dead: bool
) -> None:
    watch, found = Watch(), list[WorkerSession]()
    for at, beat in looks:
        found = watch.silent([row("a", beat)], at, at)
    assert found == ([row("a", looks[-1][1])] if dead else [])


def test_one_silent_session_is_told_from_those_that_beat() -> None:
    watch = Watch()
    watch.silent([row("silent", 0), row("alive", 0)], 0, 0)
    assert watch.silent([row("silent", 0), row("alive", 10)], DEAD + 1, DEAD + 1) == [row("silent", 0)]
    assert watch.silent([row("alive", 20)], DEAD + 3, DEAD + 3) == []


def test_a_slow_answer_makes_nobody_look_older_p4() -> None:
    watch = Watch()
    assert watch.silent([row("a", 0)], 0, 9) == []  # it may have been written at 9
    assert watch.silent([row("a", 0)], DEAD + 1, DEAD + 1) == []
    assert watch.silent([row("a", 0)], 9 + DEAD, 9 + 2 * DEAD) == []  # what came since the question is not in it
    assert watch.silent([row("a", 0)], 9 + DEAD + 1, 9 + DEAD + 1) == [row("a", 0)]


def test_the_fence_runs_on_a_clock_that_nobody_sets() -> None:
    before, real = awake_or_not(), time.monotonic()
    assert awake_or_not() >= before
    assert awake_or_not() >= real - 1  # it counts at least what the machine was awake
