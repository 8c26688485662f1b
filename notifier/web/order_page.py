"""What the order page says: one truthful state, the difference to what was seen, what was typed. Values only."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from notifier.core import formatting, order_flow, views
from notifier.core.clean import clean, clean_key
from notifier.core.event_data import OrderData, OrderLine
from notifier.core.order_flow import Refusal
from notifier.core.order_form import CASES, REASONS, Form
from notifier.core.orders import Action, OrderStatus
from notifier.core.policy import Confirmation
from notifier.visits import Acted, FormError, Visit

LOCALE = "en"
#: What a person is told when a form was not taken. {number} and {store} are the order's.
ERRORS: dict[str, str] = {
    FormError.WRONG_NUMBER: (
        "That is not the number for order {number}. Look in the message about {store} and try once more."
    ),
    FormError.NO_NUMBER: (
        "Please type the number from your message; it stands under “See the order”, in an SMS before the link."
    ),
    FormError.LOCKED: "",  # the state says it
    Refusal.ALREADY_DECIDED: "Somebody answered this order before you. Your answer changed nothing.",
    Refusal.DECIDED_IN_COOLR: "This order was answered in Coolr before you. Your answer changed nothing.",
    Refusal.SUPERSEDED: "The suggestion changed while you looked at it. Please look at the new one and answer again.",
    Refusal.WITHDRAWN: "Your answer changed nothing: the order was withdrawn before.",
    Refusal.TOO_LATE: "Your answer came too late and changed nothing.",
    Refusal.PAUSED: "Your answer changed nothing.",
    Refusal.NOT_ALLOWED: "Your link shows this order but cannot answer it. Please call us.",
    Refusal.UNCLEAR: "Nothing was sent yet. Please press the button that says what you want.",
    Refusal.INVALID: "Nothing was sent yet. Please look at the marked quantities.",
}
CHANGED_AND_ACCEPT = (
    "Nothing was sent yet: you changed quantities. Press “Order the changed quantities” to order them, or set them "
    "back to accept the order as suggested."
)
#: What is said otherwise of a form that was to take a decision back.
UNDO_ERRORS: dict[str, str] = {
    Refusal.SUPERSEDED: "Nothing was taken back: this order was answered anew while you looked at it.",
    Refusal.WITHDRAWN: "Nothing was taken back: the order was withdrawn before.",
    Refusal.NOT_DECIDED: "Nothing was taken back: nobody has answered this order yet.",
    Refusal.DECIDED_IN_COOLR: "Nothing was taken back: this order was answered in Coolr.",
    Refusal.ALREADY_UNDONE: "Somebody took the answer back before you. Yours changed nothing.",
    Refusal.FOLLOWED: "Nothing was taken back: a newer order has followed this one. Please call us.",
    Refusal.TOO_OFTEN: "Nothing was taken back: that was done too often with this order. Please call us.",
    Refusal.FINAL: "It is too late to take the answer back here. Nothing was changed.",
}
UNDONE_MEANWHILE = (
    "This order was answered, and the answer taken back, while you looked at it. Please look and answer again."
)
OWN_ALREADY = "You answered this order before. This second answer changed nothing."


def values(
    visit: Visit, zone: str, clock: str, store: str, now: datetime, acted: Acted | None
) -> tuple[int, dict[str, Any]]:
    """Return (HTTP status, what the template shows)."""
    assert visit.order is not None
    order = visit.order
    view = views.order_view(order, order.data, zone, LOCALE, most=len(order.data.lines), clock=clock)
    state = state_of(visit, now)
    undoable = may_undo(visit, now)
    error = _error(visit, acted, view["number"], store)
    form = acted.typed if acted else Form()
    shown = {
        "title": f"Order {view['number']}",
        "order": view,
        "lines": _lines(visit, view, acted),
        "state": state,
        "error": error,
        "whole_error": acted.refused.message if acted and acted.refused and acted.refused.lines else "",
        "error_at_number": acted is not None and acted.error in (FormError.WRONG_NUMBER, FormError.NO_NUMBER),
        "needs_number": visit.policy.links.confirmation is Confirmation.NUMBER,
        "nonce": visit.nonce,
        "reasons": [reason for reason in REASONS if reason],
        "form": form,
        "changing": bool(form.action is Action.MODIFY or (acted and _differences(visit, form))),
        "not_taken": _not_taken(visit, form) if acted and state != "open" else [],
        "may_undo": undoable and not visit.locked,
        "undo_locked": undoable and visit.locked,
        "too_late_anew": order.answer_by is not None and now > order.answer_by,
        "undone": _undone(visit, zone),
        "changes": changes(visit, zone, clock),
        "decision": _decision(visit, zone, now),
        "elsewhere_word": views.WORDS.get(order.status.value, ""),
        "elsewhere_sentence": views.ELSEWHERE.get(order.status.value, ""),
        "has_picture": order.data.image is not None,
    }
    again = shown["may_undo"] if form.undo and state == "decided" else state == "open"  # the form is there once more
    status = 200 if acted is None or acted.error is None else 422 if again else 409
    return status, shown


def state_of(visit: Visit, now: datetime) -> str:
    """open, read_only, locked, paused, late, decided, elsewhere, withdrawn."""
    order = visit.order
    assert order is not None
    if order.status is OrderStatus.WITHDRAWN:
        return "withdrawn"
    if order.status is not OrderStatus.PENDING:
        return "elsewhere" if order.decided_elsewhere else "late" if order.status is OrderStatus.EXPIRED else "decided"
    if order.data.paused:
        return "paused"
    if order.answer_by is not None and now > order.answer_by + order_flow.GRACE:
        return "late"
    if not visit.may_act:
        return "read_only"
    return "locked" if visit.locked else "open"


def may_undo(visit: Visit, now: datetime) -> bool:
    """Whether the person who looks may take the decision back, the number aside."""
    if visit.decision is None or visit.followed or visit.often_undone:
        return False
    return visit.may_act and now < visit.decision.final_at


def _error(visit: Visit, acted: Acted | None, number: str, store: str) -> str:
    if acted is None or acted.error is None:
        return ""
    if acted.error is Refusal.UNCLEAR and acted.typed.action is Action.ACCEPT:
        return CHANGED_AND_ACCEPT
    if acted.error is Refusal.INVALID and acted.refused and not acted.refused.lines:
        return f"Nothing was sent yet. {acted.refused.message}"  # no line is to blame
    if acted.error is Refusal.ALREADY_DECIDED and visit.own_decision:
        return OWN_ALREADY
    if acted.error is Refusal.SUPERSEDED and visit.undone is not None and not acted.typed.undo:
        return UNDONE_MEANWHILE
    if acted.typed.undo and acted.error in UNDO_ERRORS:
        return UNDO_ERRORS[acted.error]
    return ERRORS[acted.error].format(number=number, store=store)


def _lines(visit: Visit, view: dict[str, Any], acted: Acted | None) -> list[dict[str, Any]]:
    assert visit.order is not None
    typed = acted.typed.typed if acted else {}
    mistakes = acted.refused.lines if acted and acted.refused else {}
    return [
        {
            **shown,
            "field": f"{CASES}{line.sku}",
            "position": position,
            "typed": typed.get(line.sku, str(line.suggested_cases)),
            "mistake": mistakes.get(line.sku, ""),
            "rule": _rule(line),
        }
        for position, (line, shown) in enumerate(zip(visit.order.data.lines, view["lines"], strict=True))
    ]


def _rule(line: OrderLine) -> str:
    parts = []
    if line.multiple > 1:
        parts.append(f"steps of {line.multiple}")
    if line.min_cases:
        parts.append(f"at least {line.min_cases}")
    if line.max_cases is not None:
        parts.append(f"at most {line.max_cases}")
    return ", ".join(parts)


def _name(line: OrderLine) -> str:
    return clean(line.name, views.NAME) or clean_key(line.sku)


def _differences(visit: Visit, form: Form) -> list[tuple[str, str]]:
    """(product, quantity as typed) where it is not the suggested one."""
    assert visit.order is not None
    return [
        (_name(line), clean(typed, 20) or "–")
        for line in visit.order.data.lines
        if (typed := form.typed.get(line.sku)) is not None and form.quantities.get(line.sku) != line.suggested_cases
    ]


def _not_taken(visit: Visit, form: Form) -> list[str]:
    """What somebody typed into a form that came too late: shown, so that it can be told on the phone."""
    found = [f"{name}: {typed} cases" for name, typed in _differences(visit, form)]
    if form.action is Action.CANCEL:
        found.append(f"Decline: {clean(form.reason, 300)}" if form.reason else "Decline")
    return found


def changes(visit: Visit, zone: str, clock: str) -> list[str]:
    """What is different from the version that this link's message showed."""
    if visit.order is None or visit.seen is None or visit.link.object_version == visit.order.version:
        return []
    old, new = OrderData.model_validate(visit.seen), visit.order.data
    before = {line.sku: line for line in old.lines}
    after = {line.sku for line in new.lines}
    found = [text for line in new.lines for text in _line_changes(before.get(line.sku), line, new.currency)]
    found += [f"{_name(line)}: no longer suggested" for line in old.lines if line.sku not in after]
    if old.deadline != new.deadline:
        found.append(views.answer_by_sentence(visit.order.answer_by, zone, LOCALE, clock))
    return found


