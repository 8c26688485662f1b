"""Deliveries per second and CPU per delivery: ours with one and two workers, the naive way, the bare loop.

`python -m bench.throughput [plain|rich] [COUNT]` runs these alone. Counted at the sink, from the first arrival to the
last, so that starting up does not count.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from bench import report
from bench.machine import usage
from bench.stage import Stage, stage, wait_for
from bench.workload import backlog, system
from notifier.core.model import ClaimRequest
from notifier.core.records import WorkerSession

NAIVE_SHARE = 6  #: the naive way gets one of so many deliveries: it takes that much longer
NAIVE_LEAST = 200  #: deliveries per second under which the reference is not worth its name, and the run void
CONTESTANT = ("worker", "postgres", "broker")  #: whose CPU is the contestant's; the sink's is everybody's
BARE_CONCURRENCY = {"plain": 50, "rich": 20}


@dataclass(frozen=True, slots=True)
class Measured:
    """One contestant's run."""

    who: str
    count: int
    per_second: float
    cpu: dict[str, float]  #: microseconds per delivery, by process
    memory: int = 0  #: bytes of the largest worker process
    note: str = ""

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        cpu = {name: round(cost) for name, cost in self.cpu.items()}
        cpu["all"] = sum(cpu[name] for name in CONTESTANT if name in cpu)
        facts = {"who": self.who, "count": self.count, "per_second": round(self.per_second, 1), "cpu_us": cpu}
        return facts | {"memory_mb": round(self.memory / 2**20), "note": self.note}


def measure(stage: Stage, who: str, wanted: int, pids: Callable[[], list[int]], seconds: float = 180.0) -> Measured:
    """Watch the sink from the first arrival to the last, and what the processes cost meanwhile."""
    deadline = time.monotonic() + seconds
    while not (begun := stage.sink.count()[0]) and time.monotonic() < deadline:
        time.sleep(0.01)
    before = stage.costs(pids())
    count, first, last = wait_for(stage.sink, wanted, seconds)
    after = stage.costs(pids())
    settled = max(1, count - begun)
    cpu = {name: (after[name] - before[name]) / settled * 1e6 for name in after}
    memory = max((usage(pid).memory for pid in pids()), default=0)
    note = "" if count == wanted else f"{count} of {wanted} arrived"
    return Measured(who, count, (count - 1) / (last - first) if count > 1 else 0.0, cpu, memory, note)


def ours(stage: Stage, prepared: str, count: int, workers: int, who: str = "ours", **more: str) -> Measured:
    """Real delivery workers on a copy of the backlog."""
    with stage.copy(prepared) as url, ExitStack() as stack:
        stage.sink.reset()
        processes = [stack.enter_context(stage.worker(url, **more)) for _ in range(workers)]
        return measure(
            stage, f"{who}, {workers} worker{'s' * (workers > 1)}", count, lambda: [p.pid for p in processes]
        )


def naive(stage: Stage, prepared: str, count: int) -> Measured:
    """One Celery task per delivery."""
    from bench.naive import app

    with stage.copy(prepared) as url:
        made = system(stage, url)
        with made.store.engine.connect() as connection:
            query = text("SELECT id FROM notifications WHERE status = 'due' ORDER BY id LIMIT :count")
            ids = list(connection.execute(query, {"count": count}).scalars())
        made.store.close()
        stage.sink.reset()
        app.conf.broker_url = stage.broker_url
        with app.connection_for_write() as connection, app.amqp.producer_pool.acquire(block=True) as producer:
            for notification in ids:
                app.send_task("naive.deliver", (notification,), producer=producer)
            connection.release()
        command = ("-m", "celery", "-A", "bench.naive", "worker", "-P", "prefork", "-c", "2", "-Q", "naive")
        quiet = ("--without-gossip", "--without-mingle", "--loglevel", "INFO")
        environment = stage.environment(url)
        with stage.process("naive", sys.executable, *command, *quiet, environment=environment) as process:
            found = measure(stage, "naive Celery, prefork -c2", len(ids), lambda: [process.pid])
    if found.per_second < NAIVE_LEAST:
        note = f"VOID: under {NAIVE_LEAST}/s the reference is not worth its name; run it again"
        return Measured(found.who, found.count, found.per_second, found.cpu, found.memory, note)
    return found


def bare(stage: Stage, workload: str, count: int) -> Measured:
    """Our transport alone."""
    stage.sink.reset()
    protocol, port = ("http", stage.sink.http) if workload == "plain" else ("smtp", stage.sink.smtp)
    arguments = [protocol, str(port), str(count), str(BARE_CONCURRENCY[workload])]
    if workload == "rich":
        arguments.append(str(stage.folder / "mail.eml"))
    with stage.process("bare", sys.executable, "-m", "bench.bare", *arguments, environment={}) as process:
        return measure(stage, f"bare loop of our {protocol} transport", count, lambda: [process.pid])


def one_mail(stage: Stage, prepared: str) -> bytes:
    """The mail our worker would send first: what the bare loop sends again and again."""
    from notifier.channels import email
    from notifier.core.ids import AttemptId, SessionId, new_id

    with stage.copy(prepared) as url:
        made = system(stage, url)
        session, now = SessionId(new_id()), made.clock()
        made.pipeline.start_session(WorkerSession(session, "bench", 1, now, now))
        claimed = made.pipeline.claim(ClaimRequest(session, 1, 1)).rows
        content = email.build(made.pipeline.prepare(claimed[0], AttemptId(new_id()))).content
        made.store.close()
    (stage.folder / "mail.eml").write_bytes(content)
    return content


def run(stage: Stage, workload: str, count: int) -> list[Measured]:
    """Everything of ours and the naive way, one after another."""
    prepared = backlog(stage, workload, count)
    if workload == "rich":
        one_mail(stage, prepared)
    return [
        bare(stage, workload, count),
        ours(stage, prepared, count, 1),
        ours(stage, prepared, count, 2),
        naive(stage, prepared, max(20, count // NAIVE_SHARE)),
    ]


def main() -> None:
    """The command line."""
    workload = sys.argv[1] if len(sys.argv) > 1 else "plain"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 9000
    with stage() as made:
        report.show({workload: [one.facts() for one in run(made, workload, count)]})


if __name__ == "__main__":
    main()
