"""Orders as events change them and people decide them: pure, whatever is asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core import order_flow
from notifier.core.event_data import DATA_MODELS, OrderData, subject_of
from notifier.core.ids import EventId, OrderId, OutletCode
from notifier.core.model import Event, EventType
from notifier.core.order_flow import Decided, Refusal, Refused, Wish, decide, decision_data
from notifier.core.orders import Action, Order, OrderStatus
from notifier.core.policy import OrderPolicy
from notifier.core.samples import NOW, POLICY, TENANT

LINE = {"sku": "a", "name": "Cola", "suggested_cases": 12, "case_price": 100}


def order(**changes: Any) -> Order:
    data = OrderData.model_validate(
        {"order_number": "1042", "outlet": {"code": "X"}, "lines": [LINE], "currency": "EUR"}
    )
    made = Order(
        OrderId("o"), TENANT, "1042", OutletCode("X"), OrderStatus.PENDING, 3, data, EventId("e"), None, None, NOW
    )
    return replace(made, **changes)


def with_lines(*lines: dict[str, Any], **data: Any) -> Order:
    facts = {"order_number": "1042", "outlet": {"code": "X"}, "lines": list(lines), "currency": "EUR", **data}
    return order(data=OrderData.model_validate(facts))


def wish(action: Action = Action.ACCEPT, version: int = 3, quantities: dict[str, int] | None = None) -> Wish:
    return Wish(action, quantities or {}, "why", version, "nonce", None, None, "Alice", "email")


def ids() -> Any:
    numbers = count()
    return lambda: f"id-{next(numbers)}"


# -- decisions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "refusal"),
    [
        ({"status": OrderStatus.WITHDRAWN}, Refusal.WITHDRAWN),
        ({"status": OrderStatus.EXPIRED}, Refusal.TOO_LATE),
        ({"status": OrderStatus.ACCEPTED}, Refusal.ALREADY_DECIDED),
        ({"status": OrderStatus.CANCELLED}, Refusal.ALREADY_DECIDED),
        ({"status": OrderStatus.ACCEPTED, "decided_elsewhere": True}, Refusal.DECIDED_IN_COOLR),
        ({"version": 4}, Refusal.SUPERSEDED),
        ({"version": 2}, Refusal.SUPERSEDED),
        ({"answer_by": NOW - timedelta(seconds=61)}, Refusal.TOO_LATE),
        ({"answer_by": NOW - timedelta(seconds=60)}, None),  # the grace of a slow network
        ({"answer_by": NOW}, None),
        ({"status": OrderStatus.ACCEPTED, "version": 4}, Refusal.ALREADY_DECIDED),  # who decided matters more
    ],
)
def test_the_state_of_the_order_is_asked_first(state: dict[str, Any], refusal: Refusal | None) -> None:
    answer = decide(order(**state), wish(), POLICY, NOW, ids())
    assert (answer.reason if isinstance(answer, Refused) else None) == refusal


@pytest.mark.parametrize(
    ("undo", "deadline", "final_at"),
    [
        (10, None, NOW + timedelta(minutes=10)),
        (0, None, NOW),
        (10, NOW + timedelta(minutes=3), NOW + timedelta(minutes=3)),  # handed over before the window ends
        (10, NOW - timedelta(seconds=30), NOW),  # in the minute of grace
    ],
)
def test_a_decision_is_final_when_its_window_or_the_cut_off_ends(
    undo: int, deadline: datetime | None, final_at: datetime
) -> None:
    policy = replace(POLICY, orders=OrderPolicy(undo_minutes=undo))
    answer = decide(order(deadline=deadline), wish(), policy, NOW, ids())
    assert isinstance(answer, Decided) and answer.decision.final_at == final_at
    assert decision_data(answer.order, answer.decision, NOW).final == (final_at == NOW)


@pytest.mark.parametrize(
    ("action", "quantities", "recorded"),
    [
        (Action.ACCEPT, {"a": 12}, Action.ACCEPT),
        (Action.MODIFY, {"a": 12}, Action.ACCEPT),  # a change that changes nothing
        (Action.MODIFY, {"a": 3}, Action.MODIFY),
        (Action.CANCEL, {"a": 3}, Action.CANCEL),  # what was typed before does not matter any more
    ],
)
def test_what_is_recorded(action: Action, quantities: dict[str, int], recorded: Action) -> None:
    answer = decide(order(), wish(action, quantities=quantities), POLICY, NOW, ids())
    assert isinstance(answer, Decided) and answer.decision.action is recorded
    assert answer.decision.reason == ("why" if recorded is Action.CANCEL else "")
    assert (answer.order.version, answer.decision.order_version) == (4, 3)


def test_accepting_beside_changed_quantities_is_unclear() -> None:
    answer = decide(order(), wish(quantities={"a": 3}), POLICY, NOW, ids())
    assert answer == Refused(Refusal.UNCLEAR)
    assert decide(order(), replace(wish(), unreadable=("a",)), POLICY, NOW, ids()) == Refused(Refusal.UNCLEAR)


def test_a_change_needs_a_quantity_for_every_line() -> None:
    answer = decide(order(), wish(Action.MODIFY), POLICY, NOW, ids())
    assert answer == Refused(Refusal.INVALID, {"a": order_flow.NO_COUNT})


@pytest.mark.parametrize(
    ("line", "typed", "mistake"),
    [
        ({"min_cases": 3}, 2, "at least 3 cases, or 0"),
        ({"min_cases": 3}, 0, ""),
        ({"min_cases": 1}, 1, ""),
        ({"max_cases": 1}, 2, "at most 1 case"),
        ({}, 100_001, "at most 100000 cases"),
        ({"multiple": 6}, 7, "only in steps of 6: 6 or 12"),
        ({"multiple": 6, "max_cases": 8}, 7, "only in steps of 6: 6"),  # 12 would be refused next
        ({"multiple": 6, "min_cases": 9}, 10, "only in steps of 6: 12"),
        ({"multiple": 6, "min_cases": 7, "max_cases": 11}, 8, "only in steps of 6"),  # nothing fits but 0
    ],
)
def test_a_line_has_its_rules(line: dict[str, int], typed: int, mistake: str) -> None:
    ordered = with_lines({**LINE, "suggested_cases": 999, **line}, {**LINE, "sku": "b"})
    lines, _ = order_flow.check_quantities(ordered, {"a": typed, "b": 12})
    assert lines == ({"a": mistake} if mistake else {})


def test_the_value_of_an_order_without_all_prices_is_not_known() -> None:
    ordered = with_lines(LINE, {"sku": "b", "name": "Tea", "suggested_cases": 1}, value={"min": 10**9})
    assert order_flow.total_value(ordered, {"a": 1, "b": 1}) is None
    assert order_flow.total_value(ordered, {"a": 1, "b": 0}) == 100
    assert order_flow.check_quantities(ordered, {"a": 1, "b": 1}) == ({}, ""), "no rule about an unknown value"


LINES = st.lists(
    st.fixed_dictionaries(
        {
            "sku": st.sampled_from("abcdef"),
            "name": st.just("x"),
            "suggested_cases": st.integers(0, 50),
            "min_cases": st.integers(0, 10),
            "max_cases": st.none() | st.integers(10, 60),
            "multiple": st.integers(1, 12),
            "case_price": st.none() | st.integers(0, 10_000),
        }
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda line: line["sku"],
)
LIMIT = st.fixed_dictionaries({"min": st.none() | st.integers(0, 200), "max": st.none() | st.integers(200, 500)})


@given(
    lines=LINES,
    cases=LIMIT,
    value=LIMIT,
    action=st.sampled_from(Action),
    quantities=st.dictionaries(st.sampled_from("abcdefz"), st.integers(0, 999_999)),
    version=st.integers(0, 5),
)
def test_whatever_is_wished_a_decision_keeps_the_rules_and_its_totals(
    lines: list[dict[str, Any]],
    cases: dict[str, Any],
    value: dict[str, Any],
    action: Action,
    quantities: dict[str, int],
    version: int,
) -> None:
    asked = with_lines(*lines, cases=cases, value=value)
    answer = decide(asked, wish(action, version, quantities), POLICY, NOW, ids())
    if isinstance(answer, Refused):
        assert answer.reason in (Refusal.SUPERSEDED, Refusal.UNCLEAR, Refusal.INVALID)
        return
    final = answer.decision.quantities
    assert final.keys() == {line["sku"] for line in lines}
    if answer.decision.action is Action.MODIFY:
        assert order_flow.check_quantities(asked, final) == ({}, "")
    told = decision_data(answer.order, answer.decision, NOW)
    assert told.total_cases == sum(final.values()) == sum(line.cases for line in told.lines)
    if told.total is not None:
        assert told.total == sum((line.case_price or 0) * line.cases for line in told.lines)


# -- events ------------------------------------------------------------------------------------------------------------


def arrived(type_: EventType, **data: Any) -> Event:
    facts = {"order_number": "1042", "outlet": {"code": "X"}, **data}
    model = DATA_MODELS[type_].model_validate(facts)
    return Event(
        EventId("e2"), TENANT, "s", "1", type_, subject_of(model), NOW, NOW, 2, "", model.model_dump(mode="json")
    )


def test_a_new_recommendation_of_a_pending_order_is_its_next_version() -> None:
    change = order_flow.apply_event(arrived(EventType.ORDER_RECOMMENDED, lines=[LINE]), order(), POLICY, NOW, ids())
    assert change.order is not None
    assert (change.order.id, change.order.version, change.order.event_id) == ("o", 4, "e2")


def test_a_new_recommendation_of_a_decided_order_is_a_new_order_linked_to_it() -> None:
    decided = order(status=OrderStatus.ACCEPTED)
    change = order_flow.apply_event(arrived(EventType.ORDER_RECOMMENDED, lines=[LINE]), decided, POLICY, NOW, ids())
    assert change.order is not None
    assert (change.order.id, change.order.version, change.order.previous) == ("id-0", 1, "o")


def test_people_see_the_cut_off_minus_the_margin() -> None:
    event = arrived(EventType.ORDER_RECOMMENDED, lines=[LINE], deadline="2026-11-27T13:15:00Z")
    change = order_flow.apply_event(event, None, POLICY, NOW, ids())
    assert change.order and change.order.deadline and change.order.answer_by
    assert change.order.deadline - change.order.answer_by == timedelta(minutes=15)


@pytest.mark.parametrize(
    ("type_", "data", "status"),
    [
        (EventType.ORDER_WITHDRAWN, {}, OrderStatus.WITHDRAWN),
        (
            EventType.ORDER_DECIDED,
            {"decision": "cancelled", "decided_at": "2026-11-23T10:00:00Z"},
            OrderStatus.CANCELLED,
        ),
    ],
)
def test_what_happens_elsewhere_closes_a_pending_order_and_never_changes_a_decided_one(
    type_: EventType, data: dict[str, Any], status: OrderStatus
) -> None:
    change = order_flow.apply_event(arrived(type_, **data), order(), POLICY, NOW, ids())
    assert change.order and (change.order.status, change.order.version) == (status, 4)
    assert change.order.decided_elsewhere == (type_ is EventType.ORDER_DECIDED)
    after = order_flow.apply_event(arrived(type_, **data), order(status=OrderStatus.ACCEPTED), POLICY, NOW, ids())
    assert after.order is None
    assert order_flow.apply_event(arrived(type_, **data), None, POLICY, NOW, ids()).order is None


def test_an_order_names_a_product_once() -> None:
    with pytest.raises(ValueError, match="stands in"):
        with_lines(LINE, LINE)
