"""Lanes under pressure: turns, limits over all sessions, rest, breaker, gentle return; what a claim costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import event as engine_event
from sqlalchemy import select, update

from notifier.core.ids import SessionId, TenantId
from notifier.core.lanes import NEW_WINDOW, OPENS_AFTER, PROVEN_FOR, Lane, LaneChange
from notifier.core.model import (
    AttemptOutcome,
    ChannelName,
    Claimed,
    ClaimRequest,
    Claims,
    DoubtfulSlots,
    LaneKey,
    LaneSign,
    NotificationStatus,
    Priority,
    Settlement,
    Trust,
)
from notifier.store import SqlStore
from notifier.store import lanes as lanes_module
from notifier.store.tables import lanes, notifications
from notifier.testing import ACME, BOREALIS, NOW
from tests.store.test_delivery import SECOND, SESSION, begin, fill, outcome, row, settle, start

CALLBACK = ChannelName.CALLBACK
OTHER = SessionId("other")


@pytest.fixture(autouse=True)
def sessions(store: SqlStore) -> None:
    """Two workers that live."""
    start(store, SESSION)
    start(store, OTHER)


def claims(store: SqlStore, slots: int = 100, now: datetime = NOW, session: SessionId = SESSION, **more: Any) -> Claims:
    """Claim callbacks and mails."""
    with store.write() as tx:
        return tx.claim(ClaimRequest(session, slots, per_lane=50, **more), now)


def prove(store: SqlStore, **facts: Any) -> None:
    """Make all lanes steady."""
    with store.engine.begin() as connection:
        connection.execute(update(lanes).values(in_flight_window=None, **facts))


def ends(
    store: SqlStore, rows: Sequence[Claimed], sign: LaneSign = LaneSign.WELL, at: datetime = NOW, **facts: Any
) -> list[LaneChange]:
    """Their attempts end with that sign; what was not taken is due again at once."""
    settlements: list[Settlement] = []
    for item in rows:
        attempt = begin(store, item)
        assert attempt
        if sign is not LaneSign.WELL:
            facts = {"status": NotificationStatus.DUE, "outcome": AttemptOutcome.REFUSED, "due_at": at} | facts
        settlements.append(outcome(item, attempt, lane_sign=sign, finished_at=at, **facts))
    with store.write() as tx:
        return tx.settle(settlements)


def lane(store: SqlStore, item: Claimed) -> Any:
    """The lane's row."""
    return row(store, lanes, item.lane_id)


def tenants(rows: Sequence[Claimed]) -> dict[TenantId, int]:
    """How many each got."""
    names = [item.tenant for item in rows]
    return {name: names.count(name) for name in names}


# -- turns -----------------------------------------------------------------------------------------------------------


def test_a_tenant_with_nine_tenths_of_the_load_delays_the_others_not_at_all(store: SqlStore) -> None:
    for number in range(3):
        fill(store, 30, channel=CALLBACK, target=f"endpoint {number}", due_at=NOW - timedelta(hours=1))
    fill(store, 10, tenant=BOREALIS)
    prove(store)
    got: list[Claimed] = []
    for number in range(5):
        rows = claims(store, 4, NOW + number * SECOND).rows
        assert tenants(rows) == {ACME: 2, BOREALIS: 2}
        ends(store, rows)
        got += rows
    assert tenants(got)[BOREALIS] == 10, "half of each claim was theirs until they had everything"


def test_a_lane_for_which_no_slot_was_left_had_no_turn_and_is_next(store: SqlStore) -> None:
    for target, hours in (("old", 3), ("older", 4), ("young", 1)):
        fill(store, 5, channel=CALLBACK, target=target, due_at=NOW - timedelta(hours=hours))
    fill(store, 20, tenant=BOREALIS)
    prove(store)
    first, second = (claims(store, 4, NOW + number * SECOND).rows for number in range(2))
    assert {item.lane.target for item in first if item.tenant == ACME} == {"old", "older"}
    assert "young" in {item.lane.target for item in second}


