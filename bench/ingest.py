"""How many events a second `POST /v1/events` takes while routing and delivery run, on either database.

All parts are real processes on this machine, the load generator too: web, intake worker, delivery worker, beat, broker,
sink, database. Beside it, in the same run, two references: the same web stack that looks at no body (bench.bare_web),
and inserts of one event with one commit each. `python -m bench.ingest [sqlite|postgresql] [SECONDS]`
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from bench import workload
from bench.machine import Usage, usage
from bench.stage import Stage, stage
from notifier.bootstrap import System
from notifier.cli.run import WEB_LIMITS
from notifier.core.ids import EventId, OutletCode, new_id
from notifier.core.keys import make_api_key
from notifier.core.model import Event, EventType, Outlet
from notifier.core.records import ApiKey
from notifier.store import migrate
from notifier.unit import CommitPoint
from tests.peers.postgres import administer
from tests.peers.process import find_free_port

DATABASES = ("sqlite", "postgresql")
BATCH, BATCH_CONNECTIONS, SINGLE_CONNECTIONS = 100, 4, 50
DRAIN_SECONDS = 10.0  #: for which the backlog's way is watched
START_SECONDS = 40.0
NEEDED = ("web", "postgres")
PARTS = ("web", "intake", "deliver", "beat")
MB = 2**20

Result = dict[str, Any]


def run(on: Stage, seconds: float = 10.0, databases: tuple[str, ...] = DATABASES) -> Result:
    """Measure on each database; returns numbers by database, rates per second and their ratio to the references."""
    bare = _bare(on, seconds / 2)
    return {"bare web": bare} | {name: _measure(on, name, seconds, bare) for name in databases}


def _measure(on: Stage, name: str, seconds: float, bare: Mapping[str, Result]) -> Result:
    with _database(on, name) as url:
        made = workload.system(on, url)
        _furnish(made, configuration(on))
        naive = _one_commit_each(made, min(seconds, 3.0))
        key = _key(made)
        made.store.close()
        with ExitStack() as stack:
            port = find_free_port()
            pids = _start(on, url, port, stack)
            warm = _load(port, key, BATCH, 1.0, BATCH_CONNECTIONS, 1)
            _wait_until_routed(made)  # by then the workers have started
            result: Result = {"warm up": warm["events"], "one commit per event": naive, "answers": {}}
            for mode, batch, connections in (("batch", BATCH, BATCH_CONNECTIONS), ("single", 0, SINGLE_CONNECTIONS)):
                before = {part: usage(pid) for part, pid in pids.items()}
                routed = _counts(made)
                load = _load(port, key, batch, seconds, connections, time.time_ns() // 1000 % 10**12 * 10)
                after = {part: usage(pid) for part, pid in pids.items()}
                moved = _counts(made)
                result[mode] = {
                    "events": load["events"],
                    "requests": load["requests"],
                    "p50": load["p50"],
                    "p99": load["p99"],
                    "answers": load["answers"],
                    "of bare web": load["requests"] / bare[mode]["requests"],
                    "of one commit per event": load["events"] / naive,
                    "cpu us per event": _per_event(before, after, load),
                    "cores": {part: (after[part].cpu - before[part].cpu) / load["seconds"] for part in pids}
                    | {"load": load["cpu"] / load["seconds"]},
                    "web memory": [before["web"].memory / MB, after["web"].memory / MB],
                    "routed": (moved[0] - routed[0]) / load["seconds"],
                    "waiting": moved[1],
                }
            result["drained"] = _drain(made)
            made.store.close()
    return result


def configuration(on: Stage) -> str:
    """Every alert goes to an endpoint; nobody is mailed, so that the sinks cost little."""
    return workload.configuration(on.sink.url()).replace("coolr.image.*", "coolr.*", 1)


def _furnish(made: System, text: str) -> None:
    """Configuration and the one store that all alerts are about."""
    outlet = Outlet(workload.TENANT, OutletCode("O17"), "Store 17", country="ES", timezone="Europe/Madrid")
    with made.store.write(CommitPoint.ADMIN) as tx:
        tx.save_policy(text, "bench", made.clock())
        tx.save_tenants({workload.TENANT: "Bench Beverages"})
        tx.save_outlets([outlet])


@contextmanager
def _database(on: Stage, name: str) -> Iterator[str]:
    if name == "sqlite":
        path = on.folder / f"ingest-{next(on.numbers)}.db"
        migrate(f"sqlite:///{path}")
        yield f"sqlite:///{path}"
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        return
    made = f"ingest_{next(on.numbers)}"
    administer(on.postgres, f"CREATE DATABASE {made} TEMPLATE template0")
    migrate(on.database_url(made))
    yield on.database_url(made)
    administer(on.postgres, f"DROP DATABASE {made} WITH (FORCE)")


def _key(made: System) -> str:
    key = make_api_key()
    now = datetime.now(UTC)
    row = ApiKey(key.id, workload.TENANT, "bench", key.secret_hash, ("*",), ("coolr.*",), False, False, now)
    with made.store.write(CommitPoint.ADMIN) as tx:
        tx.save_api_key(row)
    return key.plaintext


def _start(on: Stage, url: str, port: int, stack: ExitStack) -> dict[str, int]:
    """Start the parts; returns their process ids, PostgreSQL's too."""
    environment = on.environment(url)
    commands = {
        "web": ("web", "--port", str(port)),
        "intake": ("worker", "intake"),
        "deliver": ("worker", "deliver"),
        "beat": ("beat",),
    }
    pids = {}
    for part in PARTS:
        command = (sys.executable, "-m", "notifier", *commands[part])
        process = on.process(part, *command, environment=environment, port=port if part == "web" else None)
        pids[part] = stack.enter_context(process).pid
    return pids | ({"postgres": on.postgres_pid} if url.startswith("postgresql") else {})


