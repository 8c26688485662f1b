"""The hot path: lanes and their turns, claim, attempts, settle, provider reports."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from notifier.core.ids import AttemptId, LaneId, NotificationId, SessionId, TenantId, new_id
from notifier.core.model import (
    AttemptOutcome,
    ChannelName,
    Claimed,
    ClaimRequest,
    LaneSign,
    NewAttempt,
    NewNotification,
    NotificationStatus,
    Priority,
    Settlement,
)
from notifier.core.records import WorkerSession
from notifier.store import SqlStore
from notifier.store.tables import attempts, lanes, messages, notifications, suppressions
from notifier.testing import ACME, BOREALIS, NOW, event, notification

pytestmark = pytest.mark.usefixtures("proven_lanes")

SESSION = SessionId("session")
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def session(store: SqlStore) -> None:
    """A worker that lives."""
    start(store, SESSION)


def start(store: SqlStore, name: SessionId, now: datetime = NOW) -> None:
    """A worker begins."""
    with store.write() as tx:
        tx.start_session(WorkerSession(name, "host", 1, now, now))


def fill(store: SqlStore, count: int = 1, tenant: TenantId = ACME, **facts: Any) -> list[NewNotification]:
    """Store that many notifications of one new event; a moment apart."""
    about = event(tenant, subject=f"alert/{new_id()}")
    due = facts.pop("due_at", NOW - SECOND)
    made = [
        notification(about, address=f"{number}@example.com", due_at=due + timedelta(microseconds=number), **facts)
        for number in range(count)
    ]
    with store.write() as tx:
        tx.save_events([about])
        tx.mark_routed([about.id], NOW)
        tx.save_notifications(made, NOW)
    return made


def claim(store: SqlStore, slots: int = 100, now: datetime = NOW, **facts: Any) -> list[Claimed]:
    """Claim for the session."""
    request = replace(ClaimRequest(SESSION, slots, per_lane=50), **facts)
    with store.write() as tx:
        return list(tx.claim(request, now))


def begin(store: SqlStore, row: Claimed, **facts: Any) -> AttemptId | None:
    """Commit an attempt row; None when the store refuses."""
    attempt = AttemptId(new_id())
    made = NewAttempt(attempt, row.id, row.tenant, row.session, row.tries + 1, NOW)
    with store.write() as tx:
        return attempt if attempt in tx.save_attempts([replace(made, **facts)]) else None


def outcome(row: Claimed, attempt: AttemptId, **facts: Any) -> Settlement:
    """A settlement: sent, unless told otherwise."""
    usual: dict[str, Any] = {"outcome": AttemptOutcome.SENT, "status": NotificationStatus.SENT, "finished_at": NOW}
    return Settlement(attempt, row.id, row.tenant, row.session, row.lane_id, **(usual | facts))


def put_to_rest(store: SqlStore, lane: LaneId, until: datetime, **facts: Any) -> None:
    """The lane rests until then."""
    with store.engine.begin() as connection:
        connection.execute(update(lanes).where(lanes.c.id == lane).values(paused_until=until, **facts))


def settle(store: SqlStore, *settlements: Settlement) -> None:
    """Save outcomes."""
    with store.write() as tx:
        tx.settle(settlements)


def row(store: SqlStore, table: Any, id_: str) -> Any:
    """One row."""
    with store.engine.connect() as connection:
        return connection.execute(select(table).where(table.c.id == id_)).one()


def status(store: SqlStore, id_: NotificationId) -> str:
    """Where a notification stands."""
    return str(row(store, notifications, id_).status)


def again(row: Claimed, attempt: AttemptId, due: datetime) -> Settlement:
    """To be tried again."""
    return outcome(row, attempt, outcome=AttemptOutcome.NOT_SENT, status=NotificationStatus.DUE, due_at=due, reason="x")


# -- once per purpose ------------------------------------------------------------------------------------------------


def test_a_notification_exists_once_per_event_channel_address_and_purpose_p2(store: SqlStore) -> None:
    about = event()
    first, repeated = notification(about), notification(about)
    with store.write() as tx:
        tx.save_events([about])
        assert tx.save_notifications([first, repeated], NOW) == 1
        assert tx.save_notifications([repeated], NOW) == 0
        assert tx.save_notifications([notification(about, channel=ChannelName.SMS)], NOW) == 1
        assert first.id in [item["id"] for item in tx.timeline(ACME, about.id)]


def test_a_notification_carries_the_time_of_routing_not_of_its_due_time(store: SqlStore) -> None:
    [later] = fill(store, due_at=NOW + timedelta(minutes=10))
    assert row(store, notifications, later.id).created_at == NOW


def test_a_suppressed_notification_is_kept_with_its_reason_and_never_claimed_p12(store: SqlStore) -> None:
    [item] = fill(store, status=NotificationStatus.SUPPRESSED, reason="opted_out", message=None)
    assert claim(store) == []
    assert row(store, notifications, item.id).reason == "opted_out"


# -- claim -----------------------------------------------------------------------------------------------------------


def test_a_claim_hands_out_everything_needed_oldest_first_and_once(store: SqlStore) -> None:
    made = fill(store, 3)
    first = claim(store, 2)
    assert [item.id for item in first] == [made[0].id, made[1].id]
    assert made[0].message is not None
    assert (first[0].message.id, first[0].address, first[0].tries) == (made[0].message.id, "0@example.com", 0)
    assert first[0].created_at == NOW and first[0].lane == made[0].lane
    assert [item.id for item in claim(store)] == [made[2].id]
    assert claim(store) == []


def test_what_is_due_later_or_expired_is_not_claimed(store: SqlStore) -> None:
    fill(store, due_at=NOW + SECOND)
    fill(store, expires_at=NOW)
    assert claim(store) == []
    assert len(claim(store, now=NOW + SECOND)) == 1


def test_only_channels_that_the_worker_has_are_claimed(store: SqlStore) -> None:
    fill(store, channel=ChannelName.SMS)
    assert claim(store, channels=(ChannelName.EMAIL,)) == []
    assert len(claim(store, channels=(ChannelName.SMS,))) == 1


def test_no_lane_gives_more_than_its_quota_in_one_claim(store: SqlStore) -> None:
    fill(store, 10)
    assert len(claim(store, per_lane=4)) == 4


def test_tenants_share_the_slots_of_one_claim(store: SqlStore) -> None:
    fill(store, 20)
    fill(store, 20, tenant=BOREALIS, due_at=NOW - timedelta(microseconds=100))
    assert tenants(claim(store, 10)) == {ACME: 5, BOREALIS: 5}


def test_a_flood_with_the_oldest_rows_does_not_win_every_single_slot(store: SqlStore) -> None:
    """The engine mostly claims for one free slot: turns must outlive a claim."""
    fill(store, 20, due_at=NOW - timedelta(hours=1))
    fill(store, 5, tenant=BOREALIS)
    moments = (NOW + number * SECOND for number in range(10))
    assert tenants([item for now in moments for item in claim(store, 1, now)]) == {ACME: 5, BOREALIS: 5}


def test_a_tenant_with_many_lanes_gets_no_more_turns_than_one_with_one(store: SqlStore) -> None:
    for number in range(6):
        fill(store, 5, channel=ChannelName.CALLBACK, target=f"endpoint {number}")
    fill(store, 10, tenant=BOREALIS)
    assert tenants(claim(store, 8, per_lane=1))[BOREALIS] == 1
    moments = (NOW + number * SECOND for number in range(1, 9))
    assert tenants([item for now in moments for item in claim(store, 1, now)]) == {ACME: 4, BOREALIS: 4}


def tenants(rows: list[Claimed]) -> dict[TenantId, int]:
    """How many each got."""
    names = [item.tenant for item in rows]
    return {name: names.count(name) for name in names}


def test_urgent_lanes_of_a_tenant_come_first(store: SqlStore) -> None:
    fill(store, 2, priority=Priority.LOW, due_at=NOW - timedelta(hours=2))
    fill(store, 2, priority=Priority.NORMAL, due_at=NOW - timedelta(hours=1))
    fill(store, 2, priority=Priority.HIGH)
    order = [claim(store, 1)[0].lane.priority for _ in range(6)]
    assert order == [Priority.HIGH] * 2 + [Priority.NORMAL] * 2 + [Priority.LOW] * 2


def test_nothing_is_claimed_from_a_lane_that_rests_until_its_time(store: SqlStore) -> None:
    [item] = fill(store, 1)
    lane = LaneId(row(store, notifications, item.id).lane_id)
    put_to_rest(store, lane, NOW + 10 * SECOND)
    assert next_due(store) == NOW + 10 * SECOND
    assert claim(store) == []
    assert len(claim(store, now=NOW + 10 * SECOND)) == 1


def test_a_lane_knows_when_it_is_due_next(store: SqlStore) -> None:
    later = NOW + timedelta(minutes=5)
    fill(store, 2)
    fill(store, 1, due_at=later)
    claimed = claim(store, 1)
    claim(store)
    assert next_due(store) == later
    attempt = begin(store, claimed[0])
    assert attempt
    settle(store, again(claimed[0], attempt, NOW + 2 * SECOND))
    assert next_due(store) == NOW + 2 * SECOND
    assert [item.id for item in claim(store, now=NOW + 2 * SECOND)] == [claimed[0].id]
    claim(store, now=later)
    assert next_due(store) is None


def next_due(store: SqlStore) -> datetime | None:
    """When the earliest lane wakes up."""
    with store.write() as tx:
        wakes_in = tx.claim(ClaimRequest(SESSION, 1, 1, channels=(ChannelName.CALLBACK,)), NOW).next_in
    return None if wakes_in is None else NOW + timedelta(seconds=wakes_in)


def test_a_buried_session_claims_nothing(store: SqlStore) -> None:
    fill(store)
    assert claim(store, session=SessionId("buried")) == []


def test_a_row_without_content_fails_alone(store: SqlStore) -> None:
    lost, kept = fill(store, 2)
    with store.engine.begin() as connection:
        connection.execute(update(notifications).where(notifications.c.id == lost.id).values(message_id=None))
    assert [item.id for item in claim(store)] == [kept.id]
    found = row(store, notifications, lost.id)
    assert (found.status, found.reason) == ("failed", "no_message")


# -- attempts --------------------------------------------------------------------------------------------------------


def test_an_attempt_is_begun_only_by_the_session_that_holds_the_row_p4(store: SqlStore) -> None:
    fill(store)
    [held] = claim(store)
    assert begin(store, held, session=SessionId("other")) is None
    assert begin(store, held) is not None
    assert status(store, held.id) == "claimed"


def test_beginning_again_after_a_lost_answer_is_harmless_p4(store: SqlStore) -> None:
    fill(store)
    [held] = claim(store)
    attempt = NewAttempt(AttemptId(new_id()), held.id, held.tenant, held.session, 1, NOW)
    for _ in range(2):
        with store.write() as tx:
            assert tx.save_attempts([attempt]) == {attempt.id}
    with store.engine.connect() as connection:
        assert len(connection.execute(select(attempts)).all()) == 1


# -- settle ----------------------------------------------------------------------------------------------------------


def test_an_outcome_closes_its_attempt_and_moves_its_notification_p12(store: SqlStore) -> None:
    fill(store)
    [held] = claim(store)
    attempt = begin(store, held)
    assert attempt
    settle(store, outcome(held, attempt, provider_id="queue id", detail="250 ok", finished_at=NOW + SECOND))
    with store.read() as tx:
        [told] = tx.timeline(ACME, held.event_id)
    assert (told["status"], told["tries"], told["last_outcome"]) == ("sent", 1, "sent")
    assert told["sent_at"] == (NOW + SECOND).isoformat()
    [tried] = told["attempts"]
    assert (tried["outcome"], tried["provider_id"], tried["detail"]) == ("sent", "queue id", "250 ok")


def test_settling_again_after_a_lost_answer_is_harmless(store: SqlStore) -> None:
    fill(store)
    [held] = claim(store)
    attempt = begin(store, held)
    assert attempt
    first = outcome(held, attempt)
    settle(store, first)
    settle(store, first)
    assert status(store, held.id) == "sent"
    assert row(store, attempts, attempt).outcome == "sent"


def test_a_late_outcome_touches_its_own_attempt_only(store: SqlStore) -> None:
    """The session was buried meanwhile and somebody else sends the notification."""
    fill(store)
    [held] = claim(store)
    attempt = begin(store, held)
    assert attempt
    start(store, SessionId("second"), NOW + 60 * SECOND)
    with store.write() as tx:
        tx.sweep(NOW + 60 * SECOND, [session for session in tx.sessions() if session.id == SESSION])
    [taken] = claim(store, now=NOW + 60 * SECOND, session=SessionId("second"))
    assert taken.last_outcome is AttemptOutcome.UNKNOWN
    settle(store, outcome(held, attempt, status=NotificationStatus.FAILED, outcome=AttemptOutcome.REFUSED))
    assert row(store, attempts, attempt).outcome == "refused"
    found = row(store, notifications, held.id)
    assert (found.status, found.claimed_by) == ("claimed", "second")


def test_a_lane_wide_failure_rests_the_lane_with_its_own_reason(store: SqlStore) -> None:
    fill(store, 2)
    [held] = claim(store, 1)
    attempt = begin(store, held)
    assert attempt
    retry = replace(again(held, attempt, NOW + SECOND), lane_sign=LaneSign.BUSY, lane_reason="rate_limited")
    settle(store, replace(retry, rest_lane_until=NOW + 30 * SECOND))
    assert claim(store, now=NOW + 29 * SECOND) == []
    assert len(claim(store, now=NOW + 30 * SECOND)) == 1
    assert row(store, lanes, held.lane_id).pause_reason == "rate_limited"


def test_each_refusing_address_is_suppressed_with_its_own_reason(store: SqlStore) -> None:
    fill(store, 2)
    held = claim(store)
    reasons = {held[0].address: "stop", held[1].address: "unknown_mailbox"}
    refused = []
    for item in held:
        attempt = begin(store, item)
        assert attempt
        facts = {"status": NotificationStatus.FAILED, "outcome": AttemptOutcome.REFUSED, "disable_target": True}
        refused.append(outcome(item, attempt, reason=reasons[item.address], **facts))
    settle(store, *refused)
    with store.engine.connect() as connection:
        found = connection.execute(select(suppressions.c.address, suppressions.c.reason)).all()
    assert {row.address: row.reason for row in found} == reasons
    with store.read() as tx:
        assert tx.suppressed_addresses(ACME) == {(ChannelName.EMAIL, address) for address in reasons}


@pytest.mark.parametrize(
    ("ended", "taken_back"),
    [
        (AttemptOutcome.NOT_SENT, True),
        (AttemptOutcome.REFUSED, True),
        (AttemptOutcome.UNKNOWN, False),  # its answer was lost: the receiver may have it
    ],
)
def test_what_its_receiver_may_have_is_not_taken_back_p6(
    store: SqlStore, ended: AttemptOutcome, taken_back: bool
) -> None:
    [waiting] = fill(store, channel=ChannelName.CALLBACK)
    [held] = claim(store)
    attempt = begin(store, held)
    assert attempt
    settle(store, replace(again(held, attempt, NOW + SECOND), outcome=ended))
    with store.write() as tx:
        assert tx.take_back(ACME, waiting.event_id, [waiting.address], "undone") is taken_back
    assert status(store, held.id) == ("cancelled" if taken_back else "due")


# -- provider reports ------------------------------------------------------------------------------------------------


def sent_sms(store: SqlStore, outcome_: AttemptOutcome = AttemptOutcome.SENT) -> tuple[Claimed, AttemptId]:
    """An SMS whose attempt ended like that."""
    fill(store, channel=ChannelName.SMS)
    [held] = claim(store)
    attempt = begin(store, held)
    assert attempt
    ends = {AttemptOutcome.SENT: NotificationStatus.SENT, AttemptOutcome.UNKNOWN: NotificationStatus.UNKNOWN}
    if outcome_ in ends:
        settle(store, outcome(held, attempt, status=ends[outcome_], outcome=outcome_))
    return held, attempt


def report(store: SqlStore, attempt: AttemptId, status: NotificationStatus, code: str | None = None) -> bool:
    """A provider's call-back."""
    with store.write() as tx:
        return tx.advance(attempt, status, code, NOW + SECOND)