def test_slots_left_by_a_short_lane_go_to_the_next_claim(store: SqlStore) -> None:
    fill(store, 1, tenant=BOREALIS)
    fill(store, 40)
    prove(store)
    assert tenants(claims(store, 20).rows) == {BOREALIS: 1, ACME: 10}
    assert tenants(claims(store, 9).rows) == {ACME: 9}


def test_what_a_claim_brings_is_in_turn_by_lane_and_in_order_within_each(store: SqlStore) -> None:
    """It is sent in this order: nobody's one message goes behind another's hundred."""
    long = fill(store, 4, due_at=NOW - timedelta(hours=1))
    short = fill(store, 2, tenant=BOREALIS)
    prove(store)
    got = [item.id for item in claims(store, 10).rows]
    assert got == [item.id for item in (long[0], short[0], long[1], short[1], *long[2:])]


def test_lanes_in_doubt_take_no_more_slots_than_are_kept_for_them(store: SqlStore) -> None:
    """A hundred dead endpoints cannot take the slots of the living."""
    for number in range(10):
        fill(store, 3, channel=CALLBACK, target=f"new {number}", due_at=NOW - timedelta(hours=1))
    fill(store, 10, tenant=BOREALIS)
    with store.engine.begin() as connection:
        connection.execute(update(lanes).where(lanes.c.tenant == BOREALIS).values(in_flight_window=None))
        connection.execute(update(lanes).where(lanes.c.target.in_(("new 0", "new 1"))).values(failures=1))
    first = claims(store, 8, doubtful=DoubtfulSlots(3, 1))
    assert Counter(item.trust for item in first.rows) == {Trust.PROVEN: 5, Trust.NEW: 2, Trust.FAILING: 1}
    none = claims(store, 8, doubtful=DoubtfulSlots(0, 0))
    assert tenants(none.rows) == {BOREALIS: 5}
    nothing = claims(store, 8, doubtful=DoubtfulSlots(0, 0))
    assert nothing == Claims((), left=True), "waiting for its own rows to end is no reason to look again at once"


def test_a_tenant_that_holds_its_part_of_the_slots_is_not_even_looked_at(store: SqlStore) -> None:
    """It has waited longest, and would win the one free slot for ever."""
    for number in range(5):
        fill(store, 5, channel=CALLBACK, target=f"slow {number}", due_at=NOW - timedelta(hours=1))
    fill(store, 5, tenant=BOREALIS)
    prove(store)
    rows = claims(store, 1, per_tenant=75, held={ACME: 75, BOREALIS: 24}).rows
    assert tenants(rows) == {BOREALIS: 1}
    rows = claims(store, 10, per_tenant=75, held={ACME: 73}).rows
    assert tenants(rows) == {ACME: 2, BOREALIS: 4}
    nothing = claims(store, 10, per_tenant=75, held={ACME: 75})
    assert nothing == Claims((), left=True)


# -- limits over all sessions ----------------------------------------------------------------------------------------


def test_a_lane_has_no_more_under_way_than_its_limit_over_all_sessions(store: SqlStore) -> None:
    fill(store, 10, channel=CALLBACK, target="erp", in_flight_limit=3)
    prove(store)
    mine = claims(store, 2).rows
    theirs = claims(store, 10, session=OTHER).rows
    assert (len(mine), len(theirs)) == (2, 1)
    full = claims(store, 10)
    assert full == Claims((), left=True), "a full lane is not looked at in a busy loop"
    ends(store, mine[:1])
    assert len(claims(store, 10).rows) == 1


def test_two_claims_at_the_same_moment_do_not_exceed_the_limit(store: SqlStore) -> None:
    fill(store, 40, channel=CALLBACK, target="erp", in_flight_limit=3)
    prove(store)
    barrier = Barrier(2)

    def together(session: SessionId) -> Sequence[Claimed]:
        barrier.wait(10)
        return claims(store, 10, session=session).rows

    with ThreadPoolExecutor(2) as threads:
        for _ in range(8):
            got = [item for rows in threads.map(together, (SESSION, OTHER)) for item in rows]
            assert len(got) == 3
            ends(store, got)


