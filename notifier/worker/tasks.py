"""Celery tasks: events in, hints on. Each returns within 20 s; a task that raises is acknowledged, so nothing raises.

`notifier.consume` is the only task that carries data of others. An event handed to it is accepted when the task
commits, not when it is published: senders keep the event until then, or use HTTP (promise P1).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, NoReturn

import structlog
from celery import Task
from celery.exceptions import Reject, SoftTimeLimitExceeded

from notifier.bootstrap import System
from notifier.core.acceptance import Answer
from notifier.core.events import RawItem, item_of
from notifier.core.model import Credential
from notifier.errors import ConfigError, EventError, StoreError
from notifier.store.turns import give_way
from notifier.worker import current
from notifier.worker.app import TASK_LIMIT, app

log = structlog.get_logger(__name__)

STORE_PATIENCE = 15.0  #: seconds `consume` waits inside the task for a store that is away
ROUTE_BUDGET = TASK_LIMIT - 5.0  #: seconds one `route` task goes on while there is work
MOST_TENANT = 100  #: characters of a tenant's name


@app.task(name="notifier.consume", bind=True)
def consume(self: Task[Any, Any], events: Any = None, tenant: Any = None) -> None:
    """Accept one event or a list of events for a tenant, under the rights of its key named "celery"."""
    if not (isinstance(tenant, str) and tenant.isprintable() and 0 < len(tenant) <= MOST_TENANT):
        log.error("no usable tenant beside the events; they were refused", action="consume_refused")
        return
    _patiently(lambda: accept_events(current.system(), events, tenant))


def accept_events(system: System, events: Any, tenant: str) -> None:
    """Accept what was handed over. Raises StoreError when the store is away; what was accepted by then stays so."""
    credential = system.celery_credential(tenant)
    if credential is None:
        text = "no key named celery for this tenant; the events were refused"
        log.error(text, action="consume_refused", tenant=tenant)
        return
    items = [_item(value) for value in (events if isinstance(events, list) else [events])]
    for answer in _accepted(system, items, credential):
        if answer.reason:
            log.warning("event not accepted", action="event_rejected", tenant=tenant, **answer.facts())


def _accepted(system: System, items: list[RawItem], credential: Credential) -> list[Answer]:
    """The answers. An event on which we fail ourselves is found by trying each alone, and kept; the others go on."""
    try:
        return system.pipeline.accept(items, credential)
    except (StoreError, ConfigError, SoftTimeLimitExceeded):
        raise
    except Exception:
        log.exception("accepting failed; each event is tried alone", action="consume_failed", events=len(items))
    if len(items) == 1:
        mistake = EventError("could not be accepted by a mistake of ours; it was logged", code="internal")
        return system.pipeline.accept([RawItem(None, items[0].body, mistake)], credential)
    return [answer for item in items for answer in _accepted(system, [item], credential)]


def _item(value: Any) -> RawItem:
    """Through text once more: what arrives by Celery passes the same strict reading as what arrives by HTTP."""
    try:
        text = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError) as error:
        return RawItem(None, "", EventError(f"not JSON: {type(error).__name__}"))
    return item_of(text.encode())


@app.task(name="notifier.route")
def route() -> None:
    """Route what is unrouted, until there is nothing left or the time is up (the next hint goes on)."""
    end = time.monotonic() + ROUTE_BUDGET
    try:
        while current.system().pipeline.route() and time.monotonic() < end:
            give_way()
    except (StoreError, ConfigError) as error:
        log.warning("cannot route now; the next hint or tick tries again", action="store_away", error=str(error))
    except Exception:
        log.exception("routing failed; the next hint or tick tries again", action="route_failed")


@app.task(name="notifier.deliver")
def deliver() -> None:
    """Wake the delivery engine of this worker; it looks every second anyway."""
    from notifier.worker.bootstep import wake_engine

    wake_engine()


def _patiently(call: Callable[[], None], patience: float = STORE_PATIENCE) -> None:
    """Wait for the store inside the task, then hand the message back: with acks_late a raised error would lose it."""
    end = time.monotonic() + patience
    while True:
        try:
            return call()
        except (StoreError, ConfigError) as error:
            if time.monotonic() > end:
                _hand_back("the store is away; the message goes back to the queue", error)
        except SoftTimeLimitExceeded as error:
            _hand_back("the list is too long for one task; the message goes back to the queue", error)
        except Exception as error:
            log.exception("accepting failed", action="consume_failed")
            if time.monotonic() > end:
                _hand_back("events cannot be accepted; the message goes back to the queue", error)
        time.sleep(min(0.5, patience))


def _hand_back(reason: str, error: Exception) -> NoReturn:
    log.error(reason, action="requeue", error=type(error).__name__)
    raise Reject(reason, requeue=True) from error
