"""Events by Celery: under the rights of the tenant's key, patient with a store that is away, never raising."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from celery.exceptions import Reject, SoftTimeLimitExceeded

from notifier.bootstrap import System
from notifier.core.acceptance import Answer, AnswerStatus
from notifier.core.events import RawItem
from notifier.core.ids import TenantId
from notifier.core.model import Credential
from notifier.errors import ConfigError, Problem, StoreError
from notifier.worker import tasks
from notifier.worker.app import INTAKE_QUEUES, QUEUES, app

KEY = Credential("k", TenantId("acme"), ("*",), ("coolr.*",))


@dataclass
class FakeSystem:
    """Only what the task asks of a system."""

    credential: Credential | None = KEY
    taken: list[RawItem] = field(default_factory=list)

    @property
    def pipeline(self) -> FakeSystem:
        return self

    def celery_credential(self, tenant: str) -> Credential | None:
        return self.credential

    def accept(self, items: list[RawItem], credential: Credential) -> list[Answer]:
        self.taken += items
        return [Answer(index, AnswerStatus.ACCEPTED) for index in range(len(items))]


def accept(system: FakeSystem, events: Any) -> list[RawItem]:
    tasks.accept_events(cast(System, system), events, "acme")
    return system.taken


@pytest.mark.parametrize(("events", "count"), [({"a": 1}, 1), ([{"a": 1}, 5, None], 3), ([], 0), ("text", 1)])
def test_one_event_or_a_list_is_taken_and_what_is_no_event_fails_alone(events: Any, count: int) -> None:
    assert len(accept(FakeSystem(), events)) == count


def test_what_json_cannot_hold_is_a_rejection_of_its_own() -> None:
    good, nan, odd = accept(FakeSystem(), [{"a": 1}, {"a": float("nan")}, {"a": object()}])
    assert good.error is None
    assert nan.error is not None and nan.error.field == "a"
    assert odd.error is not None


def test_without_a_key_named_celery_nothing_is_accepted() -> None:
    assert accept(FakeSystem(credential=None), [{"a": 1}]) == []


@pytest.mark.parametrize("tenant", [None, "", 5, ["acme"], "a\0b", "x" * 101])
def test_a_tenant_that_is_none_never_reaches_the_store(tenant: Any) -> None:
    tasks.consume.run({"a": 1}, tenant)  # would ask the environment for a database otherwise


def failing(*errors: Exception) -> tuple[list[Exception], Any]:
    left = list(errors)

    def call() -> None:
        if left:
            raise left.pop(0)

    return left, call


def test_consume_waits_for_a_store_that_comes_back_p1() -> None:
    left, call = failing(StoreError("away"))
    tasks._patiently(call, patience=5)
    assert left == []


@pytest.mark.parametrize(
    "error",
    [
        StoreError("away"),
        ConfigError([Problem("NOTIFIER_X", "wrong")]),
        RuntimeError("a mistake of ours"),  # raised on, Celery would acknowledge it and the events were lost
        SoftTimeLimitExceeded(),
    ],
)
def test_what_cannot_be_accepted_goes_back_to_the_queue_p1(error: Exception) -> None:
    _, call = failing(*[error] * 1000)
    with pytest.raises(Reject) as rejected:
        tasks._patiently(call, patience=0.01)
    assert rejected.value.requeue is True


class Stumbling(FakeSystem):
    """Fails on one event, as a mistake of ours would."""

    def accept(self, items: list[RawItem], credential: Credential) -> list[Answer]:
        if any(item.value == "stone" for item in items):
            raise RuntimeError("a mistake of ours")
        return super().accept(items, credential)


def test_an_event_on_which_we_fail_is_kept_and_its_neighbours_go_on_p8() -> None:
    before, stone, after = accept(Stumbling(), [{"a": 1}, "stone", {"a": 2}])
    assert (before.value, after.value) == ({"a": 1}, {"a": 2})
    assert stone.error is not None and (stone.error.code, stone.body) == ("internal", '"stone"')


SETTINGS = {
    # setting: value, and the promise that hangs on it
    "accept_content": ["json"],  # pickle runs code
    "task_serializer": "json",
    "task_ignore_result": True,  # no result store
    "task_acks_late": True,  # P1: the message lives until the commit
    "task_reject_on_worker_lost": True,  # P1: kill -9
    "worker_prefetch_multiplier": 1,  # a slow task holds nobody else's message
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "task_create_missing_queues": False,  # queues are declared once
}


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_that_a_promise_hangs_on(name: str) -> None:
    assert app.conf[name] == SETTINGS[name]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("visibility_timeout", 60),
        ("unacked_restore_interval", 1),
        ("unacked_restore_throttle", 1),
        ("unacked_mutex_expire", 10),
    ],
)
def test_a_lost_message_comes_back_within_a_minute(option: str, value: int) -> None:
    assert app.conf.broker_transport_options[option] == value


def test_no_task_can_outlive_the_visibility_timeout() -> None:
    assert app.conf.task_soft_time_limit < app.conf.task_time_limit
    assert app.conf.task_time_limit < app.conf.broker_transport_options["visibility_timeout"]
    assert app.conf.task_soft_time_limit > tasks.STORE_PATIENCE


def test_beat_only_hints() -> None:
    """P3, P10: what beat sends carries no arguments, and old hints die out."""
    for entry in app.conf.beat_schedule.values():
        assert not entry.get("args") and not entry.get("kwargs")
        assert entry["options"]["expires"] <= 30


def test_every_task_goes_to_a_declared_queue() -> None:
    assert {queue.name for queue in app.conf.task_queues} == set(QUEUES)
    ours = {name for name in app.tasks if name.startswith("notifier.")}
    assert {name: app.conf.task_routes[name]["queue"] in QUEUES for name in ours} == dict.fromkeys(ours, True)
    assert "deliver" not in INTAKE_QUEUES
