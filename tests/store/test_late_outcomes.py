"""Outcomes that a session tells after it was taken for dead: a process that was stopped for a while and goes on."""

from __future__ import annotations

import pytest

from notifier.core.ids import AttemptId, SessionId, new_id
from notifier.core.model import AttemptOutcome, ChannelName, Claimed, NotificationStatus
from notifier.core.switches import Switch
from notifier.store import SqlStore
from notifier.store.tables import attempts
from notifier.testing import NOW
from tests.store.test_delivery import SECOND, SESSION, begin, claim, fill, outcome, row, settle, start, status

OTHER = SessionId("other")
LATER = NOW + 60 * SECOND


@pytest.fixture(autouse=True)
def sessions(store: SqlStore) -> None:
    """One that will be taken for dead, one that lives."""
    start(store, SESSION)
    start(store, OTHER, LATER)


def buried(store: SqlStore, channel: ChannelName = ChannelName.EMAIL) -> tuple[Claimed, AttemptId]:
    """A row whose try had begun when its session was buried."""
    fill(store, channel=channel)
    [held] = claim(store)
    attempt = begin(store, held)
    assert attempt
    with store.write() as tx:
        tx.sweep(LATER, [session for session in tx.sessions() if session.id == SESSION])
    return held, attempt


@pytest.mark.parametrize("channel", [ChannelName.EMAIL, ChannelName.SMS])
def test_a_success_told_late_saves_the_second_try_p4(store: SqlStore, channel: ChannelName) -> None:
    held, attempt = buried(store, channel)
    assert status(store, held.id) == ("unknown" if channel is ChannelName.SMS else "due")
    settle(store, outcome(held, attempt))
    assert status(store, held.id) == "sent"
    assert claim(store, now=LATER, session=OTHER) == []
    assert row(store, attempts, attempt).outcome == "sent"


def test_it_counts_also_when_its_event_type_was_switched_off_meanwhile_p4(store: SqlStore) -> None:
    held, attempt = buried(store)
    off = Switch(new_id(), "", "", held.message.kind, "", "a test", "operator:ana", NOW)
    with store.write() as tx:
        tx.switch_off(off)
    assert claim(store, now=LATER, session=OTHER) == []
    assert status(store, held.id) == "held"
    settle(store, outcome(held, attempt))
    with store.write() as tx:
        tx.switch_on(off.id)
        assert tx.release_held(LATER) == 0
    assert status(store, held.id) == "sent"


def test_it_counts_also_when_another_session_has_the_row_and_has_not_begun_p4(store: SqlStore) -> None:
    held, attempt = buried(store)
    [taken] = claim(store, now=LATER, session=OTHER)
    settle(store, outcome(held, attempt))
    assert status(store, held.id) == "sent"
    assert begin(store, taken) is None, "the other session is told not to send"


def test_it_changes_nothing_once_another_try_began(store: SqlStore) -> None:
    held, attempt = buried(store)
    [taken] = claim(store, now=LATER, session=OTHER)
    second = begin(store, taken)
    assert second
    settle(store, outcome(held, attempt))
    assert status(store, held.id) == "claimed"
    assert row(store, attempts, second).outcome == "open"


def test_a_failure_told_late_changes_nothing_but_its_attempt(store: SqlStore) -> None:
    held, attempt = buried(store)
    settle(store, outcome(held, attempt, outcome=AttemptOutcome.REFUSED, status=NotificationStatus.FAILED))
    assert status(store, held.id) == "due"
    assert row(store, attempts, attempt).outcome == "refused"
