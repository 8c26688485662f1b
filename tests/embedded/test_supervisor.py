"""The supervisor, with real processes: order, restart, and nothing left behind however it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notifier.embedded.identity import start_time
from notifier.embedded.supervisor import restart_delay
from tests.peers.process import wait_until

pytestmark = pytest.mark.processes

SUPERVISE = Path(__file__).parent / "supervise.py"

#: Writes its pid to `<name>.pids` and its start and end to `order`; ends on SIGTERM.
GOOD = """
import os, pathlib, signal, sys, time
folder, name = pathlib.Path(os.environ["FOLDER"]), os.environ["NAME"]
def note(word):
    with (folder / "order").open("a") as file: file.write(f"{word} {name}\\n")
def end(*_):
    note("end"); sys.exit(0)
signal.signal(signal.SIGTERM, end)
with (folder / f"{name}.pids").open("a") as file: file.write(f"{os.getpid()}\\n")
note("start")
(folder / f"{name}.ready").touch()
print("hello from", name)
while True: time.sleep(0.05)
"""
#: Like a Celery pool: the part forks children that ignore SIGTERM; they write their pids too.
POOL = GOOD.replace(
    'note("start")',
    """
for _ in range(2):
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with (folder / f"{name}.pids").open("a") as file: file.write(f"{os.getpid()}\\n")
        while True: time.sleep(1)
