"""For the operator at 3 a.m.: /healthz (alive), /readyz (able to work, and if not, what is missing), /metrics.

Liveness asks nothing of others, so that a database outage does not restart the web. Metrics are read from the
database when asked for, so that every process of the system is in them; behind a key, or from this machine only.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily, Metric

from notifier.core.model import ChannelName
from notifier.core.records import LaneCounts, LaneStats
from notifier.errors import StoreError
from notifier.heartbeat import DEAD_AFTER
from notifier.ports import Clock, Store
from notifier.web.problems import PROBLEM, problem
from notifier.web.security import Proxies

log = structlog.get_logger(__name__)

LATENCY_BUCKETS = (0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)  #: seconds
LATENCY_WINDOW = timedelta(minutes=15)
NO_KEY = "Send the metrics key: Authorization: Bearer ..."
_READY = {"description": "Something is missing; the same form", "content": {"application/json": {}}}


def create_router(
    store: Store, clock: Clock, metrics_key: str, expected_schema: str | None, proxies: Proxies
) -> APIRouter:
    """Return the routes; `expected_schema` is the migration this code was written for."""
    router = APIRouter(tags=["operations"])

    def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok\n", headers={"Cache-Control": "no-store"})

    def readyz() -> JSONResponse:
        missing = _missing(store, clock(), expected_schema)
        body = {"ready": not missing, "missing": missing}
        return JSONResponse(body, 503 if missing else 200, headers={"Cache-Control": "no-store"})

    alive, ready = "This process is alive", "The parts this process needs are there"
    router.add_api_route("/healthz", healthz, summary=alive, response_class=PlainTextResponse)
    router.add_api_route("/readyz", readyz, summary=ready, responses={503: _READY})
    router.add_api_route("/healthz", healthz, methods=["HEAD"], include_in_schema=False)
    router.add_api_route("/readyz", readyz, methods=["HEAD"], include_in_schema=False)

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=PlainTextResponse,
        responses={401: PROBLEM, 503: PROBLEM},
    )
    def metrics(request: Request) -> Response:
        """Behind the metrics key; without one configured, for this machine only, never through a proxy."""
        if not _may_read(request, metrics_key, proxies):
            return problem(401, NO_KEY, {"WWW-Authenticate": "Bearer"})
        registry = CollectorRegistry()
        registry.register(_Collector(store, clock))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _missing(store: Store, now: datetime, expected_schema: str | None) -> list[str]:
    try:
        with store.read() as tx:
            schema = tx.schema_version()
            if schema != expected_schema:
                needed = f"this version needs {expected_schema}: run `notifier migrate`"
                return [f"database schema is {schema or 'missing'}, {needed}"]
            sessions, policy = tx.sessions(), tx.policy_version()
    except StoreError as error:
        # Anybody may ask; the driver's sentence may name hosts and users, so that it goes to the log alone.
        log.error("the store did not answer", action="store_away", error=str(error))
        return ["the database does not answer; the log says why"]
    missing = []
    if not policy:
        missing.append("no configuration applied yet: run `notifier config apply`")
    if not any(session.heartbeat_at > now - DEAD_AFTER for session in sessions):
        missing.append("no delivery worker has reported in the last 10 s: accepted events wait")
    return missing


def _may_read(request: Request, key: str, proxies: Proxies) -> bool:
    if not key:
        return proxies.from_this_machine(request)
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    return hmac.compare_digest(given.encode(), key.encode())


class _Collector:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def collect(self) -> list[Metric]:
        now = self._clock()
        with self._store.read() as tx:
            stats, latencies = tx.lane_stats(now), tx.latencies(now - LATENCY_WINDOW)
            off, counts = len(tx.switches()), tx.lane_counts(now)
            sessions = sum(session.heartbeat_at > now - DEAD_AFTER for session in tx.sessions())
        workers = GaugeMetricFamily("notifier_delivery_workers", "Delivery workers with a fresh heartbeat")
        workers.add_metric([], sessions)
        switches = GaugeMetricFamily("notifier_switches_off", "Switches that are off: something is not sent on purpose")
        switches.add_metric([], off)
        return [*_lane_metrics(stats, now), *_trouble(counts), _histogram(latencies), workers, switches]


def _lane_metrics(stats: list[LaneStats], now: datetime) -> list[Metric]:
    questions: tuple[tuple[str, str, Callable[[LaneStats], float]], ...] = (
        ("notifier_due", "Notifications waiting to be sent now", lambda stat: stat.due),
        (
            "notifier_oldest_due_age_seconds",
            "Age of the oldest one waiting",
            lambda stat: _age(stat.oldest_due_at, now),
        ),
        ("notifier_claimed", "Notifications in the hands of a worker", lambda stat: stat.claimed),
        ("notifier_sent", "Notifications handed over so far", lambda stat: stat.sent),
        ("notifier_failed", "Notifications given up", lambda stat: stat.failed),
        ("notifier_unknown", "Notifications whose answer was lost", lambda stat: stat.unknown),
        ("notifier_held", "Notifications of event types that are switched off", lambda stat: stat.held),
    )
    return [_gauge(name, text, stats, read) for name, text, read in questions]


def _trouble(counts: Sequence[LaneCounts]) -> list[Metric]:
    """Every channel says 0 when all is well: an alarm on what is missing is none."""
    resting = GaugeMetricFamily("notifier_lanes_resting", "Lanes from which nothing is claimed now", labels=["channel"])
    broken = GaugeMetricFamily("notifier_breakers_open", "Lanes whose receiver is in trouble", labels=["channel"])
    by_channel = {one.channel: one for one in counts}
    for channel in ChannelName:
        one = by_channel.get(channel)
        resting.add_metric([channel.value], one.resting if one else 0)
        broken.add_metric([channel.value], one.open if one else 0)
    return [resting, broken]


def _gauge(name: str, text: str, stats: list[LaneStats], read: Callable[[LaneStats], float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["channel", "priority"])
    for stat in stats:
        family.add_metric([stat.channel.value, stat.priority], read(stat))
    return family


def _age(moment: datetime | None, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds()) if moment else 0.0


def _histogram(latencies: Sequence[tuple[str, str, float]]) -> Metric:
    """A gauge histogram: it looks back 15 minutes, so that it falls as well as rises; rate() means nothing on it."""
    family = GaugeHistogramMetricFamily(
        "notifier_handover_seconds",
        "Seconds from acceptance of the event to hand-over, last 15 minutes",
        labels=["channel", "priority"],
    )
    groups: dict[tuple[str, str], list[float]] = {}
    for channel, priority, seconds in latencies:
        groups.setdefault((str(channel), priority), []).append(seconds)
    for labels, values in groups.items():
        buckets = [(str(bound), float(sum(value <= bound for value in values))) for bound in LATENCY_BUCKETS]
        family.add_metric(list(labels), [*buckets, ("+Inf", float(len(values)))], sum(values))
    return family
