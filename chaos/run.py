"""Runs the product as production does, breaks it on schedule, lets it come to rest, and has it reckoned up.

python -m chaos.run [--database postgresql|sqlite] [--minutes 5] [--seed N] [--short] [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chaos import faults, reconcile, scene
from chaos.faults import Fault, Schedule
from chaos.ledger import Ledger
from chaos.parts import ROOT, Broker, Keeper, Part, Postgres, Sqlite, free_ports
from tests.peers.process import answers, wait_until

PER_SECOND = 8.0  #: events, beside the bursts
BURST = 50  #: stories begun just before a fault of a part
BUSY, BUSY_WITHIN = 12, 5.0  #: sends on their way when a part is broken, and seconds that may take
REST = 150.0  #: seconds that everything may take to come to rest after the last fault
DISK = 512  #: megabytes of the small file system
LOOK_EVERY = 0.5  #: seconds between looks at claims

CLAIMS = """SELECT n.claimed_by, w.pid, COUNT(*) FROM notifications n LEFT JOIN workers w ON w.id = n.claimed_by
WHERE n.status = 'claimed' GROUP BY n.claimed_by, w.pid"""
OPEN = "SELECT COUNT(*) FROM attempts WHERE outcome = 'open'"
UNREST = """SELECT (SELECT COUNT(*) FROM events WHERE routed_at IS NULL),
(SELECT COUNT(*) FROM notifications WHERE status IN ('due', 'claimed', 'unknown'))"""


@dataclass
class Stage:
    """Everything that runs."""

    folder: Path
    keeper: Keeper
    broker: Broker
    database: Postgres | Sqlite
    ledger: Ledger  #: of faults

    @property
    def parts(self) -> dict[str, Part]:
        """By name."""
        return self.keeper.parts


def main() -> int:
    """Return 0 when every promise was kept."""
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(100_000)
    print(f"chaos: seed {seed}, {options.database}", flush=True)
    schedule = faults.short(seed) if options.short else faults.draw(seed, options.minutes, options.database)
    for line in schedule.lines():
        print("  " + line)
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    print(f"everything is in {folder}", flush=True)
    stage = None
    try:
        stage = set_up(folder, options.database, seed, schedule)
        carry_out(stage, schedule)
        rested = come_to_rest(stage)
    finally:
        if stage is not None:
            take_down(stage)
    report = reconcile.reconcile(reconcile.read(folder, options.database, stage.database.plain))
    report.skipped += _skipped(stage, schedule)
    if not rested:
        report.violations.append(f"did not come to rest within {REST:.0f} s after the last fault")
    stop_database(stage)
    print("\n".join(report.lines()))
    print(f"chaos: {'kept' if not report.violations else 'BROKEN'}; repeat with SEED={seed}; ledgers in {folder}")
    if not report.violations and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if report.violations else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--short", action="store_true", help="about a minute, fixed faults")
    parser.add_argument("--keep", action="store_true", help="keep the ledgers although all is well")
    return parser.parse_args()


def _skipped(stage: Stage, schedule: Schedule) -> list[str]:
    planned = any(fault.what == "fill disk" for fault in schedule.parts)
    if planned and isinstance(stage.database, Sqlite) and not stage.database.small:
        return [f"SKIPPED: disk full, since no small file system may be mounted here ({stage.database.why_not})"]
    return []


# -- up --------------------------------------------------------------------------------------------------------------


def set_up(folder: Path, database_name: str, seed: int, schedule: Schedule) -> Stage:
    """Start everything and wait until it works."""
    logs = folder / "logs"
    logs.mkdir()
    web1, web2, callbacks, smtp, sms = free_ports(5)
    ports = scene.Ports((web1, web2), callbacks, smtp, sms)
    database = Postgres(folder) if database_name == "postgresql" else Sqlite(folder, DISK)
    broker, keeper = Broker(folder), Keeper(Ledger(folder / "lives.jsonl"))
    stage = Stage(folder, keeper, broker, database, Ledger(folder / "faults.jsonl"))
    settings = scene.environment(folder, database.url, f"redis+socket://{folder}/hints.sock?virtual_host=0", ports)

    def add(name: str, *command: str) -> Part:
        return keeper.add(Part(name, [sys.executable, "-m", *command], settings, logs / f"{name}.log"))

    try:
        if isinstance(database, Postgres):
            keeper.add(database.part({"PATH": os.environ["PATH"]}, logs / "database.log"))
            database.create()
        keeper.add(broker.part({}, logs / "broker.log"))
        broker.wait()
        add("proxy", "chaos.proxy", f"{folder}/hints.sock", str(broker.socket), f"{folder}/hints.jsonl")
        scene.prepare(folder, settings, ports)
        add("receivers", "chaos.receivers", str(folder), str(callbacks), str(smtp), str(sms))
        for number, port in enumerate(ports.web, 1):
            add(f"web{number}", "notifier", "web", "--port", str(port))
        add("intake", "notifier", "worker", "intake")
        for name in ("deliver1", "deliver2"):
            add(name, "notifier", "worker", "deliver")
        add("beat", "notifier", "beat")
        wait_until(lambda: all(map(answers, (*ports.web, callbacks, smtp, sms))), "everything listens", 60)
        wait_until(lambda: (database.query("SELECT COUNT(*) FROM workers") or [(0,)])[0][0] == 2, "two workers", 60)
        keeper.begin()
        add("load", "chaos.load", str(folder), str(seed), str(PER_SECOND))
    except BaseException:
        take_down(stage)
        stop_database(stage)
        raise
    return stage


# -- faults ----------------------------------------------------------------------------------------------------------


def carry_out(stage: Stage, schedule: Schedule) -> None:
    """Both tracks to their end."""
    begun = time.monotonic()
    watching = threading.Event()
    tracks = [
        threading.Thread(target=_track, args=(stage, schedule.parts, begun, break_part)),
        threading.Thread(target=_track, args=(stage, schedule.receivers, begun, break_receiver)),
        threading.Thread(target=_watch_claims, args=(stage, watching), daemon=True),
    ]
    for track in tracks:
        track.start()
    for track in tracks[:2]:
        track.join()
    time.sleep(max(0, begun + schedule.seconds - time.monotonic()))
    watching.set()
    tracks[2].join()


def _track(stage: Stage, faults_: tuple[Fault, ...], begun: float, carry: Callable[[Stage, Fault], float]) -> None:
    for fault in faults_:
        time.sleep(max(0, begun + fault.at - time.monotonic()))
        if fault.what == "fill disk" and not (isinstance(stage.database, Sqlite) and stage.database.small):
            continue
        if fault.what in faults.RECEIVERS:
            at = time.time()
        else:
            stage.parts["load"].tell(f"burst {BURST}")
            _wait_until_busy(stage)
            at = time.time()
        up = carry(stage, fault)
        kind = {} if fault.what in faults.RECEIVERS else {"part": True}
        stage.ledger.write(at=at, up=up, what=fault.what, hold=fault.hold, **kind)
        print(f"  {time.strftime('%H:%M:%S')} {fault.what}: up again after {up - at:.1f} s", flush=True)


def _wait_until_busy(stage: Stage) -> None:
    """Until the burst is being delivered; a moment when nothing is on its way would prove little."""
    end = time.monotonic() + BUSY_WITHIN
    while time.monotonic() < end and (stage.database.query(OPEN) or [(0,)])[0][0] < BUSY:
        time.sleep(0.05)


def break_part(stage: Stage, fault: Fault) -> float:
    """Carry a fault of a part out; returns when the last part was up again."""
    verb, _, name = fault.what.partition(" ")
    keeper = stage.keeper
    if fault.what == "kill both deliver":
        pids = {part: stage.parts[part].pid for part in ("deliver1", "deliver2")}
        for part in pids:
            stage.parts[part].signal(signal.SIGKILL)
        return max(keeper.wait_alive(part, pid) for part, pid in pids.items())
    if verb == "kill":
        pid = stage.parts[name].pid
        # A pool's children end with their parent, as in a container; the postmaster's own notice by themselves.
        stage.parts[name].signal(signal.SIGKILL, group=name == "intake")
        return keeper.wait_alive(name, pid)
    if verb == "stop":
        stopped = stage.parts[name]
        stopped.signal(signal.SIGSTOP, group=True)
        time.sleep(fault.hold)
        stopped.signal(signal.SIGCONT, group=True)
        return time.time()
    if fault.what == "flush broker":
        stage.broker.ask("FLUSHALL")
        return time.time()
    if fault.what == "restart broker without data":
        return _restart_broker(stage, fault.hold)
    if name == "hints":
        stage.parts["proxy"].tell(verb)
        time.sleep(fault.hold)
        stage.parts["proxy"].tell("pass")
        return time.time()
    if fault.what == "restart database":
        pid = stage.parts["database"].pid
        stage.parts["database"].signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        return keeper.wait_alive("database", pid)
    assert fault.what == "fill disk" and isinstance(stage.database, Sqlite)
    stage.database.fill()
    time.sleep(fault.hold)
    stage.database.empty()
    return time.time()


def _restart_broker(stage: Stage, hold: float) -> float:
    pid = stage.parts["broker"].pid
    stage.keeper.hold("broker")
    stage.parts["broker"].signal(signal.SIGKILL)
    wait_until(lambda: not stage.parts["broker"].alive, "the broker is dead", 10)
    stage.broker.forget()
    time.sleep(hold)
    stage.keeper.release("broker")
    return stage.keeper.wait_alive("broker", pid)


def break_receiver(stage: Stage, fault: Fault) -> float:
    """Carry a fault of a receiver out; returns when it was over."""
    receiver, _, mode = fault.what.partition(" ")
    stage.parts["receivers"].tell(json.dumps({receiver: mode}))
    time.sleep(fault.hold)
    stage.parts["receivers"].tell(json.dumps({receiver: "ok"}))
    return time.time()


def _watch_claims(stage: Stage, ending: threading.Event) -> None:
    """Write down how many claims belong to sessions whose process is gone or that were declared dead."""
    ledger = Ledger(stage.folder / "claims.jsonl")
    while not ending.wait(LOOK_EVERY):
        at, alive = time.time(), stage.keeper.alive
        rows = stage.database.query(CLAIMS)
        if rows is not None:
            dead = {session: count for session, pid, count in rows if pid not in alive}
            ledger.write(at=at, claimed=sum(row[2] for row in rows), dead=dead)


# -- down ------------------------------------------------------------------------------------------------------------


def come_to_rest(stage: Stage) -> bool:
    """The senders and people finish, retries are pulled forward as an operator may; until nothing waits any more."""
    load = stage.parts["load"]
    load.wanted = False
    load.tell("stop")
    end, since = time.monotonic() + REST, time.time()
    seen: list[tuple[int, int]] = []
    while time.monotonic() < end:
        rows = stage.database.query(UNREST)
        if rows is not None:
            seen.append((int(rows[0][0]), int(rows[0][1])))
            if not load.alive and seen[-2:] == [(0, 0), (0, 0)]:
                print(f"  at rest after {time.time() - since:.0f} s", flush=True)
                time.sleep(2)  # the last status call-backs
                return True
            if seen[-1][1]:
                _pull_forward(stage.database)
        time.sleep(1.5)
    print(f"  not at rest: {'senders or people still wait' if load.alive else seen[-1:]}", flush=True)
    return False


def _pull_forward(database: Postgres | Sqlite) -> None:
    """End rests and make what waits for a later try due now: it is to be shown delivered and not only promised."""
    now = int(time.time() * 1_000_000)
    paused = "in_flight_window = 1, paused_until = NULL"  # as they come back from a rest
    for statement in (
        f"UPDATE lanes SET {paused} WHERE paused_until > {now}",  # noqa: S608
        f"UPDATE notifications SET due_at = {now} WHERE status IN ('due', 'unknown') AND due_at > {now}",  # noqa: S608
        f"UPDATE lanes SET next_due_at = {now} WHERE next_due_at > {now}",  # noqa: S608  # numbers of ours
    ):
        database.query(statement)


def take_down(stage: Stage) -> None:
    """End everything but the database, whose rows are to be read; how it ends is no longer of interest."""
    for name in stage.parts.keys() - {"database"}:
        stage.keeper.hold(name)
    first = [part for name, part in stage.parts.items() if name not in ("broker", "proxy", "database", "receivers")]
    for part in first:
        part.signal(signal.SIGCONT, group=True)
        part.signal(signal.SIGTERM)
    for part in first:
        part.end(signal.SIGTERM, 20)
    for name in ("receivers", "proxy", "broker"):
        if name in stage.parts:
            stage.parts[name].end(signal.SIGTERM, 5)
    if isinstance(stage.database, Sqlite):
        stage.database.close()


def stop_database(stage: Stage) -> None:
    """The last part, and the keeper with it."""
    if "database" in stage.parts:
        stage.parts["database"].end(signal.SIGINT, 10)
    stage.keeper.end()


if __name__ == "__main__":
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # in order: a file system may be mounted
    sys.exit(main())
