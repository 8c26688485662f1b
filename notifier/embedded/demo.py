"""The demo's jobs on a running embedded system: an hour of the fleet to look at, or one that is checked and ends.

The check is done by programs that import nothing of ours (demo/ in the repository); here they are only started.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import notifier
from notifier.bootstrap import System, build
from notifier.config import load
from notifier.embedded.supervisor import Tell
from notifier.embedded.system import Running, SystemJob
from notifier.errors import ConfigError, Problem
from notifier.simulator.feed import feed
from notifier.simulator.idle import wait_until_idle
from notifier.simulator.prepare import Fleet, prepare
from notifier.simulator.stories import Sending, hour

HOUR = timedelta(hours=1)
CHECKED_SEEDS = (1, 2)  #: the hours that demo/expected.csv was reviewed for
CHECK_WITHIN = 180  #: seconds each of the checking programs may take
VERDICT = "verdict.txt"  #: what the check printed
LEDGER = "ledger.jsonl"  #: what was sent, and what the sender was told

Stopping = Callable[[], bool]


def showing(minutes: float, tell: Tell) -> SystemJob:
    """Return the job of `make demo`: feed the next hour within `minutes`, then stay up until stopped."""

    def job(running: Running) -> int:
        system, fleet = _prepared(running)
        seed = _next_hour(running.folder.root / "hours")
        sendings = hour(seed, datetime.now(UTC) - HOUR)
        tell(f"Hour {seed} of the fleet: {len(sendings)} events within {minutes:g} minutes. Watch the outbox.")
        sent = _feed(running, system, fleet, sendings, minutes * 60 / HOUR.total_seconds())
        tell(f"The hour is over, {sent} events were sent. Everything stays up; Ctrl-C ends it.")
        while not running.stopping():
            time.sleep(0.2)
        return 0

    return job


def checking(tell: Tell, seeds: Sequence[int] = CHECKED_SEEDS) -> SystemJob:
    """Return the job of `make demo ONCE=1`: feed fixed hours at once, act as the people do, compare everything.

    Raises ConfigError outside of a checkout: the checking programs are not shipped.
    """
    scripts = _scripts()

    def job(running: Running) -> int:
        system, fleet = _prepared(running)
        base = datetime.now(UTC) - HOUR
        sendings = sorted((sending for seed in seeds for sending in hour(seed, base)), key=lambda sending: sending.at)
        # What follows from something must come after it, however fast we send: so wave by wave.
        for wave in sorted({sending.wave for sending in sendings}):
            tell(f"wave {wave + 1}: {sum(sending.wave == wave for sending in sendings)} events")
            _feed(running, system, fleet, [sending for sending in sendings if sending.wave == wave])
            _settle(system, running.stopping, tell)
        tell("people open every link and decide some orders")
        if (code := _run(scripts / "people.py", running)) != 0:
            return code
        _settle(system, running.stopping, tell)
        return _run(scripts / "check.py", running, running.folder.root / VERDICT)

    return job


def simulate(data_dir: Path, environ: Mapping[str, str], seed: int, minutes: float) -> int:
    """Feed an hour of the fleet to the embedded system that runs on that folder; returns how many events were sent.

    `environ` is the running system's. Raises httpx.HTTPError when it does not take events.
    """
    system = build(load(environ), environ)
    callbacks = f"http://127.0.0.1:{environ['NOTIFIER_OUTBOX_PORT']}"
    fleet = prepare(system, data_dir, callbacks)
    sendings = hour(seed, datetime.now(UTC) - HOUR)
    publish = _publisher(system.settings.broker_url)
    pace = minutes * 60 / HOUR.total_seconds()
    try:
        return feed(sendings, system.settings.base_url, fleet.keys, publish, data_dir / LEDGER, pace=pace)
    finally:
        system.store.close()


def _prepared(running: Running) -> tuple[System, Fleet]:
    system = build(load(running.environment), running.environment)
    return system, prepare(system, running.folder.root, running.callbacks_url)


def _feed(running: Running, system: System, fleet: Fleet, sendings: Sequence[Sending], pace: float = 0.0) -> int:
    return feed(
        sendings,
        running.web_url,
        fleet.keys,
        _publisher(system.settings.broker_url),
        running.folder.root / LEDGER,
        pace=pace,
        stopping=running.stopping,
    )


def _publisher(broker_url: str) -> Callable[[str, dict[str, Any]], None]:
    """Hand events to the intake worker as another Celery application would."""
    from notifier.worker.app import app

    app.conf.broker_url = broker_url

    def publish(tenant: str, event: dict[str, Any]) -> None:
        app.send_task("notifier.consume", [event, tenant], ignore_result=True)

    return publish


def _settle(system: System, stopping: Stopping, tell: Tell) -> None:
    left = wait_until_idle(system, stopping)
    if left and not stopping():
        tell("stuck: " + ", ".join(f"{count} {what}" for what, count in left.items()))


def _next_hour(record: Path) -> int:
    """A number no demo on this folder had before, so that a second demo is not all duplicates."""
    try:
        last = int(record.read_text(encoding="ascii"))
    except (OSError, ValueError):
        last = 0
    record.write_text(str(last + 1), encoding="ascii")
    return last + 1


def _scripts() -> Path:
    folder = Path(notifier.__file__).parent.parent / "demo"
    if not (folder / "check.py").is_file():
        raise ConfigError(
            [Problem("demo --once", "the checking programs (demo/) are only in a checkout of the source")]
        )
    return folder


def _run(script: Path, running: Running, output: Path | None = None) -> int:
    """Run one of the checking programs; what it prints goes to `output`, to be shown when everything has stopped."""
    command = [sys.executable, str(script), str(running.folder.root)]
    with output.open("wb") if output else nullcontext() as file:
        try:
            return subprocess.run(command, stdout=file, timeout=CHECK_WITHIN, check=False).returncode
        except subprocess.TimeoutExpired:
            return 1
