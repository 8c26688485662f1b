"""The one context that every template gets: plain JSON, cleaned and capped, frozen when the event is routed.

Display strings are made here, in the outlet's zone, so that rendering is a pure function of the stored message. Links
appear as references (id and expiry), the number as its derivation; neither opens or completes anything (P10).
Documented in docs/reference/template-context.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notifier.core import formatting
from notifier.core.clean import clean
from notifier.core.event_data import (
    AlertData,
    AssetRef,
    DecisionData,
    ImageData,
    OpportunityData,
    OrderData,
    OrderDecidedData,
    OrderWithdrawnData,
    ProductRef,
)
from notifier.core.ids import OutletCode
from notifier.core.model import ChannelName, Outlet
from notifier.core.orders import NumberState, Order
from notifier.core.policy import TenantPolicy
from notifier.core.routing import DEFAULT_RULE, TOLD_RULE, Facts, Planned

MOST_LINES = 30  #: lines shown in a message; the page shows all
WORDS = {"accepted": "accepted", "modified": "changed", "cancelled": "declined"}
SEVERITY = {"high": "Urgent", "normal": "Please look", "low": "For information"}


def build(
    planned: Planned, facts: Facts, policy: TenantPolicy, links: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the context of one message. `links` holds references by name (notifier.core.links.reference)."""
    if planned.channel is ChannelName.CALLBACK:
        return _callback(facts)
    locale = formatting.locale_of(planned.language, policy.language)
    zone = _zone(facts, policy)
    context = {
        "kind": facts.event.type.kind,
        "tenant": {"id": policy.id, "name": clean(policy.name, 80)},
        "help": {
            "name": clean(policy.help.name, 80),
            "phone": clean_phone(policy.help.phone),
            "email": policy.help.email,
        },
        "recipient": {"name": clean(planned.name, 60), "role": clean(planned.role, 40), "locale": locale},
        "outlet": _outlet(facts, zone),
        "event": {
            "id": facts.event.id,
            "type": facts.event.type.value,
            "time": facts.event.time.isoformat(),
            "time_local": formatting.local_time(facts.event.time, zone, locale),
            "sequence": facts.event.sequence,
        },
        "why": {"text": _why(planned, facts, policy), "rule": clean(planned.rule, 80), "role": clean(planned.role, 40)},
        "links": {name: dict(reference) for name, reference in links.items()},
        "number": None,
    }
    return context | _about(facts, zone, locale, policy)


def number_reference(state: NumberState) -> dict[str, Any]:
    """How a message names the number: by its derivation."""
    return {
        "order_id": state.order_id,
        "recipient_key": state.recipient_key,
        "round": state.round,
        "key_id": state.key_id,
    }


def clean_phone(text: str) -> str:
    """The tenant's own help number stays clickable; only its characters are checked."""
    return "".join(char for char in text[:40] if char.isdigit() or char in "+ ()-/.")


def _callback(facts: Facts) -> dict[str, Any]:
    return {
        "kind": facts.event.type.kind,
        "type": facts.event.type.value,
        "timestamp": facts.event.time.isoformat().replace("+00:00", "Z"),
        "sequence": facts.event.sequence,
        "data": {
            **facts.event.data,
            "event_id": facts.event.id,
            "subject": facts.event.subject,
            "tenant": facts.event.tenant,
        },
        "links": {},
        "number": None,
    }


def _zone(facts: Facts, policy: TenantPolicy) -> str:
    if facts.outlet is not None and facts.outlet.timezone:
        return facts.outlet.timezone
    return getattr(getattr(facts.data, "outlet", None), "timezone", "") or policy.timezone


def _outlet(facts: Facts, zone: str) -> dict[str, str]:
    said = getattr(facts.data, "outlet", None)
    known = facts.outlet or Outlet(facts.event.tenant, facts.event.outlet or OutletCode(""), "")
    return {
        "code": clean(known.code, 60),
        "name": clean(known.name or getattr(said, "name", "") or known.code, 80),
        "street": clean(known.street, 80),
        "city": clean(known.city or getattr(said, "city", ""), 60),
        "postal_code": clean(known.postal_code, 20),
        "phone": clean_phone(known.phone),
        "timezone": zone,
    }


