"""The embedded broker, with the real Valkey: found by Celery, survives kill -9, leaves no orphan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kombu.connection import Connection

from notifier.embedded.folder import open_folder
from notifier.embedded.identity import read_pid_files, start_time
from notifier.embedded.valkey import LONGEST_SOCKET_PATH, RunningBroker, embedded_broker, start_embedded_broker
from tests.peers.process import wait_until

pytestmark = pytest.mark.processes


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    running = start_embedded_broker(tmp_path)
    yield running
    running.stop()


def pid_of(folder: Path) -> int:
    return next(i.pid for i in read_pid_files(folder / "run").values())


def client(running: RunningBroker) -> redis.Redis:
    return redis.Redis.from_url(running.redis_url)


def test_both_urls_lead_to_it_and_nothing_is_evicted(broker: RunningBroker) -> None:
    with Connection(broker.broker_url) as connection:
        queue = connection.SimpleQueue("deliver")
        queue.put({"hint": True})
        assert queue.get(timeout=5).payload == {"hint": True}
        queue.close()
    with client(broker) as limits:
        limits.set("k", 1)
        settings = limits.config_get("*")
    wanted = {"appendonly": "yes", "maxmemory-policy": "noeviction", "port": "0"}
    assert {name: settings[name] for name in wanted} == wanted


def test_what_was_published_survives_kill_9(tmp_path: Path) -> None:
    first = start_embedded_broker(tmp_path)
    with client(first) as before:
        before.set("hint", "there is work")
    os.kill(pid_of(tmp_path), signal.SIGKILL)
    first.stop()
    second = start_embedded_broker(tmp_path)
    with client(second) as after:
        assert after.get("hint") == b"there is work"
    second.stop()


def test_the_broker_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = f"""
import pathlib, time
from notifier.embedded.valkey import start_embedded_broker
start_embedded_broker(pathlib.Path({str(tmp_path)!r}))
print("up", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        pid = pid_of(tmp_path)
        owner.kill()
    wait_until(lambda: start_time(pid) is None, "the broker gone", 5)


def test_an_orphan_on_the_socket_is_ended_and_replaced(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    broker = embedded_broker(folder)
    with subprocess.Popen(broker.command(), stdout=subprocess.DEVNULL) as orphan:
        wait_until(broker.answers, "the orphan")
        running = start_embedded_broker(tmp_path)
        assert orphan.wait(timeout=10) == 0
    assert broker.answers()
    assert pid_of(tmp_path) != orphan.pid
    running.stop()
    assert not broker.answers()


def test_a_deep_data_folder_gets_a_short_private_socket_path(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-name"] * 8)
    running = start_embedded_broker(deep)
    socket = embedded_broker(open_folder(deep)).socket
    assert len(str(socket)) <= LONGEST_SOCKET_PATH
    assert socket.parent.stat().st_mode & 0o077 == 0
    with client(running) as works:
        assert works.ping()
    running.stop()
    socket.parent.rmdir()
