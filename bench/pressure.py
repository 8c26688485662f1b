"""Under pressure: slow receivers, one tenant with most of the load, dead endpoints, a million waiting rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from bench import throughput
from bench.latency import Handover, capacity, of
from bench.machine import Busy
from bench.sink import MEAN_WAIT
from bench.stage import Stage, wait_for
from bench.whole import Posting, Whole, whole
from bench.workload import CHUNK, IN_FLIGHT, TENANT, backlog, credential, endpoint, furnish, items, picture, system
from notifier.core.ids import TenantId
from notifier.store import migrate
from notifier.store.types import to_micros
from tests.peers.postgres import administer
from tests.peers.process import find_free_port

SLOW_ENDPOINTS = 20
TENANTS, ENDPOINTS = 10, 100  #: of the fleet with dead endpoints: 1,000 in all
LIVE = "e5"  #: an endpoint that is never dead
BUSY = 0.5  #: of all processor time of the machine, load generator and receivers included
FIRST = 0.25  #: of what the system carries: where its busyness is looked at first
FULL = 0.5  #: of what it carries in large groups; in the small groups of a steady stream that is nearly all it has
PROBE_SECONDS = 6.0
BATCHES = 10  #: requests a second of the big tenant
FLOOD, OTHERS = TenantId("flood"), TenantId("others")


# -- slow receivers ----------------------------------------------------------------------------------------------------


def slow(stage: Stage, count: int) -> dict[str, Any]:
    """What one worker gets through when receivers are slow, as a share of slots divided by their mean latency."""
    urls = {f"e{n}": stage.sink.url("/slow") for n in range(SLOW_ENDPOINTS)}
    prepared = _endpoints_backlog(stage, "slow", urls, count)
    found = throughput.ours(stage, prepared, count, 1, "ours, slow receivers")
    ideal = stage.slots / MEAN_WAIT
    share = round(found.per_second / ideal, 3)
    return {**found.facts(), "ideal_per_second": round(ideal), "share": share}


def tenant(name: str, urls: dict[str, str], in_flight: int | None = None) -> str:
    """A tenant whose pictures go to the endpoint named like their outlet; None = what endpoints usually may have."""
    rules = (
        f'[[tenants.{name}.rules]]\nname = "{one}"\nwhen = {{ outlet = ["{one}"] }}\n'
        f'send = [{{ to = "endpoint:{one}" }}]\n'
        for one in urls
    )
    endpoints = (endpoint(one, url, name, in_flight) for one, url in urls.items())
    return f'[tenants.{name}]\nname = "{name}"\n{"".join(rules)}{"".join(endpoints)}'


def at_outlet(number: int, outlet: str) -> dict[str, Any]:
    """A picture taken there."""
    made = picture(number)
    return {**made, "data": {**made["data"], "outlet": {"code": outlet}}}


def live(number: int) -> dict[str, Any]:
    """A picture whose receiver lives."""
    return at_outlet(number, LIVE)


def _endpoints_backlog(stage: Stage, name: str, urls: dict[str, str], count: int) -> str:
    """A backlog spread evenly over endpoints."""
    database = f"backlog_{name}_{count}"
    administer(stage.postgres, f"CREATE DATABASE {database} TEMPLATE template0")
    migrate(stage.database_url(database))
    made = system(stage, stage.database_url(database))
    furnish(stage, made, tenant(TENANT, urls, IN_FLIGHT))
    names = list(urls)

    def make(number: int) -> dict[str, Any]:
        return at_outlet(number, names[number % len(names)])

    for start in range(0, count, CHUNK):
        made.pipeline.accept(items(make, range(start, min(start + CHUNK, count))), credential())
        while made.pipeline.route():
            pass
    made.store.close()
    return database


# -- fairness ----------------------------------------------------------------------------------------------------------


def one_big_tenant(stage: Stage, trial: int, seconds: float) -> dict[str, Any]:
    """p99 of the small tenant: alone, and beside one that sends nine times as much, in batches.

    Together they keep the machine BUSY. Where it is not idle for long, one measures how two tenants share a processor,
    which no order of work changes: that is told too, at FULL.
    """
    policy = "".join(tenant(name, {LIVE: stage.sink.url(f"/{name}")}) for name in (OTHERS, FLOOD))

    def small(first: int, few: float, seconds: float) -> list[Posting]:
        return [Posting(n / few, OTHERS, (at_outlet(first + n, LIVE),)) for n in range(round(few * seconds))]

    def big(first: int, many: float, seconds: float) -> list[Posting]:
        size = max(1, round(many / BATCHES))
        return [
            Posting(n / BATCHES, FLOOD, tuple(at_outlet(first + n * size + m, LIVE) for m in range(size)))
            for n in range(int(seconds * BATCHES))
        ]

    def mix(first: int, rate: float, seconds: float) -> list[Posting]:
        both = small(first, rate * 0.1, seconds) + big(first, rate * 0.9, seconds)
        return sorted(both, key=lambda posting: posting.at)

    def of_others(made: Whole, what: str, postings: list[Posting]) -> Handover:
        return _seen(made, what, postings, lambda event: event.startswith(OTHERS))

    with whole(stage, policy, make=live) as made:
        carried = capacity(made, mix(1_000_000, trial / 10, 10.0))
        rate = _half_busy(made, carried, lambda rate: mix(2_000_000, rate, PROBE_SECONDS))
        quiet = of_others(made, "small tenant, quiet", small(0, rate / 10, seconds))
        with Busy() as busy:
            pressed = of_others(made, f"beside nine times its load, {rate:,.0f}/s", mix(100_000, rate, seconds))
        full = of_others(
            made, f"beside nine times its load, {FULL * carried:,.0f}/s", mix(400_000, FULL * carried, seconds)
        )
    return _beside(carried, quiet, pressed, full) | {"rate": round(rate, 1), "busy": round(busy.share, 2)}


def dead_endpoints(
    stage: Stage, trial: int, seconds: float, tenants: int = TENANTS, endpoints: int = ENDPOINTS
) -> dict[str, Any]:
    """p99 of nine endpoints in ten: with the tenth alive, and dead, by turns never answering and refusing.

    At a rate that keeps the machine BUSY with all of them alive. Both runs begin with lanes that nothing was sent to
    yet: the dead are not known to be dead.
    """
    closed = find_free_port()

    def policy(dead: bool) -> str:
        text_ = ""
        for t in range(tenants):
            urls = {}
            for e in range(endpoints):
                good, silent, shut = stage.sink.url(), stage.sink.url("/dead"), f"http://127.0.0.1:{closed}/"
                urls[f"e{e}"] = good if not dead or not _dies(e) else (silent if e % 20 else shut)
            text_ += tenant(f"t{t}", urls)
        return text_

    def postings(count: int, per_second: float, first: int = 0) -> list[Posting]:
        made = []
        for n in range(count):
            e, t = n % endpoints, n // endpoints % tenants
            made.append(Posting(n / per_second, f"t{t}", (at_outlet(first + n, f"e{e}"),)))
        return made

    def alive(event: str) -> bool:
        return not _dies(int(event.rpartition("-")[2]) % endpoints)

    with whole(stage, policy(dead=False), make=live) as made:
        carried = capacity(made, postings(trial, 1.0))
        rate = _half_busy(made, carried, lambda rate: postings(round(PROBE_SECONDS * rate), rate, 1_000_000))
    found = []
    for dead in (False, True):
        with whole(stage, policy(dead), make=live) as made:
            all_ = tenants * endpoints
            what = f"{all_ * 9 // 10} endpoints beside {all_ // 10} {'dead' if dead else 'live'} ones"
            found.append(_seen(made, what, postings(round(rate * seconds), rate), alive))
    return _beside(carried, *found) | {"rate": round(rate, 1)}


def _dies(number: int) -> bool:
    return number % 10 == 0


def _seen(made: Whole, what: str, postings: list[Posting], counts: Callable[[str], bool]) -> Handover:
    """Hand-over of those events that count."""
    made.stage.sink.reset()
    postings.sort(key=lambda posting: posting.at)
    begun = made.post(postings)
    wanted = [event for event in begun if counts(event)]
    wait_for(made.stage.sink, len(begun), 30, quiet=5)
    found = made.handovers(begun)
    return of(what, len(wanted), [found[event] for event in wanted if event in found])


def _half_busy(made: Whole, carried: float, traffic: Callable[[float], list[Posting]]) -> float:
    """Events a second of that traffic that keep the machine BUSY, by how busy it is at FIRST of what is carried."""
    made.stage.sink.reset()
    with Busy() as busy:
        begun = made.post(traffic(FIRST * carried))
    wait_for(made.stage.sink, len(begun), 30, quiet=5)
    return FIRST * carried * BUSY / busy.share


def _beside(carried: float, quiet: Handover, pressed: Handover, *more: Handover) -> dict[str, Any]:
    ratio = round(pressed.p99 / quiet.p99, 2) if quiet.p99 else 0.0
    told = [one.facts() for one in (quiet, pressed, *more)]
    return {"capacity": round(carried, 1), "handover": told, "p99_ratio": ratio}


# -- waiting rows ------------------------------------------------------------------------------------------------------

PAUSED_LANES = 50
FAR = 5 * 365 * 86_400 * 1_000_000  #: microseconds
_LANES = """
INSERT INTO lanes (id, tenant, channel, priority, target, next_due_at, paused_until, pause_reason)
SELECT 'paused-' || n, tenant, channel, priority, 'paused-' || n, :now, :far, 'bench'
FROM lanes, generate_series(1, :lanes) n WHERE target = 'sink'
"""
_ROWS = """
INSERT INTO notifications (id, tenant, event_id, subject, kind, channel, purpose, address, recipient_key, rule, role,
    lane_id, message_id, status, due_at, expires_at, created_at, tries)
