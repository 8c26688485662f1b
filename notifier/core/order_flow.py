"""What happens to an order: events change it, people decide it. Pure; the pipeline holds the locks.

Coolr's words: accept = schedule, modify = edit then schedule, cancel = ignore.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from notifier.core.event_data import (
    DATA_MODELS,
    DecidedLine,
    DecisionData,
    DecisionUndoneData,
    OrderData,
    OrderDecidedData,
    OrderLine,
    OrderWithdrawnData,
    OutletRef,
)
from notifier.core.formatting import money
from notifier.core.ids import DecisionId, OrderId, OutletCode, RecipientId, RecipientKey
from notifier.core.model import Event, EventType
from notifier.core.orders import Action, Decision, Order, OrderStatus
from notifier.core.policy import TenantPolicy

GRACE = timedelta(seconds=60)  #: an answer that left in time counts although the network was slow
MOST_CASES = 100_000
NO_COUNT = "a whole number of cases, please; 0 leaves it out"
ORDER_EVENTS = (EventType.ORDER_RECOMMENDED, EventType.ORDER_WITHDRAWN, EventType.ORDER_DECIDED)
STATUS_OF = {
    Action.ACCEPT: OrderStatus.ACCEPTED,
    Action.MODIFY: OrderStatus.MODIFIED,
    Action.CANCEL: OrderStatus.CANCELLED,
}
COOLR_ACTION: dict[Action, Literal["schedule", "edit_and_schedule", "ignore"]] = {
    Action.ACCEPT: "schedule",
    Action.MODIFY: "edit_and_schedule",
    Action.CANCEL: "ignore",
}


# -- events --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OrderChange:
    """What an event does to an order; None = nothing to store."""

    order: Order | None
    note: str


def concerns_order(event: Event) -> bool:
    """Whether an accepted event changes an order."""
    return event.type in ORDER_EVENTS


def number_of(event: Event) -> str:
    """The order's number."""
    return event.subject.removeprefix("order/")


def apply_event(
    event: Event, order: Order | None, policy: TenantPolicy, now: datetime, new_id: Callable[[], str]
) -> OrderChange:
    """Return the order after the event. Data were validated when the event was read."""
    data = DATA_MODELS[event.type].model_validate(event.data)
    match data:
        case OrderData():
            return _recommended(event, data, order, policy, now, new_id)
        case OrderWithdrawnData():
            return _closed(order, OrderStatus.WITHDRAWN, elsewhere=False)
        case OrderDecidedData():
            return _closed(order, OrderStatus(data.decision), elsewhere=True)
    return OrderChange(None, "not about an order")


def _recommended(
    event: Event,
    data: OrderData,
    order: Order | None,
    policy: TenantPolicy,
    now: datetime,
    new_id: Callable[[], str],
) -> OrderChange:
    answer_by = data.deadline and data.deadline - timedelta(minutes=policy.orders.deadline_margin_minutes)
    if order is not None and order.status is OrderStatus.PENDING:
        changed = replace(
            order,
            version=order.version + 1,
            data=data,
            event_id=event.id,
            outlet=event.outlet or order.outlet,
            deadline=data.deadline,
            answer_by=answer_by,
        )
        return OrderChange(changed, "new version")
    made = Order(
        id=OrderId(new_id()),
        tenant=event.tenant,
        number=data.order_number,
        outlet=OutletCode(data.outlet.code),
        status=OrderStatus.PENDING,
        version=1,
        data=data,
        event_id=event.id,
        deadline=data.deadline,
        answer_by=answer_by,
        created_at=now,
        previous=order.id if order else None,
    )
    return OrderChange(made, "follows a closed order" if order else "new")


def _closed(order: Order | None, status: OrderStatus, *, elsewhere: bool) -> OrderChange:
    """After a decision a withdrawal is recorded and told, never applied."""
    if order is None:
        return OrderChange(None, "no such order")
    if order.status is not OrderStatus.PENDING:
        return OrderChange(None, f"already {order.status.value}")
    return OrderChange(replace(order, status=status, version=order.version + 1, decided_elsewhere=elsewhere), "closed")


# -- decisions -----------------------------------------------------------------------------------------------------


MOST_UNDONE = 5  #: decisions on one order that are taken back by link