def test_a_limit_changed_by_the_configuration_counts_at_once_for_every_priority(store: SqlStore) -> None:
    for priority in (Priority.HIGH, Priority.LOW):
        fill(store, 10, channel=CALLBACK, target="erp", priority=priority, in_flight_limit=20)
    fill(store, 10, channel=CALLBACK, target="crm", in_flight_limit=20)
    prove(store)
    with store.write() as tx:
        tx.limit_lanes({(ACME, "erp"): 2, (BOREALIS, "crm"): 1})
    got = claims(store, 100).rows
    by_lane = {(item.lane.target, item.lane.priority): 0 for item in got}
    for item in got:
        by_lane[item.lane.target, item.lane.priority] += 1
    assert by_lane == {("erp", Priority.HIGH): 2, ("erp", Priority.LOW): 2, ("crm", Priority.NORMAL): 10}


def test_a_lane_that_was_not_used_for_long_proves_itself_anew(store: SqlStore) -> None:
    fill(store, 20)
    prove(store, claimed_at=NOW - PROVEN_FOR)
    assert len(claims(store, 10).rows) == 10
    prove(store, claimed_at=NOW - PROVEN_FOR - SECOND)
    with store.engine.begin() as connection:
        connection.execute(update(notifications).values(status="due", claimed_by=None))
        connection.execute(update(lanes).values(next_due_at=NOW))
    got = claims(store, 10).rows
    assert len(got) == NEW_WINDOW and all(item.trust is Trust.NEW for item in got)
    assert lane(store, got[0]).in_flight_window == NEW_WINDOW


def left(store: SqlStore, now: datetime = NOW, **more: Any) -> Claims:
    """What is left after a claim."""
    with store.read() as tx:
        return tx.what_is_left(ClaimRequest(SESSION, 10, per_lane=50, **more), now)


def test_after_a_claim_it_is_known_whether_a_slot_that_comes_free_is_worth_another_one(store: SqlStore) -> None:
    fill(store, 3, channel=CALLBACK, target="erp", in_flight_limit=2)
    fill(store, 3, due_at=NOW + 5 * SECOND)
    prove(store)
    full = claims(store, 10)
    assert len(full) == 2 and full.left, "not known yet"
    assert left(store) == claims(store) == Claims((), left=True, next_in=5.0)
    ends(store, full.rows)
    assert left(store) == Claims((), left=True, more=True, next_in=5.0)
    assert len(claims(store, 10)) == 1
    assert left(store) == Claims((), next_in=5.0)
    assert len(claims(store, 10, now=NOW + 6 * SECOND)) == 3
    assert left(store, now=NOW + 6 * SECOND) == Claims()


# -- two claims at once ----------------------------------------------------------------------------------------------


def test_a_claim_locks_only_the_lanes_it_serves_and_says_when_others_hold_the_rest(store: SqlStore) -> None:
    if store.url.get_backend_name() == "sqlite":
        pytest.skip("SQLite has one writer at a time: no claim ever meets another")
    fill(store, 5)
    fill(store, 5, tenant=BOREALIS)
    prove(store)
    with store.write() as first:
        [held] = first.claim(ClaimRequest(SESSION, 1, per_lane=50), NOW)
        other = claims(store, 1, session=OTHER)
        assert [item.tenant for item in other.rows] == [BOREALIS if held.tenant == ACME else ACME]
        with store.write() as second:
            [_] = second.claim(ClaimRequest(OTHER, 1, per_lane=50), NOW + SECOND)
            assert claims(store, 1) == Claims((), more=True, left=True)
    assert not claims(store, 10, channels=(ChannelName.SMS,)).more


# -- rest ------------------------------------------------------------------------------------------------------------