def _why(planned: Planned, facts: Facts, policy: TenantPolicy) -> str:
    store = clean(facts.outlet.name, 80) if facts.outlet else clean(facts.event.outlet or "", 60)
    as_what = {
        "address": "your address stands in a rule",
        "carried": "the sender named you",
        "told": "you were told of this order",
    }.get(planned.role, f"you are {clean(planned.role, 40).replace('_', ' ')} of {store}")
    rule = "" if planned.rule in (DEFAULT_RULE, TOLD_RULE) else f" (rule “{clean(planned.rule, 80)}”)"
    return f"You get this because {as_what}{rule}, from {clean(policy.name, 80)}."


def _about(facts: Facts, zone: str, locale: str, policy: TenantPolicy) -> dict[str, Any]:
    match facts.data:
        case AlertData():
            return {"alert": _alert(facts.data, facts, zone, locale)}
        case ImageData():
            return {"image": _image(facts.data, zone, locale)}
        case OrderData():
            return {"order": order_view(facts.order, facts.data, zone, locale)}
        case OrderWithdrawnData() | OrderDecidedData():
            return {"order": _closed_order(facts.data, facts.order, zone, locale)}
        case OpportunityData():
            return {"opportunity": _opportunity(facts.data, locale)}
        case DecisionData():
            return {
                "decision": _decision(facts.data, zone, locale),
                "order": {"number": clean(facts.data.order_number, 60)},
            }
    raise TypeError(f"no context for {type(facts.data).__name__}")


def _alert(data: AlertData, facts: Facts, zone: str, locale: str) -> dict[str, Any]:
    entry = facts.entry
    assert entry is not None  # every alert has an entry, the generic one at worst
    unit = data.unit or entry.unit

    def when(moment: Any) -> str:
        return formatting.local_time(moment, zone, locale) if moment else ""

    return {
        "title": clean(data.title or entry.title, 100),
        "category": entry.category,
        "severity_word": SEVERITY[entry.priority.value],
        "type": clean(data.alert_type, 80),
        "status": data.status.value,
        "text": clean(data.text, 400),
        "value": data.value,
        "value_text": clean(formatting.measured(data.value, unit, locale), 40),
        "threshold_text": clean(formatting.measured(data.threshold, unit, locale), 40),
        "advice": entry.advice,
        "opened_local": when(data.opened_at or facts.event.time),
        "updated_local": when(data.updated_at),
        "closed_local": when(data.closed_at),
        "asset": _asset(data.asset),
        "product": _product(data.product),
    }


def _asset(asset: AssetRef | None) -> dict[str, str]:
    if asset is None:
        return {"serial": "", "type": "", "location": ""}
    return {"serial": clean(asset.serial, 60), "type": clean(asset.type, 80), "location": clean(asset.location, 80)}


def _product(product: ProductRef | None) -> dict[str, str]:
    if product is None:
        return {"sku": "", "name": ""}
    return {"sku": clean(product.sku, 60), "name": clean(product.name or product.sku, 80)}


def _image(data: ImageData, zone: str, locale: str) -> dict[str, Any]:
    return {
        "id": clean(data.image_id, 60),
        "taken_local": formatting.local_time(data.taken_at, zone, locale),
        "stock_text": formatting.measured(data.stock_percentage, "%", locale),
        "compliance_text": formatting.measured(data.planogram_compliance, "%", locale),
        "foreign_text": "" if not data.foreign_products else formatting.number(data.foreign_products, locale),
        "out_of_stock": [
            {**_product(product), "shelf": "" if product.shelf is None else str(product.shelf)}
            for product in data.out_of_stock[:MOST_LINES]
        ],
        "more_out_of_stock": max(0, len(data.out_of_stock) - MOST_LINES),
        "asset": _asset(data.asset),
        "order_number": clean(data.order_number, 60),
    }