class Refusal(StrEnum):
    """Why a decision is not taken, or not taken back."""

    ALREADY_DECIDED = "already_decided"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"
    TOO_LATE = "too_late"
    PAUSED = "paused"
    NOT_ALLOWED = "not_allowed"
    UNCLEAR = "unclear"  #: no button of ours, or "accept" beside changed quantities
    INVALID = "invalid"  #: quantities, line by line
    NOT_DECIDED = "not_decided"
    DECIDED_IN_COOLR = "decided_in_coolr"
    ALREADY_UNDONE = "already_undone"
    FOLLOWED = "followed"  #: a newer order stands in this one's place
    FINAL = "final"  #: handed over: only a person can change it now
    TOO_OFTEN = "too_often"  #: each time people and endpoints are told: by link there is an end to it


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to a decision that cannot be taken; `lines` has one sentence per SKU."""

    reason: Refusal
    lines: Mapping[str, str] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, and the order after it."""

    order: Order
    decision: Decision


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to do with the order he or she saw."""

    action: Action
    quantities: Mapping[str, int]
    reason: str
    seen_version: int
    nonce: str
    recipient_key: RecipientKey | None
    recipient_id: RecipientId | None
    decided_by: str
    via: str
    unreadable: tuple[str, ...] = ()  #: SKUs whose quantity is no whole number


def decide(
    order: Order, wish: Wish, policy: TenantPolicy, now: datetime, new_id: Callable[[], str]
) -> Decided | Refused:
    """Return the decision, or why there is none. The first decision wins (P6)."""
    reason = _state_against(order, wish, now)
    if reason is not None:
        return Refused(reason)
    if wish.action is Action.ACCEPT and _changed(order, wish):
        return Refused(Refusal.UNCLEAR)
    action = wish.action
    if action is Action.MODIFY:
        problems, message = _mistakes(order, wish)
        if problems or message:
            return Refused(Refusal.INVALID, problems, message)
        if not _changed(order, wish):
            action = Action.ACCEPT  # a change that changes nothing
    quantities = final_quantities(order, replace(wish, action=action))
    final_at = now + timedelta(minutes=policy.orders.undo_minutes)
    decision = Decision(
        id=DecisionId(new_id()),
        tenant=order.tenant,
        order_id=order.id,
        order_version=order.version,
        action=action,
        quantities=quantities,
        reason=wish.reason[:500] if action is Action.CANCEL else "",
        decided_at=now,
        final_at=max(now, min(final_at, order.deadline)) if order.deadline else final_at,
        nonce=wish.nonce,
        recipient_key=wish.recipient_key,
        recipient_id=wish.recipient_id,
        decided_by=wish.decided_by[:100],
        via=wish.via,
    )
    after = replace(order, status=STATUS_OF[action], version=order.version + 1, decision_id=decision.id)
    return Decided(after, decision)


def _state_against(order: Order, wish: Wish, now: datetime) -> Refusal | None:
    if order.status is OrderStatus.WITHDRAWN:
        return Refusal.WITHDRAWN
    if order.status is OrderStatus.EXPIRED:
        return Refusal.TOO_LATE
    if order.status is not OrderStatus.PENDING:
        return Refusal.DECIDED_IN_COOLR if order.decided_elsewhere else Refusal.ALREADY_DECIDED
    if order.data.paused:
        return Refusal.PAUSED
    if order.version != wish.seen_version:
        return Refusal.SUPERSEDED
    if order.answer_by is not None and now > order.answer_by + GRACE:
        return Refusal.TOO_LATE
    return None


def _changed(order: Order, wish: Wish) -> bool:
    """Whether a quantity was typed that is not the suggested one; what cannot be read counts too."""
    if wish.unreadable:
        return True
    return any(wish.quantities.get(line.sku, line.suggested_cases) != line.suggested_cases for line in order.data.lines)


def _mistakes(order: Order, wish: Wish) -> tuple[dict[str, str], str]:
    """What is wrong with changed quantities; each needs one, since an empty field is neither 0 nor the suggestion."""
    absent = {line.sku: NO_COUNT for line in order.data.lines if line.sku not in wish.quantities}
    if not absent and not _changed(order, wish):
        return {}, ""  # as suggested
    problems, message = check_quantities(order, final_quantities(order, wish))
    return {**problems, **absent}, "" if absent else message


def final_quantities(order: Order, wish: Wish) -> dict[str, int]:
    """Cases per SKU that the action orders."""
    match wish.action:
        case Action.ACCEPT:
            return {line.sku: line.suggested_cases for line in order.data.lines}
        case Action.CANCEL:
            return {line.sku: 0 for line in order.data.lines}
        case Action.MODIFY:
            return {line.sku: wish.quantities.get(line.sku, line.suggested_cases) for line in order.data.lines}


def check_quantities(order: Order, quantities: Mapping[str, int]) -> tuple[dict[str, str], str]:
    """Return (mistakes by SKU, mistake of the whole): multiple, minimum, maximum, MOQ and MOV, in integers."""
    lines = {line.sku: text for line in order.data.lines if (text := _line_mistake(line, quantities[line.sku]))}
    total = sum(quantities.values())
    if not lines and total == 0:
        return {}, "Every quantity is 0. To order nothing, decline the order."
    return lines, "" if lines else _whole_mistake(order, quantities, total)


def _line_mistake(line: OrderLine, cases: int) -> str:
    if cases == 0:
        return ""
    most = MOST_CASES if line.max_cases is None else line.max_cases
    if cases < line.min_cases:
        return f"at least {_cases(line.min_cases)}, or 0"
    if cases > most:
        return f"at most {_cases(most)}"
    if cases % line.multiple:
        below = cases - cases % line.multiple
        near = [some for some in (below, below + line.multiple) if some == 0 or line.min_cases <= some <= most]
        choice = f": {' or '.join(map(str, near))}" if near else ""
        return f"only in steps of {line.multiple}{choice}"
    return ""


def _whole_mistake(order: Order, quantities: Mapping[str, int], total: int) -> str:
    cases, value = order.data.cases, order.data.value
    if cases.min is not None and total < cases.min:
        return f"The smallest order is {_cases(cases.min)}; this is {_cases(total)}."
    if cases.max is not None and total > cases.max:
        return f"The largest order is {_cases(cases.max)}; this is {_cases(total)}."
    worth, currency = total_value(order, quantities), order.data.currency
    if worth is None or currency is None:
        return ""
    if value.min is not None and worth < value.min:
        return f"The smallest order is {money(value.min, currency)}; this is {money(worth, currency)}."
    if value.max is not None and worth > value.max:
        return f"The largest order is {money(value.max, currency)}; this is {money(worth, currency)}."
    return ""


def _cases(count: int) -> str:
    return f"{count} case{'' if count == 1 else 's'}"


def total_value(order: Order, quantities: Mapping[str, int]) -> int | None:
    """Minor units; None unless every line that is ordered has a price."""
    ordered = [(line, quantities[line.sku]) for line in order.data.lines if quantities[line.sku]]
    if order.data.currency is None or any(line.case_price is None for line, _ in ordered):
        return None
    return sum((line.case_price or 0) * cases for line, cases in ordered)


# -- undoing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Undone:
    """A decision taken back, and the order after it: pending, in a new version."""

    order: Order
    decision: Decision


@dataclass(frozen=True, slots=True)
class UndoWish:
    """What somebody wants to take back: the decision of the version that the form showed."""

    seen_version: int
    nonce: str
    undone_by: str
    via: str


def undo(
    order: Order, last: Decision | None, wish: UndoWish, now: datetime, *, followed: bool, times: int = 0
) -> Undone | Refused:
    """Return the order as it was before its decision, or why not.

    `last` is the order's newest decision, `followed` whether a newer order has its number: were this one open again
    beside it, the same goods could be ordered twice. `times` says how many of its decisions were taken back before.
    """
    reason = _undo_against(order, last, wish, now, followed=followed, times=times)
    if reason is not None or last is None:
        return Refused(reason or Refusal.NOT_DECIDED)
    taken_back = replace(
        last, undone_at=now, undone_by=wish.undone_by[:100], undone_via=wish.via, undo_nonce=wish.nonce
    )
    after = replace(order, status=OrderStatus.PENDING, version=order.version + 1, decision_id=None)
    return Undone(after, taken_back)


def _undo_against(
    order: Order, last: Decision | None, wish: UndoWish, now: datetime, *, followed: bool, times: int
) -> Refusal | None:
    if order.status is OrderStatus.WITHDRAWN:
        return Refusal.WITHDRAWN
    if order.decided_elsewhere:
        return Refusal.DECIDED_IN_COOLR
    if last is None:
        return Refusal.NOT_DECIDED
    if last.undone_at is not None:
        return Refusal.ALREADY_UNDONE
    if order.version != wish.seen_version:
        return Refusal.SUPERSEDED
    if now >= last.final_at:
        return Refusal.FINAL
    if followed:
        return Refusal.FOLLOWED
    return Refusal.TOO_OFTEN if times >= MOST_UNDONE else None


# -- what is told of both --------------------------------------------------------------------------------------------


def decision_data(order: Order, decision: Decision, now: datetime) -> DecisionData:
    """The data of coolr.decision.recorded."""
    return DecisionData(
        decision_id=decision.id,
        order_number=order.number,
        outlet=OutletRef(code=order.outlet),
        decision=_word(decision.action),
        coolr_action=COOLR_ACTION[decision.action],
        order_version=decision.order_version,
        decided_at=decision.decided_at,
        decided_by=decision.decided_by,
        via=decision.via,
        reason=decision.reason,
        lines=tuple(_decided_line(line, decision.quantities.get(line.sku, 0)) for line in order.data.lines),
        currency=order.data.currency,
        total=total_value(order, decision.quantities),
        total_cases=sum(decision.quantities.values()),
        final=decision.final_at <= now,
        final_at=decision.final_at,
    )


def undone_data(order: Order, decision: Decision) -> DecisionUndoneData:
    """The data of coolr.decision.undone."""
    assert decision.undone_at is not None
    return DecisionUndoneData(
        **dict(decision_data(order, decision, decision.undone_at)),
        undone_at=decision.undone_at,
        undone_by=decision.undone_by or "",
        undone_via=decision.undone_via or "",
    )


def _word(action: Action) -> Literal["accepted", "modified", "cancelled"]:
    match action:
        case Action.ACCEPT:
            return "accepted"
        case Action.MODIFY:
            return "modified"
        case Action.CANCEL:
            return "cancelled"


def _decided_line(line: OrderLine, cases: int) -> DecidedLine:
    return DecidedLine(
        sku=line.sku,
        name=line.name,
        suggested_cases=line.suggested_cases,
        cases=cases,
        case_price=line.case_price,
        case_size=line.case_size,
    )
