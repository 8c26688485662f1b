"""What answers change about a lane (breaker, rest, gentle return), and who gets how many slots: properties, tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.ids import LaneId, TenantId
from notifier.core.lanes import (
    FIRST_REST,
    FULL_WINDOW,
    LONGEST_REST,
    NEW_WINDOW,
    OPENS_AFTER,
    SILENT,
    Condition,
    LaneState,
    ReadyLane,
    Told,
    UnderWay,
    after,
    beside,
    doubtful_slots,
    most_of_one_tenant,
    released,
    rested,
    shares,
    sign_of,
    silent_in,
    turned,
)
from notifier.core.model import ChannelName, DoubtfulSlots, LaneSign, Trust
from notifier.errors import DeliveryError, OutcomeUnknown, PermanentFailure, TemporaryFailure

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
EMAIL, SMS, CALLBACK = ChannelName.EMAIL, ChannelName.SMS, ChannelName.CALLBACK
WELL, TROUBLE, BUSY, NONE = LaneSign.WELL, LaneSign.TROUBLE, LaneSign.BUSY, LaneSign.NONE


@pytest.mark.parametrize(
    ("error", "channel", "sign"),
    [
        # it was taken
        (None, CALLBACK, WELL),
        # nobody there, no answer, an answer that is none: the receiver is in trouble
        (TemporaryFailure("connect"), CALLBACK, TROUBLE),
        (TemporaryFailure("connect_timeout"), CALLBACK, TROUBLE),
        (TemporaryFailure("dns"), CALLBACK, TROUBLE),
        (TemporaryFailure("tls"), CALLBACK, TROUBLE),
        (OutcomeUnknown("timeout"), CALLBACK, TROUBLE),
        (OutcomeUnknown("cut"), EMAIL, TROUBLE),
        (TemporaryFailure("refused", code="500"), CALLBACK, TROUBLE),
        (TemporaryFailure("overloaded", code="503"), CALLBACK, TROUBLE),
        # no to this message alone: the receiver lives
        (TemporaryFailure("refused", code="404"), CALLBACK, WELL),
        (PermanentFailure("gone", code="410"), CALLBACK, WELL),
        (TemporaryFailure("deferred", code="450"), EMAIL, WELL),
        (PermanentFailure("refused", code="550"), EMAIL, WELL),  # in SMTP 5xx is about the mailbox
        (PermanentFailure("refused", code="21211"), SMS, WELL),  # a Twilio code, not an HTTP status
        # later, please
        (TemporaryFailure("rate_limited", code="429", lane_wide=True), CALLBACK, BUSY),
        (TemporaryFailure("server", code="421", lane_wide=True), EMAIL, BUSY),
        # it never came to the receiver
        (TemporaryFailure("fenced"), CALLBACK, NONE),
        (TemporaryFailure("internal"), CALLBACK, NONE),
        (PermanentFailure("no_secret"), CALLBACK, NONE),
    ],
)
def test_each_end_of_an_attempt_says_one_thing_of_its_lane(
    error: DeliveryError | None, channel: ChannelName, sign: LaneSign
) -> None:
    assert sign_of(error, channel) is sign


def told(sign: LaneSign, at: datetime = NOW, **facts: object) -> Told:
    """An answer at that moment."""
    return Told(sign, at, reason="why", **facts)  # type: ignore[arg-type]


def run(state: LaneState, *signs: LaneSign, at: datetime = NOW) -> LaneState:
    """These answers, one after the other."""
    for sign in signs:
        state = after(state, told(sign, at))
    return state


def test_a_steady_lane_is_not_changed_by_success() -> None:
    steady = LaneState(limit=20)
    assert run(steady, WELL, WELL) is steady


def test_a_new_lane_doubles_with_each_success_up_to_its_limit() -> None:
    state, windows = LaneState(limit=20, window=NEW_WINDOW), []
    while state.window is not None:
        windows.append(state.window)
        state = run(state, WELL)
    assert windows == [1, 2, 4, 8, 16]
    assert state == LaneState(limit=20)


def test_failures_in_a_row_open_the_breaker_and_one_success_between_them_does_not() -> None:
    almost = run(LaneState(limit=20), *[TROUBLE] * (OPENS_AFTER - 1))
    assert not almost.open and not almost.rests(NOW)
    assert run(almost, TROUBLE).open
    assert not run(almost, WELL, *[TROUBLE] * (OPENS_AFTER - 1)).open


def test_each_vain_probe_doubles_the_rest_up_to_ten_minutes() -> None:
    state, now, rests = run(LaneState(limit=20), *[TROUBLE] * OPENS_AFTER), NOW, []
    for _ in range(8):
        assert state.rest_until is not None and state.window == 1
        rests.append((state.rest_until - now).total_seconds())
        now = state.rest_until
        state = run(state, TROUBLE, at=now)
    assert rests == [30, 60, 120, 240, 480, 600, 600, 600]


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 22.5), (0.5, 30.0), (0.999999, 37.5)])
def test_probes_of_lanes_that_failed_together_are_spread(chance: float, seconds: float) -> None:
    state = run(LaneState(), *[TROUBLE] * (OPENS_AFTER - 1))
    opened = after(state, told(TROUBLE, chance=chance))
    assert opened.rest_until is not None
    assert (opened.rest_until - NOW).total_seconds() == pytest.approx(seconds, abs=0.01)


def test_a_success_after_the_rest_closes_the_breaker_and_the_lane_starts_gently() -> None:
    opened = run(LaneState(limit=20), *[TROUBLE] * OPENS_AFTER)
    assert run(opened, WELL, at=opened.rest_until or NOW) == LaneState(limit=20, window=2)


def test_what_was_begun_before_the_rest_neither_ends_nor_prolongs_it() -> None:
    opened = run(LaneState(limit=20), *[TROUBLE] * OPENS_AFTER)
    assert run(opened, *[TROUBLE] * 10, WELL, NONE, at=NOW + SECOND) == opened


def test_a_receiver_that_asks_for_more_time_gets_it_and_never_less() -> None:
    first = after(LaneState(limit=20), told(BUSY, rest_until=NOW + 60 * SECOND))
    assert (first.rest_until, first.rest_reason, first.window) == (NOW + 60 * SECOND, "why", 1)
    shorter = after(first, Told(BUSY, NOW, "later", NOW + 30 * SECOND))
    assert shorter == first
    longer = after(first, Told(BUSY, NOW, "later", NOW + 90 * SECOND))
    assert (longer.rest_until, longer.rest_reason) == (NOW + 90 * SECOND, "later")


def test_a_refusal_for_now_counts_as_no_failure() -> None:
    assert after(LaneState(), told(BUSY, rest_until=NOW + SECOND)).failures == 0


def test_siblings_rest_as_long_and_keep_their_own_limit() -> None:
    opened = run(LaneState(limit=20), *[TROUBLE] * OPENS_AFTER)
    sibling = beside(LaneState(limit=7), opened)
    assert (sibling.open, sibling.window, sibling.limit) == (True, 1, 7)
    assert sibling.rest_until == opened.rest_until
    resting = rested(LaneState(limit=7), NOW + SECOND, "why")
    assert beside(LaneState(limit=7), resting) == resting
    assert beside(LaneState(limit=7), LaneState()) == LaneState(limit=7)


def test_a_lane_released_by_hand_comes_back_with_one() -> None:
    resting = rested(LaneState(limit=20), NOW + SECOND, "by hand")
    assert released(resting) == LaneState(limit=20, window=1)


SOON = NOW + SECOND
STEADY = LaneState()
RESTS = LaneState(window=1, rest_until=SOON)
RESTED = LaneState(window=1, rest_until=NOW)  # no answer since
OPEN = LaneState(window=1, failures=5, open=True, rest_until=SOON)
PROBES = LaneState(window=1, failures=5, open=True, rest_until=NOW)
RELEASED = LaneState(window=1, failures=5, open=True)  # by hand


@pytest.mark.parametrize(
    ("state", "condition"),
    [
        (STEADY, Condition.STEADY),
        (LaneState(window=5), Condition.PROVES),
        (RESTS, Condition.RESTS),
        (RESTED, Condition.PROVES),
        (OPEN, Condition.OPEN),
        (PROBES, Condition.PROBES),
        (RELEASED, Condition.PROBES),
    ],
)
def test_a_lane_has_one_word_for_how_it_is(state: LaneState, condition: Condition) -> None:
    assert state.condition(NOW) is condition


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (STEADY, RESTS, True),
        (LaneState(window=2, failures=4), OPEN, True),
        (PROBES, OPEN, True),  # a vain probe: it rests again, for longer
        (RESTS, LaneState(window=1, rest_until=SOON + SECOND), False),  # only for longer
        (RESTS, OPEN, False),
        (PROBES, LaneState(window=2), True),  # back
        (RESTED, LaneState(window=2), True),
        (RELEASED, LaneState(window=2), True),
        (LaneState(window=2), LaneState(window=4), False),
        (LaneState(window=2), STEADY, False),
        (STEADY, LaneState(window=32, failures=1), False),  # a failure now and then
        (PROBES, PROBES, False),
    ],
)
def test_people_hear_when_a_lane_comes_to_rest_and_when_it_is_back_and_of_nothing_else(
    before: LaneState, now: LaneState, told: bool
) -> None:
    assert turned(before, now, NOW) is told


SIGNS = st.tuples(st.sampled_from(LaneSign), st.integers(0, 900), st.integers(1, 100_000), st.floats(0, 1))


@given(
    limit=st.none() | st.integers(1, 1000), window=st.none() | st.integers(1, 64), story=st.lists(SIGNS, max_size=40)
)
def test_whatever_happens_a_lane_keeps_its_bounds_and_comes_back(
    limit: int | None, window: int | None, story: list[tuple[LaneSign, int, int, float]]
) -> None:
    state, now = LaneState(limit=limit, window=window), NOW
    for sign, pause, rest, chance in story:
        now += pause * SECOND
        before = state
        state = after(state, Told(sign, now, "why", now + rest * SECOND if sign is BUSY else None, chance))
        assert state.limit == limit
        assert state.window is None or 1 <= state.window <= max(FULL_WINDOW, window or 0, limit or 0)
        if state.window is None:  # steady: nothing else may be wrong, or settling would never look at it again
            assert not state.open and state.failures == 0
        if before.rest_until is not None and before.rests(now):
            assert state.rest_until is not None and state.rest_until >= before.rest_until
        if state.open and not before.open:
            assert state.rest_until is not None and state.rest_until <= now + LONGEST_REST * 1.25 * SECOND
            assert state.rest_until >= now + FIRST_REST * 0.75 * SECOND
    healthy = run(state, *[WELL] * 12, at=max(now, state.rest_until or now))
    assert healthy == LaneState(limit=limit)


NEW, FAILING, PROVEN = UnderWay(Trust.NEW, 0), UnderWay(Trust.FAILING, 0), UnderWay(Trust.PROVEN, 0)
LONG_NEW, LONG_FAILING = UnderWay(Trust.NEW, SILENT), UnderWay(Trust.FAILING, SILENT)


@pytest.mark.parametrize(
    ("under_way", "left"),
    [
        ([], (10, 5)),
        ([PROVEN] * 40, (10, 5)),
        ([NEW] * 3, (7, 5)),
        ([NEW] * 7, (3, 3)),
        ([NEW] * 12, (0, 0)),
        ([FAILING] * 4, (6, 1)),
        ([FAILING] * 5, (5, 0)),
        ([LONG_NEW] * 10, (10, 5)),
        ([LONG_NEW] * 13, (7, 5)),
        ([LONG_NEW] * 20, (0, 0)),
        ([LONG_FAILING] * 5, (10, 5)),
        ([LONG_FAILING] * 10, (10, 0)),
        ([LONG_FAILING] * 7 + [FAILING] * 3, (7, 0)),
        ([LONG_NEW] * 15 + [NEW] * 5, (0, 0)),
    ],
)
def test_lanes_in_doubt_have_a_quarter_of_the_slots_and_those_that_failed_half_of_that(
    under_way: list[UnderWay], left: tuple[int, int]
) -> None:
    """Of 40 slots, by what lanes in doubt hold already. What is silent for a second counts apart."""
    assert doubtful_slots(40, under_way) == DoubtfulSlots(*left)


@given(slots=st.integers(1, 200), failing=st.integers(0, 400), long=st.booleans())
def test_however_many_have_failed_who_is_new_gets_a_try(slots: int, failing: int, long: bool) -> None:
    held: list[UnderWay] = []
    for _ in range(failing):
        if doubtful_slots(slots, held).failing:
            held.append(LONG_FAILING if long else FAILING)
    assert doubtful_slots(slots, held).all > 0


def test_a_delivery_in_doubt_counts_apart_after_a_second() -> None:
    assert silent_in([]) is None
    assert silent_in([PROVEN, LONG_NEW]) is None
    assert silent_in([PROVEN, UnderWay(Trust.NEW, 0.25), UnderWay(Trust.FAILING, 0.75), LONG_NEW]) == SILENT - 0.75


@pytest.mark.parametrize(("slots", "most"), [(1, 1), (3, 3), (4, 3), (100, 75), (200, 150)])
def test_one_tenant_leaves_a_quarter_of_the_slots_to_the_others(slots: int, most: int) -> None:
    assert most_of_one_tenant(slots) == most


def test_a_tenant_gets_no_more_than_its_room_and_the_others_get_the_rest() -> None:
    ready = [ReadyLane(LaneId(name), TenantId(name[0]), 30, Trust.PROVEN) for name in ("a1", "a2", "b1")]
    assert shares(ready, 20, 50, None, {"a": 5, "b": 30}.__getitem__) == [3, 2, 15]
    assert shares(ready, 20, 50, None, {"a": 0, "b": 8}.__getitem__) == [0, 0, 8]


READY = st.builds(
    ReadyLane,
    id=st.just(LaneId("lane")),
    tenant=st.sampled_from([TenantId(name) for name in "abc"]),
    room=st.integers(1, 30),
    trust=st.sampled_from(Trust),
)


@given(
    lanes=st.lists(READY, max_size=12),
    slots=st.integers(1, 60),
    per_lane=st.integers(1, 50),
    doubtful=st.none() | st.builds(DoubtfulSlots, st.integers(0, 20), st.integers(0, 20)),
)
def test_shares_keep_every_bound_leave_no_slot_idle_and_treat_tenants_alike(
    lanes: list[ReadyLane], slots: int, per_lane: int, doubtful: DoubtfulSlots | None
) -> None:
    given_ = shares(lanes, slots, per_lane, doubtful)
    most = [min(lane.room, per_lane) for lane in lanes]
    assert all(0 <= share <= bound for share, bound in zip(given_, most, strict=True))

    def of(trust: Trust, numbers: list[int]) -> int:
        return sum(number for number, lane in zip(numbers, lanes, strict=True) if lane.trust is trust)

    bound_of = doubtful or DoubtfulSlots(slots, slots)
    assert of(Trust.FAILING, given_) <= bound_of.failing
    assert of(Trust.FAILING, given_) + of(Trust.NEW, given_) <= bound_of.all
    in_doubt = of(Trust.NEW, most) + min(bound_of.failing, of(Trust.FAILING, most))
    assert sum(given_) == min(slots, of(Trust.PROVEN, most) + min(bound_of.all, in_doubt))
    if all(lane.trust is Trust.PROVEN for lane in lanes):
        by_tenant = {lane.tenant: 0 for lane in lanes}
        left = dict.fromkeys(by_tenant, 0)
        for share, bound, lane in zip(given_, most, lanes, strict=True):
            by_tenant[lane.tenant] += share
            left[lane.tenant] += bound - share
        hungry = [by_tenant[tenant] for tenant in by_tenant if left[tenant]]
        assert all(max(by_tenant.values()) - got <= 1 for got in hungry), "who could have more got a slot less"
