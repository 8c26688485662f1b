"""A lane that comes to rest on the way of an event: why it rests, and what the log says of it, once."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from notifier.core.model import ChannelName
from notifier.core.records import LaneView
from notifier.errors import TemporaryFailure
from notifier.ports import Delivery
from notifier.testing import alert, order
from tests.pipeline.road import Road

pytestmark = pytest.mark.usefixtures("proven_lanes")

CALLBACK, EMAIL = ChannelName.CALLBACK, ChannelName.EMAIL


def busy(_: Delivery) -> TemporaryFailure:
    """An answer: too often."""
    return TemporaryFailure("rate_limited", "slow down", code="429", retry_after=60, lane_wide=True)


def lane(road: Road, channel: ChannelName) -> LaneView:
    """The one of that channel that is in trouble."""
    with road.store.read() as tx:
        return next(view for view in tx.lane_views(road.clock(), None, 10) if view.lane.key.channel is channel)


def test_the_log_tells_once_that_a_lane_rests_and_once_that_it_is_back_not_for_every_attempt(road: Road) -> None:
    road.accept(*(alert(number) for number in range(5)))
    road.route()
    road.channels[CALLBACK].answer = busy
    with capture_logs() as lines:
        assert road.deliver(CALLBACK) == 5
    [rests] = [line for line in lines if line["action"] == "lane_rests"]
    assert (rests["log_level"], rests["tenant"], rests["channel"], rests["target"]) == (
        "warning", "acme", "callback", "erp",
    )  # fmt: skip
    assert (rests["reason"], rests["breaker_open"]) == ("rate_limited", False)
    assert rests["until"] == lane(road, CALLBACK).lane.state.rest_until.isoformat()  # type: ignore[union-attr]
    road.channels[CALLBACK].answer = type(road.channels[CALLBACK]).answer
    road.later(minutes=2)
    with capture_logs() as lines:
        assert road.deliver(CALLBACK) == 5
    assert [line["target"] for line in lines if line["action"] == "lane_back"] == ["erp"]
    assert not [line for line in lines if line["action"] == "lane_rests"]


def test_a_lane_rests_for_its_receivers_reason_also_when_the_message_that_heard_it_ends_for_another(road: Road) -> None:
    [answer] = road.accept(order(deadline="2026-11-23T11:00:00Z"))
    road.route()
    road.channels[EMAIL].answer = lambda _: TemporaryFailure("greylisted", retry_after=3600, lane_wide=True)
    road.deliver(EMAIL)
    assert {row["reason"] for row in road.story(answer.id).values() if row["channel"] == "email"} == {"no_time_left"}
    assert lane(road, EMAIL).lane.state.rest_reason == "greylisted"