def test_a_refusal_for_now_rests_the_lanes_of_all_priorities_of_that_receiver_and_no_other(store: SqlStore) -> None:
    for priority in Priority:
        fill(store, 2, channel=CALLBACK, target="erp", priority=priority)
    fill(store, 2, channel=CALLBACK, target="crm")
    fill(store, 2, tenant=BOREALIS, channel=CALLBACK, target="erp")
    prove(store)
    mine = [item for item in claims(store).rows if (item.tenant, item.lane.target) == (ACME, "erp")]
    busy = next(item for item in mine if item.lane.priority is Priority.NORMAL)
    ends(store, [busy], LaneSign.BUSY, rest_lane_until=NOW + 60 * SECOND, lane_reason="rate_limited")
    with store.engine.connect() as connection:
        rested = connection.execute(select(lanes).where(lanes.c.paused_until.is_not(None))).all()
    assert {(item.tenant, item.target, item.priority) for item in rested} == {
        (ACME, "erp", priority.value) for priority in Priority
    }
    assert {(item.paused_until, item.pause_reason, item.in_flight_window) for item in rested} == {
        (NOW + 60 * SECOND, "rate_limited", 1)
    }


def test_rest_touches_no_waiting_row(store: SqlStore) -> None:
    fill(store, 20)
    prove(store)
    [one] = claims(store, 1).rows

    def waiting() -> list[Any]:
        with store.engine.connect() as connection:
            others = select(notifications).where(notifications.c.id != one.id).order_by(notifications.c.id)
            return list(connection.execute(others).all())

    before = waiting()
    ends(store, [one], LaneSign.BUSY, rest_lane_until=NOW + 60 * SECOND)
    assert claims(store) == Claims((), next_in=60.0)
    assert waiting() == before


def test_a_rested_lane_comes_back_with_one_and_doubles_with_each_success(store: SqlStore) -> None:
    fill(store, 60, channel=CALLBACK, target="erp", in_flight_limit=20)
    prove(store)
    ends(store, claims(store, 1).rows, LaneSign.BUSY, rest_lane_until=NOW + SECOND)
    now, under_way = NOW + SECOND, []
    for _ in range(4):
        rows = claims(store, 100, now).rows
        under_way.append(len(rows))
        ends(store, rows, at=now)
        now += SECOND
    assert under_way == [1, 2, 8, 20]


def release(store: SqlStore, target: str | None) -> list[Lane]:
    """End the rest of Acme's callbacks to that endpoint, or to all of them."""
    with store.write() as tx:
        return tx.release_lanes(ACME, CALLBACK, target, NOW)


def test_a_rest_ended_by_hand_comes_back_gently_too_in_every_priority_of_the_receiver(store: SqlStore) -> None:
    for priority in Priority:
        fill(store, 10, channel=CALLBACK, target="erp", priority=priority)
    fill(store, 10, channel=CALLBACK, target="crm")
    fill(store, 10, tenant=BOREALIS, channel=CALLBACK, target="erp")
    prove(store, paused_until=NOW + 60 * SECOND, pause_reason="rate_limited")
    assert claims(store).rows == ()
    released = release(store, "erp")
    assert {lane.key for lane in released} == {LaneKey(ACME, CALLBACK, priority, "erp") for priority in Priority}
    assert {(lane.state.rest_until, lane.state.rest_reason) for lane in released} == {
        (NOW + 60 * SECOND, "rate_limited")
    }
    got = claims(store).rows
    assert {(item.tenant, item.lane.target) for item in got} == {(ACME, "erp")}
    assert sorted(item.lane.priority for item in got) == sorted(Priority)
    assert release(store, "erp") == [], "what does not rest is left alone"


def test_every_receiver_of_a_channel_is_released_some_at_a_time(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes_module, "MOST_RELEASED", 2)
    for number in range(3):
        fill(store, 1, channel=CALLBACK, target=f"endpoint {number}")
    fill(store, 1)
    prove(store, paused_until=NOW + 60 * SECOND)
    assert [len(release(store, None)) for _ in range(3)] == [2, 1, 0]
    assert {item.lane.channel for item in claims(store).rows} == {CALLBACK}


