"""Questions the supervisor asks a part until it says yes: quick, and a failure is a plain no."""

from __future__ import annotations

import httpx

QUICKLY = 1.0  #: seconds


def web_answers(url: str) -> bool:
    """Whether a GET of that address succeeds."""
    try:
        return httpx.get(url, timeout=QUICKLY, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def worker_answers(broker_url: str, kind: str) -> bool:
    """Whether a Celery worker named `kind...@host` answers a ping through the broker."""
    from celery import Celery
    from kombu.exceptions import KombuError, OperationalError

    with Celery(
        "probe", broker=broker_url, set_as_current=False, changes={"broker_connection_timeout": QUICKLY}
    ) as app:
        try:
            # The first answer ends the wait; without a limit it would take the whole time.
            replies = app.control.ping(timeout=0.5, limit=1, pattern=f"{kind}*", matcher="glob")
        except (KombuError, OperationalError, OSError):
            return False
    return any(str(name).startswith(kind) for reply in replies or () for name in reply)
