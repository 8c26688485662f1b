"""Who works and what becomes of the work of the dead: heartbeat, end, sweep, and SMS whose answer was lost."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from notifier.core.ids import AttemptId, SessionId, new_id
from notifier.core.model import AttemptOutcome, ChannelName, Claimed, NewAttempt, NotificationStatus
from notifier.core.records import Swept
from notifier.core.retrying import LOOK_UP_AFTER
from notifier.store import SqlStore
from notifier.store.tables import attempts, lanes, notifications
from notifier.testing import ACME, NOW
from tests.store.test_delivery import (
    DELIVERED,
    SECOND,
    SESSION,
    begin,
    claim,
    fill,
    outcome,
    report,
    row,
    settle,
    start,
    status,
)

pytestmark = pytest.mark.usefixtures("proven_lanes")

LATER = NOW + 20 * SECOND
DEAD_BEFORE = LATER - 10 * SECOND
SURVIVOR = SessionId("survivor")


@pytest.fixture(autouse=True)
def sessions(store: SqlStore) -> None:
    """One that falls silent at NOW, and one that lives on."""
    start(store, SESSION)
    start(store, SURVIVOR, LATER)


def sweep(store: SqlStore, now: datetime = LATER) -> Swept:
    """Look for the dead."""
    with store.write() as tx:
        return tx.sweep(now, [session for session in tx.sessions() if session.heartbeat_at < now - 10 * SECOND])


def held(store: SqlStore, channel: ChannelName = ChannelName.EMAIL) -> Claimed:
    """A row in the hands of the session."""
    fill(store, channel=channel)
    [found] = claim(store)
    return found


def test_a_heartbeat_keeps_a_session_alive(store: SqlStore) -> None:
    mine = held(store)
    with store.write() as tx:
        assert tx.beat_session(SESSION, LATER)
    assert sweep(store) == Swept()
    assert status(store, mine.id) == "claimed"


def test_the_heartbeat_of_a_buried_session_fails(store: SqlStore) -> None:
    assert sweep(store).dead_sessions == 1
    with store.write() as tx:
        assert not tx.beat_session(SESSION, LATER)
        assert tx.beat_session(SURVIVOR, LATER)
    with store.read() as reading:
        assert [found.id for found in reading.sessions()] == [SURVIVOR]


def test_a_session_that_beat_after_it_was_looked_at_is_not_buried_p4(store: SqlStore) -> None:
    mine = held(store)
    with store.read() as reading:
        seen = reading.sessions()
    with store.write() as tx:
        assert tx.beat_session(SESSION, LATER)
    with store.write() as tx:
        assert tx.sweep(LATER, [session for session in seen if session.id == SESSION]) == Swept()
    assert status(store, mine.id) == "claimed"


def test_a_session_frees_what_it_claimed_without_knowing_and_nothing_else_p1(store: SqlStore) -> None:
    """The answer to its claim got lost; another session's rows are none of its business."""
    fill(store, 4)
    known, unheld, begun = claim(store, 3)
    [others] = claim(store, session=SURVIVOR)
    assert begin(store, begun)
    with store.write() as tx:
        assert tx.free_unheld(SESSION, {known.id, begun.id}, LATER) == 1
    states = [status(store, item.id) for item in (known, unheld, begun, others)]
    assert states == ["claimed", "due", "claimed", "claimed"]
    with store.write() as tx:
        assert tx.free_unheld(SESSION, {known.id, begun.id}, LATER) == 0
    assert [item.id for item in claim(store, now=LATER)] == [unheld.id]


def test_a_claimed_row_without_an_attempt_is_due_again_as_if_nothing_had_been(store: SqlStore) -> None:
    mine = held(store)
    assert sweep(store) == Swept(dead_sessions=1, freed=1)
    [taken] = claim(store, session=SURVIVOR, now=LATER)
    assert taken == replace(mine, session=SURVIVOR)