SENT, DELIVERED, FAILED = NotificationStatus.SENT, NotificationStatus.DELIVERED, NotificationStatus.FAILED


@pytest.mark.parametrize(
    ("reports", "ends"),
    [
        ([SENT, DELIVERED], "delivered"),  # as it should be
        ([DELIVERED, SENT], "delivered"),  # overtaken on the way
        ([DELIVERED, FAILED], "delivered"),  # after delivered there is nothing more to say
        ([FAILED, DELIVERED], "failed"),  # nor after failed
        ([SENT, SENT], "sent"),  # repeated
    ],
)
def test_reports_move_a_notification_forward_only(
    store: SqlStore, reports: list[NotificationStatus], ends: str
) -> None:
    held, attempt = sent_sms(store)
    for told in reports:
        report(store, attempt, told)
    assert status(store, held.id) == ends


@pytest.mark.parametrize("ended", [AttemptOutcome.SENT, AttemptOutcome.UNKNOWN])
def test_a_report_before_the_settling_counts_when_it_is_settled(store: SqlStore, ended: AttemptOutcome) -> None:
    held, attempt = sent_sms(store, AttemptOutcome.OPEN)
    assert not report(store, attempt, DELIVERED)
    assert status(store, held.id) == "claimed"
    next_ = {AttemptOutcome.SENT: SENT, AttemptOutcome.UNKNOWN: NotificationStatus.UNKNOWN}[ended]
    settle(store, outcome(held, attempt, outcome=ended, status=next_, finished_at=NOW + 2 * SECOND))
    found = row(store, notifications, held.id)
    assert found.status == "delivered" and found.sent_at is not None


