"""Starts parts in order, some alongside others, keeps them running, ends them in reverse order.

One thread, no knowledge of what they do.

A dead part is back within two seconds; one that keeps dying waits longer each time and is named. SIGINT, SIGTERM and
SIGHUP end everything in order, the second one at once. Against kill -9 of the supervisor itself each part has a
parent-death signal, a watchdog ends what remains, and the next start looks again.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from notifier.embedded.folder import Folder
from notifier.embedded.leftovers import end_leftovers
from notifier.embedded.part import Part, Process
from notifier.embedded.ports import refuse_taken
from notifier.embedded.watchdog import Watchdog
from notifier.errors import ConfigError, Problem

STEP = 0.1  #: seconds between looks
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LEFTOVER_GRACE = 5.0  #: seconds for parts of a killed predecessor
QUICK = 60.0  #: deaths within this many seconds count together
LONGEST_DELAY = 30.0
TRIM_EVERY = 60.0
SAME_REQUEST = 0.5  #: seconds within which two signals are one

Tell = Callable[[str], None]
#: Work done while the system is up, in a thread of its own; it is handed "is everything being stopped?".
Job = Callable[[Callable[[], bool]], int]


def restart_delay(deaths: int) -> float:
    """Seconds to wait before the next start after so many deaths within a minute: the first two at once."""
    return 0.0 if deaths <= 2 else min(LONGEST_DELAY, 2.0 ** (deaths - 3))


@contextmanager
def sole_user(folder: Folder, tell: Tell) -> Iterator[None]:
    """Hold the data folder for this process and end what a killed predecessor left in it.

    Raises ConfigError when another one is at work; the kernel gives the lock back however that one ends.
    """
    with open(os.open(folder.run / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError([Problem(str(folder.root), _in_use(lock.read().strip()))]) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        left = end_leftovers(folder.run, LEFTOVER_GRACE)
        if left:
            tell(f"ended what an earlier start left behind: {', '.join(left)}")
        yield


def _in_use(pid: str) -> str:
    who = f" (process {pid})" if pid else ""
    return f"notifier is already running on this data folder{who}; stop it or set NOTIFIER_DATA_DIR to another one"


class Supervisor:
    """Runs parts until told to stop. Use inside `sole_user`, from the main thread."""

    def __init__(self, parts: Sequence[Part], folder: Folder, tell: Tell = print) -> None:
        run_id = secrets.token_hex(8)
        self._processes = [Process(part, folder, run_id) for part in parts]
        self._watchdog = Watchdog(folder.run, run_id, folder.logs / "watchdog.log")
        self._tell = _surviving(tell)
        self._deaths: dict[str, deque[float]] = {part.name: deque() for part in parts}
        self._due: dict[str, float] = {}  #: when a dead part is started again, monotonic
        self._started: list[Process] = []
        self._turn = 0
        self._requests = 0  #: to stop
        self._asked_at = -SAME_REQUEST
        self._job: threading.Thread | None = None
        self._result = 0
        self._trimmed = time.monotonic()

    def run(self, when_up: Callable[[], None] = lambda: None, job: Job | None = None) -> int:
        """Start everything, supervise until a signal or the end of the job, stop everything.

        Returns 0 (or what the job returned), 130 when a signal interrupted a job, 1 when a part did not start.
        Raises ConfigError when a port is taken.
        """
        refuse_taken([process.part for process in self._processes])
        restore = [(number, signal.signal(number, self._on_signal)) for number in SIGNALS]
        try:
            if not self._start_all():
                return 0 if self._requests else 1
            when_up()
            return self._supervise(job)
        finally:
            self._stop_all()
            self._watchdog.release()
            if self._job is not None:
                self._job.join(timeout=2)
            for number, handler in restore:
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Count only: a handler may run in the middle of anything. A make above us repeats the terminal's signal."""
        now = time.monotonic()
        self._requests += now - self._asked_at > SAME_REQUEST
        self._asked_at = now

    # -- up ----------------------------------------------------------------------------------------------------------

    def _start_all(self) -> bool:
        self._watchdog.keep()
        for group in _groups(self._processes):
            for process in group:
                process.start()
            for process in group:
                if not self._await_ready(process):
                    return False
                self._started.append(process)
                self._tell(f"{process.part.name} is {_how(process.part)}")
        return True

    def _await_ready(self, process: Process) -> bool:
        deadline = process.started_at + process.part.ready_within
        while not process.look():
            if self._requests:
                return False
            if not process.alive and (process.code != 0 or not process.part.once):
                return self._give_up(process, f"ended with {say_code(process.code)} before it was ready")
            if time.monotonic() > deadline:
                return self._give_up(process, f"was not ready within {process.part.ready_within:.0f} s")
            self._tick()
            time.sleep(STEP / 2)
        return True

    def _give_up(self, process: Process, what: str) -> bool:
        self._tell(f"{process.part.name} {what}; the end of {process.log}:")
        for line in process.last_lines():
            self._tell(f"    {line}")
        return False

    # -- running -----------------------------------------------------------------------------------------------------

    def _supervise(self, job: Job | None) -> int:
        if job is not None:
            self._start_job(job)
        while not self._requests and (self._job is None or self._job.is_alive()):
            self._tick()
            time.sleep(STEP)
        return 130 if self._job is not None and self._job.is_alive() else self._result

    def _start_job(self, job: Job) -> None:
        self._result = 1  # stays when the job raises

        def do() -> None:
            self._result = job(lambda: self._requests > 0)

        self._job = threading.Thread(target=do, name="job", daemon=True)
        self._job.start()

    def _tick(self) -> None:
        self._watchdog.keep()
        lasting = [process for process in self._started if not process.part.once]
        for process in lasting:
            if not process.alive:
                self._bring_back(process)
        self._look_at_one([process for process in lasting if process.alive and not process.ready])
        if time.monotonic() - self._trimmed > TRIM_EVERY:
            self._trimmed = time.monotonic()
            for process in self._started:
                process.trim_log()

    def _look_at_one(self, waiting: Sequence[Process]) -> None:
        """Ask one part a turn: a question may take a second, in which nothing dead is started again."""
        if waiting:
            self._turn += 1
            process = waiting[self._turn % len(waiting)]
            if process.look():
                self._tell(f"{process.part.name} is back")

    def _bring_back(self, process: Process) -> None:
        name, now = process.part.name, time.monotonic()
        if name not in self._due:
            process.clean_up()
            deaths = self._deaths[name]
            deaths.append(now)
            while deaths[0] < now - QUICK:
                deaths.popleft()
            delay = restart_delay(len(deaths))
            self._due[name] = now + delay
            self._tell(f"{name} ended with {say_code(process.code)}; {_plan(len(deaths), delay, process)}")
        if now >= self._due[name]:
            del self._due[name]
            process.start()

    # -- down --------------------------------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        for process in reversed([process for process in self._processes if process.started_at]):
            if process.alive and not process.part.once:
                self._tell(f"stopping {process.part.name}")
            process.ask_to_end()
            deadline = time.monotonic() + process.part.grace
            while process.alive and time.monotonic() < deadline and self._requests <= 1:
                time.sleep(STEP / 4)
            if process.alive:
                self._tell(f"{process.part.name} did not end by itself: killed")
            process.clean_up()


def _groups(processes: Sequence[Process]) -> Iterator[list[Process]]:
    """Parts that start together, in order."""
    group: list[Process] = []
    for process in processes:
        if group and not process.part.alongside:
            yield group
            group = []
        group.append(process)
    if group:
        yield group


def _surviving(tell: Tell) -> Tell:
    """A closed terminal must not keep the parts from being ended."""

    def carefully(line: str) -> None:
        with suppress(OSError):
            tell(line)

    return carefully


def say_code(code: int | None) -> str:
    """An exit code for people."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"code {code}"


def _how(part: Part) -> str:
    return "done" if part.once else f"ready on {part.address}" if part.address else "ready"


def _plan(deaths: int, delay: float, process: Process) -> str:
    if delay == 0:
        return "starting it again"
    return f"that was death {deaths} within a minute, next try in {delay:.0f} s, see {process.log}"