@pytest.mark.parametrize("channel", [ChannelName.EMAIL, ChannelName.CALLBACK])
def test_an_open_attempt_is_unknown_and_tried_again_where_repeating_is_safe_p4(
    store: SqlStore, channel: ChannelName
) -> None:
    mine = held(store, channel)
    attempt = begin(store, mine)
    assert attempt
    assert sweep(store) == Swept(dead_sessions=1, unknown=1)
    found = row(store, attempts, attempt)
    assert (found.outcome, found.reason, found.finished_at) == ("unknown", "worker_lost", LATER)
    [taken] = claim(store, session=SURVIVOR, now=LATER)
    assert (taken.id, taken.tries, taken.last_outcome) == (mine.id, 1, AttemptOutcome.UNKNOWN)


def test_an_open_sms_is_unknown_and_not_sent_again_before_it_was_looked_up_p4(store: SqlStore) -> None:
    mine = held(store, ChannelName.SMS)
    attempt = begin(store, mine)
    assert attempt
    assert sweep(store).unknown == 1
    found = row(store, notifications, mine.id)
    assert (found.status, found.due_at, found.last_outcome) == ("unknown", LATER + LOOK_UP_AFTER, "unknown")
    assert claim(store, session=SURVIVOR, now=LATER + timedelta(hours=1)) == []


def test_a_report_that_came_before_the_sweep_counts(store: SqlStore) -> None:
    mine = held(store, ChannelName.SMS)
    attempt = begin(store, mine)
    assert attempt
    report(store, attempt, DELIVERED)
    sweep(store)
    assert status(store, mine.id) == "delivered"


def test_what_was_settled_before_the_death_stays_settled(store: SqlStore) -> None:
    mine = held(store)
    attempt = begin(store, mine)
    assert attempt
    settle(store, outcome(mine, attempt))
    assert sweep(store) == Swept(dead_sessions=1)
    assert status(store, mine.id) == "sent"


def test_an_outcome_told_after_the_next_try_began_still_says_that_nobody_knew_p4(store: SqlStore) -> None:
    """The receiver has it twice: without this both tries would look like one success each."""
    mine = held(store)
    attempt = begin(store, mine)
    assert attempt
    sweep(store)
    [taken] = claim(store, session=SURVIVOR, now=LATER)
    assert begin(store, taken)
    settle(store, outcome(mine, attempt))
    found = row(store, attempts, attempt)
    assert (found.outcome, found.reason) == ("sent", "worker_lost")


def test_two_sweeps_free_a_row_once(store: SqlStore) -> None:
    held(store)
    assert sweep(store).freed == 1
    assert sweep(store) == Swept()


def test_a_session_is_not_buried_while_it_begins_a_try_p4(store: SqlStore) -> None:
    """Else a row could go to somebody else between the look at it and the commit, and both would send it."""
    fill(store)
    [held] = claim(store)
    attempt = NewAttempt(AttemptId(new_id()), held.id, held.tenant, held.session, 1, NOW)
    bury = threading.Thread(target=lambda: sweep(store, LATER))
    with store.write() as tx:
        assert tx.save_attempts([attempt]) == {attempt.id}
        bury.start()
        bury.join(0.3)
        assert bury.is_alive(), "it waits for the commit"
    bury.join(10)
    assert not bury.is_alive()
    assert row(store, attempts, attempt.id).outcome == "unknown"
    with store.write() as tx:
        assert tx.save_attempts([attempt]) == frozenset(), "the buried begin nothing, not even again"


def test_a_session_that_ends_leaves_nothing_in_hand(store: SqlStore) -> None:
    fill(store, 2)
    fill(store, 1, channel=ChannelName.SMS)
    untouched, begun, text = sorted(claim(store), key=lambda item: (item.channel, item.address))
    for item in (begun, text):
        assert begin(store, item)
    with store.write() as tx:
        assert tx.end_session(SESSION, LATER) == 1
    assert [status(store, item.id) for item in (untouched, begun, text)] == ["due", "due", "unknown"]
    with store.read() as reading:
        assert [found.id for found in reading.sessions()] == [SURVIVOR]