def _line_changes(old: OrderLine | None, line: OrderLine, currency: str | None) -> list[str]:
    if old is None:
        return [f"{_name(line)}: new, {_cases(line.suggested_cases)}"]
    found = []
    if old.suggested_cases != line.suggested_cases:
        found.append(f"{_name(line)}: {_cases(line.suggested_cases)} instead of {old.suggested_cases}")
    if old.case_price != line.case_price and line.case_price is not None and currency is not None:
        found.append(f"{_name(line)}: now {formatting.money(line.case_price, currency, LOCALE)} a case")
    return found


def _cases(count: int) -> str:
    return f"{count} case{'' if count == 1 else 's'}"


def _undone(visit: Visit, zone: str) -> dict[str, str] | None:
    if visit.undone is None or visit.undone.undone_at is None or visit.order is None:
        return None
    undone = visit.undone
    return {
        "word": views.WORDS[order_flow.STATUS_OF[undone.action].value],
        "decided_by": clean(undone.decided_by, 60),
        "by": clean(undone.undone_by or "", 60),
        "via": views.VIA.get(undone.undone_via or "", ""),
        "at": formatting.local_time(visit.undone.undone_at, zone, LOCALE),
    }


def _decision(visit: Visit, zone: str, now: datetime) -> dict[str, Any] | None:
    if visit.decision is None or visit.order is None:
        return None
    decision, order = visit.decision, visit.order
    total, currency = order_flow.total_value(order, decision.quantities), order.data.currency
    return {
        "word": views.WORDS[order.status.value],
        "by": clean(decision.decided_by, 60),
        "via": views.VIA.get(decision.via, ""),
        "at": formatting.local_time(decision.decided_at, zone, LOCALE),
        "final": decision.final_at <= now,
        "final_at": formatting.local_time(decision.final_at, zone, LOCALE),
        "cases": sum(decision.quantities.values()),
        "cases_text": _cases(sum(decision.quantities.values())),
        "total": formatting.money(total, currency, LOCALE) if total is not None and currency else "",
        "reason": clean(decision.reason, 300),
        "lines": [
            {"name": _name(line), "suggested": line.suggested_cases, "cases": decision.quantities.get(line.sku, 0)}
            for line in order.data.lines
        ],
    }