def order_view(order: Order | None, data: OrderData, zone: str, locale: str, most: int = MOST_LINES) -> dict[str, Any]:
    """An order for people: messages and pages show the same."""
    answer_by = order.answer_by if order else None
    priced = data.currency is not None and all(line.case_price is not None for line in data.lines)
    total = sum((line.case_price or 0) * line.suggested_cases for line in data.lines) if priced else None
    return {
        "id": order.id if order else "",
        "number": clean(data.order_number, 60),
        "version": order.version if order else 1,
        "answer_by_local": formatting.local_time(answer_by, zone, locale) if answer_by else "",
        "answer_by_sentence": _answer_by(formatting.local_time(answer_by, zone, locale) if answer_by else ""),
        "deadline_iso": data.deadline.isoformat() if data.deadline else "",
        "reason": clean(data.reason, 300),
        "paused": data.paused,
        "lines": [_line(line, data.currency if priced else None, locale) for line in data.lines[:most]],
        "more_lines": max(0, len(data.lines) - most),
        "total_cases": sum(line.suggested_cases for line in data.lines),
        "total_text": formatting.money(total, data.currency, locale) if total is not None and data.currency else "",
        "currency": data.currency or "",
        "has_prices": priced,
    }


def _answer_by(when: str) -> str:
    if not when:
        return "If nobody answers, nothing is ordered."
    return f"Answer by {when} (store time). If nobody answers, nothing is ordered."


def _line(line: Any, currency: str | None, locale: str) -> dict[str, Any]:
    price = formatting.money(line.case_price, currency, locale) if currency and line.case_price is not None else ""
    worth = (line.case_price or 0) * line.suggested_cases
    return {
        "sku": clean(line.sku, 60),
        "name": clean(line.name, 80),
        "case_size": line.case_size,
        "cases": line.suggested_cases,
        "case_price_text": price,
        "line_total_text": formatting.money(worth, currency, locale) if currency and price else "",
    }


def _closed_order(
    data: OrderWithdrawnData | OrderDecidedData, order: Order | None, zone: str, locale: str
) -> dict[str, Any]:
    known = order_view(order, order.data, zone, locale) if order else {"lines": [], "total_cases": 0, "total_text": ""}
    closed: dict[str, Any] = {**known, "number": clean(data.order_number, 60), "answer_by_sentence": ""}
    if isinstance(data, OrderWithdrawnData):
        return closed | {"reason": clean(data.reason, 300)}
    return closed | {
        "decision_word": WORDS[data.decision],
        "decided_local": formatting.local_time(data.decided_at, zone, locale),
        "decided_by": clean(data.decided_by, 60),
    }


def _opportunity(data: OpportunityData, locale: str) -> dict[str, Any]:
    def worth(minor: int | None) -> str:
        return formatting.money(minor, data.currency, locale) if minor is not None and data.currency else ""

    return {
        "id": clean(data.opportunity_id, 60),
        "period_text": " – ".join(formatting.local_day(day, locale) for day in (data.period_start, data.period_end)),
        "missed_revenue_text": worth(data.missed_revenue),
        "actual_revenue_text": worth(data.actual_revenue),
        "uplift_text": formatting.measured(data.uplift_percentage, "%", locale),
        "products": [
            {**_product(item), "days": item.days_out_of_stock, "missed_text": worth(item.missed_revenue)}
            for item in data.products[:MOST_LINES]
        ],
        "more_products": max(0, len(data.products) - MOST_LINES),
    }


def _decision(data: DecisionData, zone: str, locale: str) -> dict[str, Any]:
    def worth(minor: int | None) -> str:
        return formatting.money(minor, data.currency, locale) if minor is not None and data.currency else ""

    return {
        "word": WORDS[data.decision],
        "number": clean(data.order_number, 60),
        "by": clean(data.decided_by, 60),
        "via": data.via,
        "at_local": formatting.local_time(data.decided_at, zone, locale),
        "final_at_local": formatting.local_time(data.final_at, zone, locale),
        "lines": [
            {
                "sku": clean(line.sku, 60),
                "name": clean(line.name, 80),
                "suggested": line.suggested_cases,
                "cases": line.cases,
                "line_total_text": worth(None if line.case_price is None else line.case_price * line.cases),
            }
            for line in data.lines[:MOST_LINES]
        ],
        "more_lines": max(0, len(data.lines) - MOST_LINES),
        "total_cases": data.total_cases,
        "total_text": worth(data.total),
        "reason": clean(data.reason, 300),
    }
