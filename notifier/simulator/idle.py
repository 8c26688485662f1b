"""Wait until a running system has nothing left to do: no message on the broker, nothing unrouted, due or claimed."""

from __future__ import annotations

import time
from collections.abc import Callable

import redis

from notifier.bootstrap import System
from notifier.simulator.world import TENANTS

PATIENCE = 20.0  #: seconds without any change after which what is left counts as stuck
STEADY = 3  #: looks in a row that must find nothing
STEP = 0.15  #: seconds between looks
WAITING = ("due", "claimed")


def wait_until_idle(system: System, stopping: Callable[[], bool] = lambda: False) -> dict[str, int]:
    """Return {} when the system is idle; what is left when nothing has moved for PATIENCE, or when `stopping`."""
    broker = redis.Redis.from_url(_redis_url(system.settings.broker_url))
    try:
        return _watch(lambda: _left(system, broker), stopping)
    finally:
        broker.close()


def _watch(look: Callable[[], dict[str, int]], stopping: Callable[[], bool]) -> dict[str, int]:
    left, calm, moved_at = look(), 0, time.monotonic()
    while calm < STEADY and time.monotonic() - moved_at < PATIENCE and not stopping():
        time.sleep(STEP)
        before, left = left, look()
        moved_at = time.monotonic() if left != before else moved_at
        calm = calm + 1 if not left else 0
    return left


def _left(system: System, broker: redis.Redis) -> dict[str, int]:
    counts = {"tasks on the broker": int(broker.llen("intake")) + int(broker.hlen("unacked"))}
    with system.store.read() as tx:
        counts["events to route"] = tx.count_unrouted()
        for status in WAITING:
            totals = [
                tx.list_rows("notifications", tenant, start=0, limit=1, filters={"status": status})[1]
                for tenant in TENANTS
            ]
            counts[f"notifications {status}"] = sum(totals)
    return {what: count for what, count in counts.items() if count}


def _redis_url(broker_url: str) -> str:
    """Celery's spelling of a Unix socket → redis-py's."""
    return broker_url.replace("redis+socket://", "unix://").replace("virtual_host=", "db=")