def test_an_open_breaker_stays_open_when_its_rest_is_ended_by_hand_one_probe_goes(store: SqlStore) -> None:
    """Somebody says that the receiver is well; only a success shows it."""
    fill(store, 20, channel=CALLBACK, target="erp", in_flight_limit=20)
    prove(store)
    ends(store, claims(store, OPENS_AFTER).rows, LaneSign.TROUBLE)
    release(store, "erp")
    [probe] = claims(store).rows
    assert lane(store, probe).breaker == "open"
    ends(store, [probe], LaneSign.TROUBLE)
    assert claims(store).rows == () and lane(store, probe).paused_until == NOW + 60 * SECOND


def test_an_attempt_that_was_told_to_wait_is_counted_apart(store: SqlStore) -> None:
    fill(store, 1)
    for waits in range(3):
        now = NOW + waits * SECOND
        [held] = claims(store, 1, now).rows
        assert (held.tries, held.waits) == (waits, waits)
        ends(store, [held], LaneSign.BUSY, at=now, rest_lane_until=now + SECOND, due_at=now + SECOND, waited=True)


# -- breaker ---------------------------------------------------------------------------------------------------------


def test_failures_in_a_row_rest_the_receiver_and_then_one_probe_goes_at_a_time(store: SqlStore) -> None:
    fill(store, 60, channel=CALLBACK, target="erp", in_flight_limit=20)
    prove(store)
    rows = claims(store, 20).rows
    ends(store, rows[:OPENS_AFTER], LaneSign.TROUBLE, lane_reason="connect")
    found = lane(store, rows[0])
    assert (found.breaker, found.pause_reason, found.failures) == ("open", "breaker: connect", OPENS_AFTER)
    ends(store, rows[OPENS_AFTER:], LaneSign.TROUBLE, lane_reason="connect")
    assert lane(store, rows[0]) == found, "those under way when it opened say nothing new"
    assert claims(store, now=NOW + 29 * SECOND).rows == ()
    half_open = NOW + 30 * SECOND
    [probe] = claims(store, now=half_open).rows
    assert claims(store, now=half_open, session=OTHER) == Claims((), left=True), "one, over all workers"
    ends(store, [probe], LaneSign.TROUBLE, at=half_open)
    assert lane(store, probe).paused_until == half_open + 60 * SECOND
    again = half_open + 60 * SECOND
    ends(store, claims(store, now=again).rows, at=again)
    closed = lane(store, probe)
    assert (closed.breaker, closed.failures, closed.paused_until, closed.in_flight_window) == (None, 0, None, 2)


def test_an_open_breaker_stops_every_priority_of_the_receiver(store: SqlStore) -> None:
    fill(store, 10, channel=CALLBACK, target="erp", in_flight_limit=20)
    prove(store)
    rows = claims(store, OPENS_AFTER).rows
    fill(store, 3, channel=CALLBACK, target="erp", priority=Priority.HIGH, in_flight_limit=20)
    prove(store)
    ends(store, rows, LaneSign.TROUBLE)
    assert claims(store, now=NOW + 29 * SECOND).rows == ()
    probes = claims(store, now=NOW + 30 * SECOND).rows
    assert sorted(item.lane.priority for item in probes) == [Priority.HIGH, Priority.NORMAL]


def test_a_failure_now_and_then_opens_nothing_and_success_makes_the_lane_steady_again(store: SqlStore) -> None:
    fill(store, 40, channel=CALLBACK, target="erp", in_flight_limit=20)
    prove(store)
    for _ in range(OPENS_AFTER + 1):
        one, two = claims(store, 2).rows
        ends(store, [one], LaneSign.TROUBLE)
        assert lane(store, one).in_flight_window == 10
        ends(store, [two])
    found = lane(store, one)
    assert (found.breaker, found.failures, found.in_flight_window) == (None, 0, None)


# -- what is told of it ----------------------------------------------------------------------------------------------


