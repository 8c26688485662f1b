"""A switch on the way of an event: held while it is off, told after it is on, and never told of what is over."""

from __future__ import annotations

import pytest

from notifier import pipeline as pipeline_module
from notifier.core.ids import new_id
from notifier.core.model import ClaimRequest
from notifier.core.switches import Switch
from notifier.store import switches as switches_module
from notifier.testing import NOW, alert, order
from tests.pipeline.road import Road, sweep


def turn_off(road: Road, **named: str) -> Switch:
    parts = {"tenant": "", "channel": "", "kind": "", "endpoint": ""} | named
    switch = Switch(new_id(), **parts, reason="a test", actor="operator:ana", at=NOW)
    with road.store.write() as tx:
        tx.switch_off(switch)
    return switch


def turn_on(road: Road, switch: Switch) -> None:
    with road.store.write() as tx:
        tx.switch_on(switch.id)


def test_a_type_that_is_off_is_held_and_goes_out_by_the_sweep_after_it_is_on_again(road: Road) -> None:
    (answer,) = road.accept(alert(1))
    road.route()
    switch = turn_off(road, kind="alert_opened")
    assert road.deliver() == 0
    assert set(road.states(answer.id).values()) == {"held"}
    assert sweep(road.pipe).released == 0
    turn_on(road, switch)
    assert sweep(road.pipe).released == 2
    assert road.deliver() == 2
    told = road.story(answer.id)
    assert {(row["status"], row["tries"], row["reason"]) for row in told.values()} == {("sent", 1, None)}


def test_one_sweep_releases_some_and_the_next_go_on(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switches_module, "MOST_HELD", 2)
    monkeypatch.setattr(pipeline_module, "RELEASE_ROUNDS", 3)
    road.accept(*(alert(number) for number in range(5)))
    road.route()
    switch = turn_off(road, kind="alert_opened")
    while road.pipe.claim(request(road)).more:
        pass
    turn_on(road, switch)
    assert [sweep(road.pipe).released for _ in range(3)] == [6, 4, 0]


def request(road: Road) -> ClaimRequest:
    return ClaimRequest(road.session, 100, 100)


def test_events_are_accepted_and_routed_while_everything_is_off_p1(road: Road) -> None:
    switch = turn_off(road)
    (answer,) = road.accept(order(1))
    assert road.route() == 1
    assert road.deliver() == 0 and set(road.states(answer.id).values()) == {"due"}
    turn_on(road, switch)
    assert road.deliver() == 4


def test_what_was_stopped_too_long_expires_with_the_reason_p12(road: Road) -> None:
    (answer,) = road.accept(alert(1))
    road.route()
    turn_off(road, kind="alert_opened")
    road.deliver()
    road.later(days=3)
    assert sweep(road.pipe).released == 1
    found = {row["channel"]: (row["status"], row["reason"]) for row in road.story(answer.id).values()}
    # Receivers of callbacks want old events too.
    assert found == {"email": ("expired", "switched_off"), "callback": ("held", "switched_off")}
