"""Hand-over: from an event's accept commit to the first byte at the receiver, through HTTP, routing and delivery.

Told from the request on as well, as a client sees it. Idle (one event each 100 ms) and at 70 % of what the whole system
was measured to carry; and what the system costs when nothing happens. The naive way beside it, from its task's
publishing on: it is spared HTTP and routing.
"""

from __future__ import annotations

import math
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import text

from bench.stage import Stage, wait_for
from bench.whole import Posting, Whole, percentile, whole
from bench.workload import TENANT, backlog, picture, system

PACE = 0.1  #: seconds between events when idle
LOAD = 0.7  #: of the capacity


@dataclass(frozen=True, slots=True)
class Handover:
    """What was seen."""

    what: str
    sent: int
    arrived: int
    p50: float  #: seconds
    p99: float
    note: str = ""

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        times = {"p50_ms": round(self.p50 * 1e3, 1), "p99_ms": round(self.p99 * 1e3, 1)}
        return {"what": self.what, "sent": self.sent, "arrived": self.arrived, **times, "note": self.note}


def of(what: str, sent: int, seconds: list[float], note: str = "") -> Handover:
    """Sum up. What did not arrive took for ever: a goal is not met by losing what is slow."""
    all_of_them = seconds + [math.inf] * (sent - len(seconds))
    return Handover(what, sent, len(seconds), percentile(all_of_them, 0.5), percentile(all_of_them, 0.99), note)


def paced(count: int, per_second: float, first: int, tenant: str = TENANT) -> list[Posting]:
    """Single events at a steady pace."""
    return [Posting(n / per_second, tenant, (picture(first + n),)) for n in range(count)]


def through(made: Whole, what: str, postings: list[Posting], note: str = "") -> Handover:
    """Post, wait until all arrived, and sum up: from the requests on."""
    begun = _post(made, postings)
    return of(what, len(begun), list(made.handovers(begun).values()), note)


def both_ways(made: Whole, what: str, postings: list[Posting], note: str = "") -> tuple[Handover, Handover]:
    """Likewise, from the accept commits on and from the requests on."""
    begun = _post(made, postings)
    commits = {event: at for event, at in made.commits().items() if event in begun}
    accepted = of(what, len(begun), list(made.handovers(commits).values()), note)
    return accepted, of(f"{what}, from the request on", len(begun), list(made.handovers(begun).values()), note)


def _post(made: Whole, postings: list[Posting]) -> dict[str, float]:
    sink = made.stage.sink
    sink.reset()
    begun = made.post(postings)
    wait_for(sink, len(begun), 60)
    return begun


def capacity(made: Whole, postings: list[Posting]) -> float:
    """These as fast as they are taken: what arrives per second, from the first to the last."""
    made.stage.sink.reset()
    begun = made.post([replace(posting, at=0.0) for posting in postings])
    arrived, first, last = wait_for(made.stage.sink, len(begun), 120)
    return (arrived - 1) / (last - first) if arrived > 1 else 0.0


def run(stage: Stage, idle: int, loaded: int, rest: float) -> dict[str, Any]:
    """All of it."""
    with whole(stage, note_accepts=True) as made:
        before = made.cpu()
        time.sleep(rest)
        asleep = {name: (cpu - before[name]) / rest for name, cpu in made.cpu().items()}
        quiet = both_ways(made, "idle, whole system", paced(idle, 1 / PACE, 0))
        carried = capacity(made, paced(loaded, 1.0, 1_000_000))
        rate = LOAD * carried
        share = f"{LOAD:.0%} of {carried:,.0f}/s"
        busy = both_ways(made, f"at {rate:,.0f}/s", paced(loaded, rate, 2_000_000), share)
    beside = naive(stage, idle)
    return {
        "idle_cpu": {name: round(share, 5) for name, share in asleep.items()},
        "idle_cpu_sum": round(sum(asleep.values()), 4),
        "capacity": round(carried, 1),
        "handover": [one.facts() for one in (*quiet, *busy, beside)],
    }


def naive(stage: Stage, count: int) -> Handover:
    """From publishing the task to the first byte; the rows are there already."""
    from bench.naive import app

    app.conf.broker_url = stage.broker_url
    with ExitStack() as stack:
        url = stack.enter_context(stage.copy(backlog(stage, "plain", count + 10)))
        made = system(stage, url)
        with made.store.engine.connect() as connection:
            ids = list(connection.execute(text("SELECT id FROM notifications ORDER BY id")).scalars())
        made.store.close()
        command = ("-m", "celery", "-A", "bench.naive", "worker", "-P", "prefork", "-c", "2", "-Q", "naive")
        quiet = ("--without-gossip", "--without-mingle", "--loglevel", "INFO")
        stack.enter_context(
            stage.process("naive", sys.executable, *command, *quiet, environment=stage.environment(url))
        )
        stage.sink.reset()
        for warm in ids[count:]:
            app.send_task("naive.deliver", (warm,))
        wait_for(stage.sink, len(ids) - count, 60)
        begun = {}
        for notification in ids[:count]:
            begun[notification] = time.monotonic()
            app.send_task("naive.deliver", (notification,))
            time.sleep(PACE)
        wait_for(stage.sink, len(ids), 30)
        app.pool.force_close_all()
    arrived = [(name.partition(" ")[2], at) for name, at in stage.sink.arrivals()]
    seconds = [at - begun[name] for name, at in arrived if name in begun]
    return of("idle, naive, without HTTP and routing", count, seconds)