def test_a_receiver_that_comes_to_rest_is_told_once_for_all_its_priorities_and_once_when_it_is_back(
    store: SqlStore,
) -> None:
    for priority in Priority:
        fill(store, 20, channel=CALLBACK, target="erp", priority=priority)
    prove(store)
    first, second, third = [item for item in claims(store).rows if item.lane.priority is Priority.LOW][:3]
    [rests] = ends(store, [first], LaneSign.BUSY, lane_reason="rate_limited", rest_lane_until=NOW + 30 * SECOND)
    assert (rests.tenant, rests.target, rests.priorities, rests.rests) == (ACME, "erp", tuple(Priority), True)
    assert (rests.state.rest_until, rests.state.rest_reason) == (NOW + 30 * SECOND, "rate_limited")
    longer = ends(store, [second], LaneSign.BUSY, at=NOW + SECOND, rest_lane_until=NOW + 31 * SECOND)
    assert longer == [], "nothing new"
    assert ends(store, [third], at=NOW + 2 * SECOND) == [], "a success of what was begun before the rest"
    later = NOW + 31 * SECOND
    with store.engine.begin() as connection:  # those under way end without a word
        connection.execute(update(notifications).where(notifications.c.status == "claimed").values(status="failed"))
    fill(store, 2, channel=CALLBACK, target="erp", priority=Priority.LOW)
    [probe] = [item for item in claims(store, now=later).rows if item.lane.priority is Priority.LOW]
    [back] = ends(store, [probe], at=later)
    assert (back.priorities, back.rests) == ((Priority.LOW,), False), "each priority proves itself"
    assert ends(store, claims(store, now=later).rows, at=later + SECOND) == []


def test_a_breaker_that_opens_is_told_once_and_again_after_each_vain_probe(store: SqlStore) -> None:
    fill(store, 20, channel=CALLBACK, target="erp")
    prove(store)
    rows = claims(store).rows
    assert ends(store, rows[: OPENS_AFTER - 1], LaneSign.TROUBLE) == []
    [opened] = ends(store, rows[OPENS_AFTER - 1 :], LaneSign.TROUBLE, lane_reason="connect")
    assert opened.state.open and opened.state.rest_reason == "breaker: connect"
    half_open = NOW + 30 * SECOND
    [again] = ends(store, claims(store, now=half_open).rows, LaneSign.TROUBLE, at=half_open)
    assert again.state.failures == OPENS_AFTER + 1


# -- what it costs ---------------------------------------------------------------------------------------------------


@contextmanager
def statements(store: SqlStore) -> Iterator[list[str]]:
    """Every statement that goes to the database."""
    seen: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        seen.append(statement)

    engine_event.listen(store.engine, "before_cursor_execute", note)
    yield seen
    engine_event.remove(store.engine, "before_cursor_execute", note)


def test_a_claim_over_many_lanes_costs_as_many_statements_as_over_one(store: SqlStore) -> None:
    """Except one small look per lane on SQLite, which is inside the process."""
    fill(store, 30)
    prove(store)
    with statements(store) as for_one:
        assert len(claims(store, 20).rows) == 20
    for number in range(20):
        fill(store, 1, channel=CALLBACK, target=f"endpoint {number}")
    prove(store)
    with statements(store) as for_many:
        assert len({item.lane_id for item in claims(store, 21).rows}) == 21
    on_sqlite = store.url.get_backend_name() == "sqlite"
    assert len(for_many) == len(for_one) + (20 if on_sqlite else 0)
    assert len(for_one) <= 7, "begin and commit of SQLite included"


def test_successes_of_steady_lanes_cost_one_look_at_their_lanes_and_change_none(store: SqlStore) -> None:
    for number in range(5):
        fill(store, 4, channel=CALLBACK, target=f"endpoint {number}")
    prove(store)
    rows = claims(store, 20).rows
    begun = [(item, begin(store, item)) for item in rows]
    settlements = [outcome(item, attempt, lane_sign=LaneSign.WELL) for item, attempt in begun if attempt]
    assert len(settlements) == 20
    with statements(store) as seen:
        settle(store, *settlements)
    about_lanes = [statement for statement in seen if "lanes" in statement]
    assert len(about_lanes) == 1 and about_lanes[0].startswith("SELECT")