def test_a_report_resolves_an_unknown_outcome_p4(store: SqlStore) -> None:
    held, attempt = sent_sms(store, AttemptOutcome.UNKNOWN)
    assert report(store, attempt, SENT)
    found = row(store, notifications, held.id)
    assert (found.status, found.sent_at) == ("sent", NOW + SECOND)


def test_a_failure_is_told_with_the_providers_code(store: SqlStore) -> None:
    held, attempt = sent_sms(store)
    assert report(store, attempt, FAILED, "30003")
    assert row(store, notifications, held.id).reason == "provider reported 30003"
    assert row(store, attempts, attempt).reported_at == NOW + SECOND


def test_a_report_of_an_earlier_attempt_moves_nothing(store: SqlStore) -> None:
    fill(store, channel=ChannelName.SMS)
    [held] = claim(store)
    first = begin(store, held)
    assert first
    settle(store, again(held, first, NOW))
    [taken] = claim(store)
    second = begin(store, taken)
    assert second
    settle(store, outcome(taken, second))
    assert not report(store, first, DELIVERED)
    assert status(store, held.id) == "sent"


@pytest.mark.parametrize("attempt", ["unknown", "x" * 500])
def test_a_report_of_no_attempt_of_ours_is_ignored(store: SqlStore, attempt: str) -> None:
    assert not report(store, AttemptId(attempt), DELIVERED)