def _load(port: int, key: str, batch: int, seconds: float, connections: int, first: int) -> Result:
    command = [sys.executable, "-m", "bench.load", str(port), key, str(batch), str(seconds), str(connections)]
    done = subprocess.run([*command, str(first)], capture_output=True, text=True, timeout=seconds + 60, check=True)
    return dict(json.loads(done.stdout))


def _bare(on: Stage, seconds: float) -> dict[str, Result]:
    """What the web stack does with the same requests when it looks at none."""
    port = find_free_port()
    options = ("--port", str(port), "--no-access-log", "--no-server-header", "--no-proxy-headers")
    command = (sys.executable, "-m", "uvicorn", "bench.bare_web:create", "--factory", *options, *WEB_LIMITS)
    with on.process("bare-web", *command, environment=on.environment("sqlite://"), port=port):
        return {
            "batch": _load(port, "nk_bare", BATCH, seconds, BATCH_CONNECTIONS, 1),
            "single": _load(port, "nk_bare", 0, seconds, SINGLE_CONNECTIONS, 1),
        }


def _one_commit_each(made: System, seconds: float) -> float:
    """Events a second by the naive way: a transaction of one insert for each, nothing checked."""
    now = datetime.now(UTC)
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        event = Event(
            id=EventId(new_id()),
            tenant=workload.TENANT,
            source="naive",
            source_id=str(count),
            type=EventType.ALERT_OPENED,
            subject=f"alert/naive{count}",
            time=now,
            received_at=now,
            sequence=1,
            content_hash="",
            data={"alert_id": str(count), "text": "x" * 500},
        )
        with made.store.write(CommitPoint.ADMIN) as tx:
            tx.save_events([event])
            tx.set_aside([event.id], "for the reference", now)
        count += 1
    return count / (time.monotonic() - began)


def _per_event(before: Mapping[str, Usage], after: Mapping[str, Usage], load: Result) -> dict[str, float]:
    """Microseconds of each part that accepting needs; the others work off their backlog meanwhile."""
    count = load["events"] * load["seconds"] or 1.0
    spent = {part: (after[part].cpu - before[part].cpu) * 1e6 / count for part in after if part in NEEDED}
    return spent | {"load": load["cpu"] * 1e6 / count}


def _wait_until_routed(made: System) -> None:
    end = time.monotonic() + START_SECONDS
    while _counts(made)[1] and time.monotonic() < end:
        time.sleep(0.1)


def _counts(made: System) -> tuple[int, int]:
    """(events routed, events waiting)."""
    with made.store.read() as tx:
        _, everything = tx.list_rows("events", workload.TENANT, start=0, limit=1, filters={"routing_problem": None})
        waiting = tx.count_unrouted()
    return everything - waiting, waiting


def _drain(made: System) -> Result:
    """How fast the backlog is routed when nothing comes any more."""
    began, (_, first) = time.monotonic(), _counts(made)
    left = first
    while left and time.monotonic() - began < DRAIN_SECONDS:
        time.sleep(0.2)
        _, left = _counts(made)
    return {"backlog": first, "left": left, "routed": (first - left) / (time.monotonic() - began)}


if __name__ == "__main__":
    names = tuple(word for word in sys.argv[1:] if word in DATABASES) or DATABASES
    lasting = next((float(word) for word in sys.argv[1:] if word.replace(".", "").isdigit()), 10.0)
    with stage() as made_stage:
        print(json.dumps(run(made_stage, lasting, names), indent=1, default=str))
