"""The Celery application: queues declared once, and the settings the promises hang on.

`celery -A notifier.worker.app` finds `app`. Nothing connects and nothing reads the environment at import: the broker's
address is read when the first connection is made.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init, worker_process_init
from kombu.entity import Queue

from notifier.garbage import collect_seldom

INTAKE, ROUTE, SLOW, DELIVER = "intake", "route", "slow", "deliver"
QUEUES = (INTAKE, ROUTE, SLOW, DELIVER)
INTAKE_QUEUES = (INTAKE, ROUTE, SLOW)  #: what the intake worker consumes; `deliver` belongs to delivery workers
TASK_LIMIT = 20  #: seconds; every task returns within this

#: Redis has no acknowledgement of its own: kombu re-queues what is older than the visibility timeout, and looks only
#: every interval x throttle; its lock must not outlive a killed sweeper by minutes.
REDIS_TRANSPORT = {
    "visibility_timeout": 60,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 10,
    "socket_connect_timeout": 3,
    "socket_timeout": 10,
    "health_check_interval": 25,
}

ROUTES = {
    "notifier.consume": {"queue": INTAKE},
    "notifier.route": {"queue": ROUTE},
    "notifier.deliver": {"queue": DELIVER},
}


class NotifierCelery(Celery):
    """A Celery that asks for its broker when it first needs it, not when the module is imported."""

    def _settings(self) -> dict[str, Any]:
        from notifier.config import load

        return {"broker_url": load(os.environ).broker_url}


def _create() -> Celery:
    celery = NotifierCelery("notifier", include=["notifier.worker.tasks", "notifier.worker.bootstep"])
    celery.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options=REDIS_TRANSPORT,
        broker_pool_limit=4,
        task_queues=[Queue(name) for name in QUEUES],  # type: ignore[no-untyped-call]  # kombu has no types
        task_default_queue=INTAKE,
        task_create_missing_queues=False,
        task_routes=ROUTES,
        task_soft_time_limit=TASK_LIMIT + 5,
        task_time_limit=TASK_LIMIT + 20,
        enable_utc=True,
        timezone="UTC",
        beat_schedule={
            "route": {"task": "notifier.route", "schedule": 5.0, "options": {"expires": 10}},
            "deliver": {"task": "notifier.deliver", "schedule": 5.0, "options": {"expires": 10}},
        },
    )
    celery.add_defaults(celery._settings)
    return celery


app = _create()


@setup_logging.connect
def _our_logging(**_: Any) -> None:
    from notifier.config import load
    from notifier.logs import set_up

    settings = load(os.environ)
    set_up(settings.log_format, settings.log_level)
    # A line for each hint would drown everything else, and a task's arguments are the sender's event (P10).
    for name in ("celery.app.trace", "celery.worker.strategy"):
        logging.getLogger(name).setLevel(logging.WARNING)


@worker_init.connect
def _collect_seldom(**_: Any) -> None:
    """Before the fork: what is frozen then is shared with the pool's children, and stays so."""
    collect_seldom()


@worker_process_init.connect
def _forget_parent(**_: Any) -> None:
    """A pool child starts without its parent's connections (engines are made after the fork)."""
    from notifier.worker import current

    current.forget()
