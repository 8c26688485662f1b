"""Celery tasks: events in, hints on. Each returns within 20 s; a task that raises is acknowledged, so nothing raises.

`notifier.consume` is the only task that carries data of others. An event handed to it is accepted when the task
commits, not when it is published: senders keep the event until then, or use HTTP (promise P1).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import structlog
from celery import Task
from celery.exceptions import Reject

from notifier.core.decode import Limits, decode_json
from notifier.core.events import RawItem
from notifier.errors import EventError, StoreError
from notifier.worker import current
from notifier.worker.app import TASK_LIMIT, app

log = structlog.get_logger(__name__)

STORE_PATIENCE = 15.0  #: seconds `consume` waits inside the task for a store that is away
ROUTE_BUDGET = TASK_LIMIT - 5.0  #: seconds one `route` task goes on while there is work
CELERY_KEY = "celery"  #: name of the key whose rights events from Celery have, per tenant


@app.task(name="notifier.consume", bind=True)
def consume(self: Task[Any, Any], events: Any, tenant: str) -> None:
    """Accept one event or a list of events for a tenant, under the rights of its key named "celery"."""
    items = [_item(value) for value in (events if isinstance(events, list) else [events])]
    _patiently(lambda: _consume(items, tenant))


def _consume(items: list[RawItem], tenant: str) -> None:
    system = current.system()
    credential = system.celery_credential(tenant)
    if credential is None:
        log.error(
            "no key named celery for this tenant; the events were refused", action="consume_refused", tenant=tenant
        )
        return
    for answer in system.pipeline.accept(items, credential):
        if answer.reason:
            log.warning("event not accepted", action="event_rejected", tenant=tenant, **answer.facts())


def _item(value: Any) -> RawItem:
    """Through text once more: what arrives by Celery passes the same strict reading as what arrives by HTTP."""
    try:
        text = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError) as error:
        return RawItem(None, "", EventError(f"not JSON: {error}"))
    try:
        return RawItem(decode_json(text.encode(), limits=Limits()), text, None)
    except EventError as error:
        return RawItem(None, text, error)


@app.task(name="notifier.route")
def route() -> None:
    """Route what is unrouted, until there is nothing left or the time is up (the next hint goes on)."""
    end = time.monotonic() + ROUTE_BUDGET
    try:
        while current.system().pipeline.route() and time.monotonic() < end:
            pass
    except StoreError as error:
        log.warning("cannot route now; the next hint or tick tries again", action="store_away", error=str(error))


@app.task(name="notifier.deliver")
def deliver() -> None:
    """Wake the delivery engine of this worker; it looks every second anyway."""
    from notifier.worker.bootstep import wake_engine

    wake_engine()


def _patiently(call: Callable[[], None]) -> None:
    """Wait for the store inside the task, then hand the message back: with acks_late a raised error would lose it."""
    end = time.monotonic() + STORE_PATIENCE
    while True:
        try:
            return call()
        except StoreError as error:
            if time.monotonic() > end:
                log.error("the store is away; the message goes back to the queue", action="requeue", error=str(error))
                raise Reject(str(error), requeue=True) from error
            time.sleep(0.5)
