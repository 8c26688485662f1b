"""The short model: what an order and a notification may be, said again in few lines that share no code with ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

#: Where a notification may stand after one step, by where it stood before; what is missing never changes again.
MAY_BECOME = {
    "due": {"claimed", "cancelled", "expired", "sent", "delivered"},  # sent: a success that is told late
    "claimed": {"due", "sent", "delivered", "failed", "unknown", "expired"},
    "unknown": {"sent", "delivered", "failed", "due", "expired"},
    "sent": {"delivered", "failed"},  # by the provider's word
}
RESTING = {"sent", "delivered", "failed", "suppressed", "expired", "cancelled"}
MOST_UNDONE = 5  #: decisions on one order that are taken back by link


@dataclass
class ExpectedOrder:
    """An order as a person would follow it on paper."""

    status: str = "pending"
    version: int = 1
    answer_by: datetime | None = None
    deadline: datetime | None = None
    final_at: datetime | None = None
    wrong: dict[str, set[tuple[str, str]]] = field(default_factory=dict)  #: person → (form, number) that did not fit
    decided_by_form: set[str] = field(default_factory=set)
    undone_by_form: set[str] = field(default_factory=set)


@dataclass
class Orders:
    """All orders by number, the newest last."""

    by_number: dict[str, list[ExpectedOrder]] = field(default_factory=dict)

    def recommend(self, number: str, deadline: datetime | None) -> None:
        """A pending order gets its next version; else a new one begins."""
        known = self.by_number.setdefault(number, [])
        if known and known[-1].status == "pending":
            known[-1].version += 1
        else:
            known.append(ExpectedOrder())
        known[-1].deadline = deadline
        known[-1].answer_by = None if deadline is None else deadline - timedelta(minutes=15)

    def close(self, number: str, status: str) -> None:
        """Withdrawn or decided elsewhere: only what is pending."""
        known = self.by_number.get(number, [])
        if known and known[-1].status == "pending":
            known[-1].status, known[-1].version = status, known[-1].version + 1


def number_fits(order: ExpectedOrder, person: str, form: str, typed: str, *, right: bool) -> bool:
    """Two wrong numbers close the order for a person; the same guess in the same form counts once."""
    wrong = order.wrong.setdefault(person, set())
    if len(wrong) >= 2:
        return False
    if not right:
        wrong.add((form, typed))
    return right


def decide(
    order: ExpectedOrder, person: str, form: str, typed: str, status: str, seen: int, now: datetime, *, right: bool
) -> bool:
    """Whether the page says done; the first decision wins, the same form again is the same."""
    if form in order.decided_by_form:
        return True
    late = order.answer_by is not None and now > order.answer_by + timedelta(seconds=60)
    if order.status != "pending" or seen != order.version or late:
        return False
    if not number_fits(order, person, form, typed, right=right):
        return False
    order.status, order.version = status, order.version + 1
    window = now + timedelta(minutes=10)
    order.final_at = window if order.deadline is None else max(now, min(window, order.deadline))
    order.decided_by_form.add(form)
    return True


def undo(
    order: ExpectedOrder,
    person: str,
    form: str,
    typed: str,
    seen: int,
    now: datetime,
    *,
    right: bool,
    newest: bool,
    handed_over: bool,
) -> bool:
    """Whether the page says done: before it is final, and before anybody was told that it is."""
    if form in order.undone_by_form:
        return True
    if order.final_at is None or seen != order.version or now >= order.final_at or not newest:
        return False
    if len(order.undone_by_form) >= MOST_UNDONE:
        return False
    if not number_fits(order, person, form, typed, right=right) or handed_over:
        return False
    order.status, order.version, order.final_at = "pending", order.version + 1, None
    order.undone_by_form.add(form)
    return True