note("start")""",
)
STUBBORN = GOOD.replace("signal.signal(signal.SIGTERM, end)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
DYING = "import sys; print('it is broken'); sys.exit(7)"


class Supervised:
    """A running supervisor and what is known of its parts."""

    def __init__(self, folder: Path, parts: list[dict[str, Any]], environment: dict[str, str]) -> None:
        self.folder = folder
        self.output = folder / "console"
        with self.output.open("ab") as console:
            self.process = subprocess.Popen(
                [sys.executable, str(SUPERVISE), str(folder), json.dumps(parts)],
                stdout=console,
                stderr=console,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    @property
    def console(self) -> str:
        return self.output.read_text()

    def pids(self, name: str) -> list[int]:
        path = self.folder / f"{name}.pids"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def order(self) -> list[str]:
        return (self.folder / "order").read_text().splitlines()

    def wait_for(self, text: str, seconds: float = 20) -> None:
        wait_until(lambda: text in self.console or self.process.poll() is not None, text, seconds)
        assert text in self.console, self.console

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


Start = Callable[..., Supervised]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Supervised] = []

    def do(*parts: dict[str, Any], **environment: str) -> Supervised:
        running.append(Supervised(tmp_path, list(parts), environment))
        return running[-1]

    yield do
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
    wait_until(
        lambda: (
            not any(living(pid) for one in running for path in one.folder.glob("*.pids") for pid in one.pids(path.stem))
        ),
        "everything gone",
        15,
    )


def living(pid: int) -> bool:
    return start_time(pid) is not None


def test_parts_start_in_order_and_end_in_reverse_order(start: Start) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        up = start({"name": "one", "code": GOOD}, {"name": "two", "code": GOOD}, {"name": "three", "code": GOOD})
        up.wait_for("all up")
        assert up.end(number) == 0
        assert up.order() == ["start one", "start two", "start three", "end three", "end two", "end one"]
        assert "hello from two" in (up.folder / "logs" / "two.log").read_text()
        assert not list((up.folder / "run").glob("*.pid"))
        for path in (up.folder / "order", up.output, *up.folder.glob("*.ready")):
            path.unlink()


def test_a_dead_part_is_back_within_two_seconds(start: Start) -> None:
    up = start({"name": "one", "code": GOOD}, {"name": "two", "code": GOOD})
    up.wait_for("all up")
    (victim,) = up.pids("two")
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    wait_until(lambda: len(up.pids("two")) == 2, "a second start", 10)
    assert time.monotonic() - killed < 2
    assert len(up.pids("one")) == 1, "the other part was not touched"
    assert "two ended with signal SIGKILL; starting it again" in up.console
    up.wait_for("two is back")


def test_children_of_a_killed_part_end_before_it_starts_again(start: Start) -> None:
    up = start({"name": "pool", "code": POOL})
    up.wait_for("all up")
    wait_until(lambda: len(up.pids("pool")) == 3, "part and two children")
    before = up.pids("pool")
    part = json.loads((up.folder / "run" / "pool.pid").read_text())["pid"]
    os.kill(part, signal.SIGKILL)
    wait_until(lambda: len(up.pids("pool")) == 6, "a second start", 10)
    assert not any(living(pid) for pid in before)


def test_a_part_that_keeps_dying_is_named_and_waits_longer_each_time(start: Start) -> None:
    code = GOOD.replace('print("hello', "(folder / 'go').exists() and sys.exit(7)\nprint(\"hello")
    up = start({"name": "one", "code": code, "waits": False})
    up.wait_for("all up")
    (up.folder / "go").touch()
    wait_until(lambda: len(up.pids("one")) == 1, "the first start")
    os.kill(up.pids("one")[0], signal.SIGKILL)
    up.wait_for("one ended with code 7; that was death 4 within a minute, next try in 2 s")
    assert str(up.folder / "logs" / "one.log") in up.console


@pytest.mark.parametrize(("deaths", "delay"), [(1, 0), (2, 0), (3, 1), (4, 2), (5, 4), (8, 30), (100, 30)])
def test_restart_delay(deaths: int, delay: float) -> None:
    assert restart_delay(deaths) == delay


def test_kill_9_of_the_supervisor_leaves_no_part_and_no_grandchild(start: Start) -> None:
    up = start({"name": "pool", "code": POOL}, {"name": "stubborn", "code": STUBBORN})
    up.wait_for("all up")
    wait_until(lambda: len(up.pids("pool")) == 3, "part and two children")
    everybody = [*up.pids("pool"), *up.pids("stubborn")]
    up.process.kill()
    wait_until(lambda: not any(map(living, everybody)), "all gone", 6)


def test_a_second_start_after_kill_9_works_at_once(start: Start) -> None:
    parts = [{"name": "pool", "code": POOL}, {"name": "stubborn", "code": STUBBORN, "grace": 0.2}]
    first = start(*parts)
    first.wait_for("all up")
    wait_until(lambda: len(first.pids("pool")) == 3, "part and two children")
    before = [*first.pids("pool"), *first.pids("stubborn")]
    first.process.kill()
    first.process.wait()
    first.output.unlink()
    second = start(*parts)
    second.wait_for("all up")
    assert not any(map(living, before))
    time.sleep(3.5)  # the first one's watchdog has had its time: the new parts are none of its business
    assert second.process.poll() is None
    assert "ended with" not in second.console
    assert second.end() == 0


def test_parts_end_also_when_supervisor_and_watchdog_are_both_killed(start: Start) -> None:
    """The parent-death signal is the second rope."""
    up = start({"name": "one", "code": GOOD})
    up.wait_for("all up")
    children = Path(f"/proc/{up.process.pid}/task/{up.process.pid}/children").read_text().split()
    watchdog = next(p for p in children if "watchdog" in Path(f"/proc/{p}/cmdline").read_text())
    os.kill(up.process.pid, signal.SIGSTOP)  # or it would start another watchdog
    os.kill(int(watchdog), signal.SIGKILL)
    up.process.kill()
    wait_until(lambda: not any(map(living, up.pids("one"))), "gone", 5)


def test_a_killed_watchdog_is_replaced(start: Start) -> None:
    up = start({"name": "stubborn", "code": STUBBORN})
    up.wait_for("all up")
    children = Path(f"/proc/{up.process.pid}/task/{up.process.pid}/children")

    def watchdogs() -> list[str]:
        return [p for p in children.read_text().split() if "watchdog" in Path(f"/proc/{p}/cmdline").read_text()]

    (first,) = watchdogs()
    os.kill(int(first), signal.SIGKILL)
    wait_until(lambda: watchdogs() not in ([], [first]), "another watchdog")
    up.process.kill()
    wait_until(lambda: not any(map(living, up.pids("stubborn"))), "gone", 8)


def test_a_part_that_ignores_sigterm_is_killed_after_its_grace(start: Start) -> None:
    up = start({"name": "stubborn", "code": STUBBORN, "grace": 0.5})
    up.wait_for("all up")
    began = time.monotonic()
    assert up.end() == 0
    assert 0.5 <= time.monotonic() - began < 5
    assert "stubborn did not end by itself: killed" in up.console
    assert not any(map(living, up.pids("stubborn")))


def test_a_second_signal_ends_everything_at_once(start: Start) -> None:
    up = start({"name": "stubborn", "code": STUBBORN, "grace": 60})
    up.wait_for("all up")
    up.process.send_signal(signal.SIGINT)
    up.wait_for("stopping stubborn")
    time.sleep(0.6)
    assert up.end(signal.SIGINT) == 0
    assert not any(map(living, up.pids("stubborn")))


def test_a_part_that_does_not_come_up_stops_the_start_and_shows_its_log(start: Start) -> None:
    up = start({"name": "one", "code": GOOD}, {"name": "broken", "code": DYING})
    assert up.process.wait(timeout=20) == 1
    assert "broken ended with code 7 before it was ready" in up.console
    assert "    it is broken" in up.console
    assert up.order() == ["start one", "end one"]


def test_a_part_that_is_never_ready_is_given_up(start: Start) -> None:
    up = start({"name": "sleepy", "code": "import time; time.sleep(60)", "ready_within": 0.5})
    assert up.process.wait(timeout=20) == 1
    assert "sleepy was not ready within 0 s" in up.console or "sleepy was not ready within 1 s" in up.console


def test_a_one_time_part_runs_before_the_next_and_is_not_started_again(start: Start) -> None:
    once = GOOD.replace("while True: time.sleep(0.05)", "sys.exit(0)")
    up = start({"name": "migrate", "code": once, "once": True}, {"name": "one", "code": GOOD})
    up.wait_for("all up")
    time.sleep(0.5)
    assert up.end() == 0
    assert up.order() == ["start migrate", "start one", "end one"]
    assert "migrate is done" in up.console


def test_a_failed_one_time_part_stops_the_start(start: Start) -> None:
    up = start({"name": "migrate", "code": DYING, "once": True}, {"name": "one", "code": GOOD})
    assert up.process.wait(timeout=20) == 1
    assert "migrate ended with code 7" in up.console
    assert up.pids("one") == []


def test_two_supervisors_on_one_folder_the_second_says_who_is_there(start: Start) -> None:
    first = start({"name": "one", "code": GOOD})
    first.wait_for("all up")
    second = start({"name": "one", "code": GOOD})
    assert second.process.wait(timeout=20) == 1
    second.wait_for(f"already running on this data folder (process {first.process.pid})")
    assert first.end() == 0
    assert len(first.pids("one")) == 1


def test_a_taken_port_is_reported_by_the_name_of_the_part(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = start({"name": "one", "code": GOOD}, {"name": "web", "code": GOOD, "ports": {"link pages": port}})
        assert up.process.wait(timeout=20) == 1
    assert f"web: port {port}, wanted for link pages, is taken by another program" in up.console
    assert up.pids("one") == [], "nothing was started"


def test_a_stale_record_of_a_reused_process_id_ends_nobody(start: Start, tmp_path: Path) -> None:
    """Our own process id with another start time: as if the number had been given to somebody else."""
    (tmp_path / "run").mkdir()
    record = {"pid": os.getpid(), "started": "another boot:1", "mark": "0123456789abcdef.one"}
    (tmp_path / "run" / "one.pid").write_text(json.dumps(record))
    (tmp_path / "run" / "junk.pid").write_text("12 34")
    up = start({"name": "one", "code": GOOD})
    up.wait_for("all up")
    assert "left behind" not in up.console
    assert up.end() == 0


def test_the_end_of_the_job_stops_everything_with_its_result(start: Start) -> None:
    up = start({"name": "one", "code": GOOD}, JOB="5")
    assert up.process.wait(timeout=20) == 5
    assert "job at work" in up.console
    assert up.order() == ["start one", "end one"]


def test_parts_alongside_start_before_the_one_before_them_is_ready(start: Start) -> None:
    until_two = "while not (folder / 'two.ready').exists(): time.sleep(0.02)"
    waiting = GOOD.replace('note("start")', f'note("start")\n{until_two}')
    up = start({"name": "one", "code": waiting}, {"name": "two", "code": GOOD, "alongside": True})
    up.wait_for("all up")
    assert up.console.splitlines() == ["one is ready", "two is ready", "all up"]
    assert up.end() == 0
    assert up.order()[2:] == ["end two", "end one"]


def test_a_part_alongside_that_dies_before_it_is_ready_stops_the_start(start: Start) -> None:
    up = start({"name": "one", "code": GOOD}, {"name": "two", "code": DYING, "alongside": True})
    assert up.process.wait(timeout=20) == 1
    assert "two ended with code 7 before it was ready" in up.console
    assert not list((up.folder / "run").glob("*.pid"))