def test_more_rows_than_one_sweep_moves_are_freed_by_the_next(store: SqlStore) -> None:
    fill(store, 450)
    with store.write() as tx:
        tx.connection.execute(update(lanes).values(in_flight_window=None))  # the lane has proven itself
    assert len(claim(store, 1000, per_lane=1000)) == 450
    assert [sweep(store).freed, sweep(store).freed, sweep(store).freed] == [400, 50, 0]


def test_what_is_past_its_life_expires_with_the_reason_p12(store: SqlStore) -> None:
    late, alive = fill(store, expires_at=NOW), fill(store, expires_at=LATER + SECOND)
    assert sweep(store).expired == 1
    found = row(store, notifications, late[0].id)
    assert (found.status, found.reason) == ("expired", "too_late")
    assert status(store, alive[0].id) == "due"


# -- lost answers ----------------------------------------------------------------------------------------------------


def lost_sms(store: SqlStore) -> tuple[Claimed, AttemptId]:
    """An SMS whose answer was lost at NOW."""
    mine = held(store, ChannelName.SMS)
    attempt = begin(store, mine)
    assert attempt
    lost = {"outcome": AttemptOutcome.UNKNOWN, "status": NotificationStatus.UNKNOWN, "due_at": NOW + LOOK_UP_AFTER}
    settle(store, outcome(mine, attempt, **lost))
    return mine, attempt


def unknowns(store: SqlStore, now: datetime, channel: ChannelName = ChannelName.SMS) -> list[AttemptId]:
    """What is to be looked up now."""
    with store.write() as tx:
        return [found.attempt_id for found in tx.open_unknowns(channel, now, 20)]


def resolve(
    store: SqlStore,
    attempt: AttemptId,
    to: NotificationStatus,
    due_at: datetime | None = None,
    provider_id: str | None = None,
) -> bool:
    """What the look-up found."""
    with store.write() as tx:
        return tx.resolve_unknown(attempt, to, due_at, provider_id, "looked up", LATER)


def test_an_unknown_is_looked_up_when_its_time_has_come_and_by_one_worker_p4(store: SqlStore) -> None:
    mine, attempt = lost_sms(store)
    then = NOW + LOOK_UP_AFTER
    assert unknowns(store, then - SECOND) == []
    assert unknowns(store, then, ChannelName.EMAIL) == []
    assert unknowns(store, then) == [attempt]
    assert unknowns(store, then) == []
    with store.write() as tx:
        [found] = tx.open_unknowns(ChannelName.SMS, then + LOOK_UP_AFTER, 20)
    assert (found.tenant, found.address, found.started_at) == (ACME, mine.address, NOW)
    assert found.message == mine.message


def test_an_unknown_that_the_provider_has_was_sent(store: SqlStore) -> None:
    mine, attempt = lost_sms(store)
    assert resolve(store, attempt, NotificationStatus.SENT, provider_id="SM1")
    found = row(store, notifications, mine.id)
    assert (found.status, found.sent_at) == ("sent", LATER)
    tried = row(store, attempts, attempt)
    assert (tried.outcome, tried.provider_id) == ("sent", "SM1")
    assert not resolve(store, attempt, NotificationStatus.DUE, LATER)


def test_an_unknown_that_the_provider_has_not_is_due_and_wakes_its_lane(store: SqlStore) -> None:
    mine, attempt = lost_sms(store)
    assert resolve(store, attempt, NotificationStatus.DUE, LATER)
    [taken] = claim(store, session=SURVIVOR, now=LATER)
    assert (taken.id, taken.tries) == (mine.id, 1)


def test_a_report_wins_over_a_look_up_that_comes_after_it(store: SqlStore) -> None:
    mine, attempt = lost_sms(store)
    report(store, attempt, DELIVERED)
    assert not resolve(store, attempt, NotificationStatus.DUE, LATER)
    assert status(store, mine.id) == "delivered"
