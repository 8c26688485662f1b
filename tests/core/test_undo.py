"""Taking a decision back: pure, and which reason against it counts first."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from notifier.core.order_flow import Decided, Refusal, Refused, Undone, UndoWish, decide, undo, undone_data
from notifier.core.orders import Decision, Order, OrderStatus
from notifier.core.samples import NOW, POLICY
from tests.core.test_order_flow import order, wish

WISH = UndoWish(4, "form", "Bob", "sms")
PENDING = {"status": OrderStatus.PENDING, "version": 5}
WITHDRAWN = {"status": OrderStatus.WITHDRAWN, "version": 6}
IN_COOLR = {"decided_elsewhere": True, "version": 6}
SOON = NOW + timedelta(minutes=2)


def decided() -> tuple[Order, Decision]:
    """Order 1042 in version 4, accepted by Alice a moment ago."""
    numbers = count()
    answer = decide(order(), wish(), POLICY, NOW, lambda: f"id-{next(numbers)}")
    assert isinstance(answer, Decided)
    return answer.order, answer.decision


def test_an_undone_order_is_pending_in_a_new_version_and_the_decision_knows_who_took_it_back() -> None:
    before, decision = decided()
    answer = undo(before, decision, WISH, SOON, followed=False)
    assert isinstance(answer, Undone)
    assert answer.order == replace(before, status=OrderStatus.PENDING, version=5, decision_id=None)
    assert answer.decision == replace(decision, undone_at=SOON, undone_by="Bob", undone_via="sms", undo_nonce="form")
    told = undone_data(answer.order, answer.decision)
    assert (told.decision, told.decided_by, told.undone_by, told.undone_at, told.final) == (
        "accepted",
        "Alice",
        "Bob",
        SOON,
        False,
    )


@pytest.mark.parametrize(
    ("state", "fate", "wished", "after", "followed", "refusal"),
    [
        ({}, {}, {}, timedelta(minutes=9, seconds=59), False, None),
        ({}, {}, {}, timedelta(minutes=10), False, Refusal.FINAL),  # final at this very moment
        ({}, {}, {}, timedelta(minutes=-30), False, None),  # a clock that was set back makes nothing final
        ({}, {}, {"seen_version": 3}, timedelta(), False, Refusal.SUPERSEDED),
        ({}, {}, {"seen_version": 3}, timedelta(hours=1), False, Refusal.SUPERSEDED),  # what was seen matters more
        ({}, {}, {}, timedelta(), True, Refusal.FOLLOWED),
        (PENDING, {"undone_at": NOW}, {}, timedelta(), False, Refusal.ALREADY_UNDONE),
        (WITHDRAWN, {"undone_at": NOW}, {}, timedelta(), False, Refusal.WITHDRAWN),
        (IN_COOLR, {"undone_at": NOW}, {}, timedelta(), False, Refusal.DECIDED_IN_COOLR),
    ],
)
def test_why_a_decision_is_not_taken_back(
    state: dict[str, Any],
    fate: dict[str, Any],
    wished: dict[str, Any],
    after: timedelta,
    followed: bool,
    refusal: Refusal | None,
) -> None:
    before, decision = decided()
    answer = undo(
        replace(before, **state), replace(decision, **fate), replace(WISH, **wished), NOW + after, followed=followed
    )
    assert (answer.reason if isinstance(answer, Refused) else None) == refusal


def test_where_nobody_decided_there_is_nothing_to_take_back() -> None:
    assert undo(order(), None, WISH, NOW, followed=False) == Refused(Refusal.NOT_DECIDED)
    assert undo(order(status=OrderStatus.EXPIRED), None, WISH, NOW, followed=False) == Refused(Refusal.NOT_DECIDED)
