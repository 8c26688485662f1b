"""What the operator sees of lanes: the troubled first, what waits in them, and how many there are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from notifier.core.ids import TenantId
from notifier.core.lanes import Condition
from notifier.core.model import ChannelName, Priority
from notifier.core.records import LaneCounts, LaneView
from notifier.store import SqlStore
from notifier.store.tables import lanes
from notifier.testing import BOREALIS, NOW
from tests.store.test_delivery import SECOND, SESSION, claim, fill, start

CALLBACK, EMAIL = ChannelName.CALLBACK, ChannelName.EMAIL
SOON = NOW + timedelta(minutes=5)


def change(store: SqlStore, target: str, **facts: Any) -> None:
    """Change the lanes of a receiver."""
    with store.engine.begin() as connection:
        connection.execute(update(lanes).where(lanes.c.target == target).values(**facts))


@pytest.fixture
def troubled(store: SqlStore) -> SqlStore:
    """Lanes in every condition."""
    start(store, SESSION)
    fill(store, 3)
    fill(store, 2, due_at=NOW + SECOND)
    fill(store, 1, tenant=BOREALIS, channel=CALLBACK, target="open")
    for target in ("probes", "rests"):
        fill(store, 1, channel=CALLBACK, target=target, in_flight_limit=20)
    for priority in (Priority.LOW, Priority.HIGH):
        fill(store, 1, channel=CALLBACK, target="rests", priority=priority)
    change(store, "email", in_flight_window=None)
    change(store, "open", paused_until=SOON, pause_reason="breaker: connect", breaker="open", failures=7)
    change(store, "probes", paused_until=NOW, breaker="open", failures=5)
    change(store, "rests", paused_until=SOON, pause_reason="rate_limited")
    return store


def views(store: SqlStore, tenant: TenantId | None = None, limit: int = 100) -> list[LaneView]:
    with store.read() as tx:
        return tx.lane_views(NOW, tenant, limit)


def test_those_in_trouble_come_first_the_others_after_them(troubled: SqlStore) -> None:
    seen = [(view.lane.key.target, view.lane.key.priority, view.lane.state.condition(NOW)) for view in views(troubled)]
    assert seen == [
        ("open", Priority.NORMAL, Condition.OPEN),
        ("rests", Priority.HIGH, Condition.RESTS),
        ("rests", Priority.NORMAL, Condition.RESTS),
        ("rests", Priority.LOW, Condition.RESTS),
        ("probes", Priority.NORMAL, Condition.PROBES),
        ("email", Priority.NORMAL, Condition.STEADY),
    ]
    change(troubled, "email", in_flight_window=5)
    assert views(troubled)[-1].lane.state.condition(NOW) is Condition.PROVES


def test_each_says_why_until_when_what_is_under_way_and_what_waits(troubled: SqlStore) -> None:
    claim(troubled, 1, channels=(EMAIL,))
    opened, *_, mail = views(troubled)
    state = opened.lane.state
    assert (state.rest_until, state.rest_reason, state.failures) == (SOON, "breaker: connect", 7)
    assert (opened.under_way, opened.due) == (0, 1)
    assert (mail.under_way, mail.due) == (1, 2), "two more are due later"


def test_of_one_tenant_and_no_more_than_asked_for(troubled: SqlStore) -> None:
    assert [view.lane.key.target for view in views(troubled, BOREALIS)] == ["open"]
    assert [view.lane.key.target for view in views(troubled, limit=2)] == ["open", "rests"]
    assert views(troubled, TenantId("missing")) == []


def test_an_open_breaker_whose_rest_is_over_is_no_trouble_where_nothing_is_to_be_sent(troubled: SqlStore) -> None:
    """Lanes of the other priorities keep theirs open until their own next success, which may be days away."""
    fill(troubled, 1, channel=CALLBACK, target="a steady one")
    for target in ("open", "probes"):
        change(troubled, target, next_due_at=None)
    assert [view.lane.key.target for view in views(troubled)][-3:] == ["a steady one", "probes", "email"]
    with troubled.read() as tx:
        assert [counts.open for counts in tx.lane_counts(NOW)] == [1, 0]


def test_lanes_are_counted_by_channel(troubled: SqlStore) -> None:
    with troubled.read() as tx:
        assert tx.lane_counts(NOW) == [LaneCounts(CALLBACK, 5, 4, 2), LaneCounts(EMAIL, 1, 0, 0)]
        assert tx.lane_counts(NOW, BOREALIS) == [LaneCounts(CALLBACK, 1, 1, 1)]
        assert tx.lane_counts(SOON) == [LaneCounts(CALLBACK, 5, 0, 2), LaneCounts(EMAIL, 1, 0, 0)]