# -- the operator's picture ------------------------------------------------------------------------------------------


def test_lanes_are_counted_by_channel_and_priority(store: SqlStore) -> None:
    fill(store, 2)
    fill(store, 1, due_at=NOW + timedelta(hours=1))
    held, _ = claim(store, 2)
    attempt = begin(store, held)
    assert attempt
    settle(store, outcome(held, attempt))
    fill(store, 3, due_at=NOW - timedelta(minutes=5))
    with store.read() as tx:
        [found] = tx.lane_stats(NOW)
    assert (found.channel, found.priority) == (ChannelName.EMAIL, "normal")
    assert (found.due, found.claimed, found.sent, found.failed, found.unknown) == (3, 1, 1, 0, 0)
    assert found.oldest_due_at == NOW - timedelta(minutes=5)


def test_latency_counts_from_acceptance_or_from_a_due_time_on_purpose(store: SqlStore) -> None:
    """received_at is NOW; the second waits ten minutes because its receiver wants final decisions."""
    fill(store, due_at=NOW)
    fill(store, due_at=NOW + timedelta(minutes=10), channel=ChannelName.CALLBACK)
    for moment in (NOW + 2 * SECOND, NOW + timedelta(minutes=10, seconds=3)):
        [held] = claim(store, now=moment)
        attempt = begin(store, held)
        assert attempt
        settle(store, outcome(held, attempt, finished_at=moment))
    with store.read() as tx:
        found = {channel: seconds for channel, _, seconds in tx.latencies(NOW)}
        assert found == {ChannelName.EMAIL: 2.0, ChannelName.CALLBACK: 3.0}
        assert tx.latencies(NOW + timedelta(hours=1)) == []


def test_latency_leaves_tries_that_failed_out(store: SqlStore) -> None:
    fill(store)
    [held] = claim(store)
    first = begin(store, held)
    assert first
    settle(store, again(held, first, NOW))
    [taken] = claim(store)
    second = begin(store, taken)
    assert second
    settle(store, outcome(taken, second))
    with store.read() as tx:
        assert tx.latencies(NOW - SECOND) == []


def test_messages_are_stored_whole(store: SqlStore) -> None:
    [item] = fill(store)
    assert item.message is not None
    found = row(store, messages, item.message.id)
    assert (found.locale, found.context) == ("en", {"event": {}})
