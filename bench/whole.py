"""The whole system as processes: web, intake worker, delivery worker, beat, over the stage's database and broker."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import aiohttp
import psycopg
from sqlalchemy import text

from bench.machine import usage
from bench.stage import Stage, wait_for
from bench.workload import SOURCE, Event, Maker, configuration, furnish, picture, system
from notifier.core.ids import TenantId
from notifier.core.keys import make_api_key
from notifier.core.policy_file import parse
from notifier.core.records import ApiKey
from notifier.store import migrate
from notifier.unit import CommitPoint
from tests.peers.postgres import administer
from tests.peers.process import find_free_port

AT_ONCE = 64  #: requests under way
#: Routing updates an event; what its accept wrote here stays as that transaction left it, and so tells its commit.
NOTE_ACCEPTS = """
CREATE TABLE bench_accepts (event_id text NOT NULL);
CREATE FUNCTION bench_note_accept() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO bench_accepts VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER bench_note_accept AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION bench_note_accept();
"""
COMMITS = """
SELECT e.tenant, e.source_id, extract(epoch FROM pg_xact_commit_timestamp(a.xmin)) AS at
FROM bench_accepts a JOIN events e ON e.id = a.event_id
"""


@dataclass(frozen=True, slots=True)
class Posting:
    """Events of one tenant, posted together, at a moment of the schedule (seconds)."""

    at: float
    tenant: str
    events: tuple[Event, ...]


@dataclass
class Whole:
    """What runs."""

    stage: Stage
    database_url: str
    url: str
    keys: Mapping[str, str]  #: API key by tenant
    pids: dict[str, int] = field(default_factory=dict)

    def post(self, postings: Sequence[Posting]) -> dict[str, float]:
        """Post each at its time; returns the monotonic time at which each event was meant to be sent, by event id.

        Meant, not sent: a system that stalls keeps its clients waiting, and that wait is part of what it does to them.
        """
        return asyncio.run(self._post(postings))

    async def _post(self, postings: Sequence[Posting]) -> dict[str, float]:
        begun: dict[str, float] = {}
        room = asyncio.Semaphore(AT_ONCE)
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            start = time.monotonic()
            for posting in postings:
                await asyncio.sleep(max(0.0, start + posting.at - time.monotonic()))
                await room.acquire()
                begun.update((f"{posting.tenant} {event['id']}", start + posting.at) for event in posting.events)
                tasks.create_task(self._one(session, posting, room))
        return begun

    async def _one(self, session: aiohttp.ClientSession, posting: Posting, room: asyncio.Semaphore) -> None:
        single = len(posting.events) == 1
        body = json.dumps(posting.events[0] if single else posting.events)
        kind = "application/cloudevents+json" if single else "application/cloudevents-batch+json"
        headers = {"authorization": f"Bearer {self.keys[posting.tenant]}", "content-type": kind}
        try:
            async with session.post(f"{self.url}/v1/events", data=body, headers=headers) as answer:
                assert answer.status < 300, await answer.text()
        finally:
            room.release()

    def handovers(self, begun: Mapping[str, float], paths: str = "") -> dict[str, float]:
        """Seconds from what begun tells to the first byte at the sink, by event id; without what did not arrive.

        Begun with the request, what is told is longer than a hand-over, which begins with the accept commit after it.
        """
        named: dict[str, str] = {}
        made = system(self.stage, self.database_url)
        query = text("SELECT n.id, e.tenant, e.source_id FROM notifications n JOIN events e ON e.id = n.event_id")
        with made.store.engine.connect() as connection:
            named.update((row.id, f"{row.tenant} {row.source_id}") for row in connection.execute(query))
        made.store.close()
        found: dict[str, float] = {}
        for arrival, at in self.stage.sink.arrivals():
            path, _, notification = arrival.partition(" ")
            event = named.get(notification, "")
            if path.startswith(paths) and event in begun and event not in found:
                found[event] = at - begun[event]
        return found

    def commits(self) -> dict[str, float]:
        """The monotonic time of every event's accept commit so far, by event id; only where accepts are noted."""
        moved = time.time() - time.monotonic()
        made = system(self.stage, self.database_url)
        with made.store.engine.connect() as connection:
            found = {
                f"{row.tenant} {row.source_id}": float(row.at) - moved for row in connection.execute(text(COMMITS))
            }
        made.store.close()
        return found

    def cpu(self) -> dict[str, float]:
        """CPU seconds of every part so far."""
        pids = {**self.pids, "postgres": self.stage.postgres_pid, "broker": self.stage.broker_pid}
        return {name: usage(pid).cpu for name, pid in pids.items()}


@contextmanager
def whole(
    stage: Stage, policy: str = "", workers: int = 1, make: Maker = picture, note_accepts: bool = False
) -> Iterator[Whole]:
    """Start everything on an empty database with that configuration; ten events of `make` warm it.

    `note_accepts` lets the database note each accept's commit: a trigger, paid for by the accepts.
    """
    with ExitStack() as stack:
        database_url = stack.enter_context(_empty(stage))
        if note_accepts:
            _note_accepts(database_url)
        keys = _configure(stage, database_url, policy or configuration(stage.sink.url()))
        environment, port = stage.environment(database_url), find_free_port()
        made = Whole(stage, database_url, f"http://127.0.0.1:{port}", keys)

        def start(name: str, *command: str, port: int | None = None) -> None:
            words = (sys.executable, "-m", "notifier", *command)
            process = stack.enter_context(stage.process(name, *words, environment=environment, port=port))
            made.pids[name] = process.pid

        start("intake", "worker", "intake")
        for number in range(workers):
            start(f"deliver {number + 1}", "worker", "deliver")
        start("beat", "beat")
        start("web", "web", "--port", str(port), port=port)
        stage.sink.reset()
        _warm(made, make)
        yield made


@contextmanager
def _empty(stage: Stage) -> Iterator[str]:
    name = f"whole_{next(stage.numbers)}"
    administer(stage.postgres, f"CREATE DATABASE {name} TEMPLATE template0")
    migrate(stage.database_url(name))
    try:
        yield stage.database_url(name)
    finally:
        administer(stage.postgres, f"DROP DATABASE {name} WITH (FORCE)")


def _note_accepts(database_url: str) -> None:
    with psycopg.connect(database_url.replace("postgresql+psycopg", "postgresql")) as connection:
        connection.execute(NOTE_ACCEPTS)


def _configure(stage: Stage, database_url: str, policy: str) -> dict[str, str]:
    made = system(stage, database_url)
    furnish(stage, made, policy)
    keys = {}
    for tenant in parse(policy, "notifier.toml").tenants:
        key = make_api_key()
        keys[str(tenant)] = key.plaintext
        rights = ApiKey(
            key.id, TenantId(tenant), "bench", key.secret_hash, (SOURCE,), ("coolr.*",), False, False, made.clock()
        )
        with made.store.write(CommitPoint.ADMIN) as tx:
            tx.save_api_key(rights)
    made.store.close()
    return keys


def _warm(made: Whole, make: Maker) -> None:
    """Every part has worked once before anything is measured."""
    tenant = next(iter(made.keys))
    made.post([Posting(0.1 * n, tenant, ({**make(n), "id": f"warm-{n}"},)) for n in range(10)])
    assert wait_for(made.stage.sink, 10, 60)[0] >= 10, "the whole system delivered nothing"
    made.stage.sink.reset()


def percentile(values: Iterable[float], share: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))] if ordered else float("nan")
