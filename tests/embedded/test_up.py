"""`notifier up` with its real parts: each is back after a kill -9, all end in order, nothing survives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifier.embedded.identity import Identity, alive, processes_of, read_pid_files, start_time
from tests.peers.process import find_free_port, wait_until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

LASTING = {"broker", "outbox", "web", "intake", "deliver", "beat"}


class Up:
    """A running `notifier up`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "console"
        environment = {
            **os.environ,
            "NOTIFIER_DATA_DIR": str(folder),
            "NOTIFIER_BASE_URL": f"http://127.0.0.1:{find_free_port()}",
            "NOTIFIER_OUTBOX_PORT": str(find_free_port()),
            "NOTIFIER_OUTBOX_SMTP_PORT": str(find_free_port()),
        }
        with self.log.open("ab") as console:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "notifier", "up"],
                env=environment,
                cwd=folder,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self.wait_for("stops everything", 90)

    def wait_for(self, text: str, seconds: float) -> None:
        wait_until(lambda: text in self.log.read_text() or self.process.poll() is not None, text, seconds)
        assert text in self.log.read_text(), self.log.read_text()

    def parts(self) -> dict[str, Identity]:
        return {path.stem: i for path, i in read_pid_files(self.folder / "run").items() if alive(i)}


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    one = Up(tmp_path)
    yield one
    if one.process.poll() is None:
        one.process.terminate()
        one.process.wait(timeout=60)


def test_every_part_comes_back_within_two_seconds_and_all_end_in_order(up: Up) -> None:
    wait_until(lambda: set(up.parts()) == LASTING, "all parts")
    first = up.parts()
    for name, identity in first.items():
        if name == "broker":
            continue  # the workers lose their connection with it: last
        _kill_and_await(up, name, identity)
    _kill_and_await(up, "broker", first["broker"])
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(timeout=60) == 0
    stopped = [line.split()[1] for line in up.log.read_text().splitlines() if line.startswith("stopping ")]
    assert stopped == ["beat", "deliver", "intake", "web", "outbox", "broker"]
    assert "killed" not in up.log.read_text()
    assert up.parts() == {}


def _kill_and_await(up: Up, name: str, identity: Identity) -> None:
    os.kill(identity.pid, signal.SIGKILL)
    killed = time.monotonic()
    wait_until(lambda: up.parts().get(name, identity).pid != identity.pid, f"{name} again", 10)
    assert time.monotonic() - killed < 2, name
    up.wait_for(f"{name} is back", 60)


def test_nothing_survives_a_kill_9_of_the_supervisor(up: Up) -> None:
    everything = {pid for identity in up.parts().values() for pid in processes_of(identity)}
    assert len(everything) > len(LASTING), "the intake worker has a pool"
    up.process.kill()
    up.process.wait()
    wait_until(lambda: not any(start_time(pid) for pid in everything), "everything gone", 15)