SELECT 'waiting-' || n, tenant, event_id, subject, kind, channel, purpose, 'waiting-' || n, recipient_key, rule, role,
    CASE WHEN n % 2 = 0 THEN 'paused-' || 1 + n / 2 % :lanes ELSE lane_id END, message_id, status,
    CASE WHEN n % 2 = 0 THEN due_at ELSE :far END, NULL, created_at, 0
FROM (SELECT * FROM notifications WHERE status = 'due' ORDER BY id LIMIT 1) one, generate_series(1, :rows) n
"""


def waiting(stage: Stage, count: int, few: int, many: int) -> dict[str, Any]:
    """CPU per delivery beside many waiting rows: half due in lanes at rest, half in the future."""
    prepared = backlog(stage, "plain", count)
    found = {}
    for rows in (few, many):
        name = f"waiting_{rows}"
        administer(stage.postgres, f"CREATE DATABASE {name} TEMPLATE {prepared}")
        _add_waiting(stage, name, rows)
        found[rows] = throughput.ours(stage, name, count, 1, f"ours beside {rows:,} waiting rows")
        administer(stage.postgres, f"DROP DATABASE {name}")
    costs = {rows: one.cpu["worker"] + one.cpu["postgres"] for rows, one in found.items()}
    return {"runs": [one.facts() for one in found.values()], "cost_ratio": round(costs[many] / costs[few], 2)}


def _add_waiting(stage: Stage, name: str, rows: int) -> None:
    made = system(stage, stage.database_url(name))
    with made.store.engine.begin() as connection:
        now = to_micros(made.clock())
        values = {"lanes": PAUSED_LANES, "rows": rows, "now": now, "far": now + FAR}
        connection.execute(text(_LANES), values)
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(_ROWS), values)
    with made.store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))
    made.store.close()
