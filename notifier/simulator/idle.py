"""Wait until a running system has nothing left to do: no message on the broker, nothing unrouted, due or claimed."""

from __future__ import annotations

import time
from collections.abc import Callable

import redis

from notifier.bootstrap import System, utc_now

PATIENCE = 120.0  #: seconds
STEADY = 3  #: looks in a row that must find nothing


def wait_until_idle(system: System, tell: Callable[[str], None] = lambda _: None) -> None:
    """Return when the system is idle. Raises TimeoutError with what is left after two minutes."""
    broker = redis.Redis.from_url(_redis_url(system.settings.broker_url))
    end, calm = time.monotonic() + PATIENCE, 0
    while calm < STEADY:
        left = _left(system, broker)
        calm = calm + 1 if not left else 0
        if left:
            tell(", ".join(f"{count} {what}" for what, count in left.items()))
        if time.monotonic() > end:
            raise TimeoutError(f"still waiting after {PATIENCE:g} s: {left}")
        time.sleep(0.15)
    broker.close()


def _left(system: System, broker: redis.Redis) -> dict[str, int]:
    now = utc_now()
    with system.store.read() as tx:
        lanes = tx.lane_stats(now)
        unrouted = tx.count_unrouted()
    counts = {
        "events on the broker": int(broker.llen("intake")) + int(broker.hlen("unacked")),
        "events unrouted": unrouted,
        "notifications due": sum(lane.due for lane in lanes),
        "notifications claimed": sum(lane.claimed for lane in lanes),
    }
    return {what: count for what, count in counts.items() if count}


def _redis_url(broker_url: str) -> str:
    """Celery's spelling of a Unix socket → redis-py's."""
    return broker_url.replace("redis+socket://", "unix://").replace("virtual_host=", "db=")
