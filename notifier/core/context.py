"""The one context that every template gets: plain JSON, cleaned and capped, frozen when the event is routed.

Display strings are made here, in the outlet's zone, so that rendering is a pure function of the stored message. Links
appear as references (id and expiry), the number as its derivation; neither opens or completes anything (P10).
Documented in docs/reference/template-context.md. Must not know templates or channels' formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from notifier.core import formatting
from notifier.core.catalogue import Entry
from notifier.core.clean import clean, clean_key
from notifier.core.event_data import (
    AlertData,
    AssetRef,
    DecidedLine,
    DecisionData,
    DecisionUndoneData,
    ImageData,
    OpportunityData,
    OrderData,
    OrderDecidedData,
    OrderLine,
    OrderWithdrawnData,
    ProductRef,
)
from notifier.core.ids import OutletCode
from notifier.core.model import ChannelName, EventType, Outlet
from notifier.core.orders import NumberState, Order, OrderStatus
from notifier.core.policy import Confirmation, TenantPolicy
from notifier.core.routing import Facts, Planned

MOST_LINES = 30  #: lines shown in a message; the page shows all
WORDS = {"accepted": "accepted", "modified": "changed", "cancelled": "declined"}
#: What an order that was decided in Coolr came to; it does not tell us quantities.
ELSEWHERE = {
    "accepted": "It is ordered as suggested.",
    "modified": "What is ordered may differ from the suggestion.",
    "cancelled": "Nothing is ordered.",
}
SEVERITY = {"high": "Urgent", "normal": "Please look", "low": "For information"}
VIA = {
    "email": "from the link in an email",
    "sms": "from the link in a text message",
    "operator": "by phone, entered for them",
    "policy": "by the rule your company has set",
}
OVER = "The time to answer is over, so nothing is ordered. Please call if you need the goods."
PAUSED = "Ordering is paused for this store. Please call if you need the goods."
NAME = 80  #: characters of a name
SHORT = 30  #: of a name in an SMS


def build(
    planned: Planned, facts: Facts, policy: TenantPolicy, links: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the context of one message. `links` holds references by name (notifier.core.links.reference)."""
    if planned.channel is ChannelName.CALLBACK:
        return _callback(planned, facts)
    locale = formatting.locale_of(planned.language, policy.language)
    zone, clock = clock_of(facts, policy)
    role = clean(planned.role, 40).replace("_", " ")
    context = {
        "kind": facts.event.type.kind,
        "tenant": {"id": policy.id, "name": clean(policy.name, NAME)},
        "help": _help(policy),
        "recipient": {"name": clean(planned.name, 60), "role": role, "locale": locale},
        "outlet": _outlet(facts, zone, clock),
        "event": {
            "id": facts.event.id,
            "type": facts.event.type.value,
            "subject": _subject(facts.event.subject),
            "time": _iso(facts.event.time),
            "time_local": formatting.local_time(facts.event.time, zone, locale),
            "sequence": facts.event.sequence,
        },
        "why": {"text": _why(planned, facts, policy), "rule": clean(planned.rule, NAME), "role": role},
        "links": {name: dict(reference) for name, reference in links.items()},
        "number": None,
    }
    return context | _about(planned, facts, zone, locale, clock, policy)


def number_reference(state: NumberState) -> dict[str, Any]:
    """How a message names the number: by its derivation."""
    return {
        "order_id": state.order_id,
        "recipient_key": state.recipient_key,
        "round": state.round,
        "key_id": state.key_id,
    }


def clean_phone(text: str) -> str:
    """A phone number to show: the tenant's own stays clickable, only its characters are checked."""
    return "".join(char for char in text[:40] if char.isascii() and (char.isdigit() or char in "+ ()-/."))


def _callback(planned: Planned, facts: Facts) -> dict[str, Any]:
    """Machines get what was sent to us, as it was sent; no links.

    A decision is final for a receiver that is told when it is (`when = "final"`): nobody undoes it after that.
    """
    final = (
        isinstance(facts.data, DecisionData)
        and facts.event.type is EventType.DECISION_RECORDED
        and planned.due_at >= facts.data.final_at
    )
    return {
        "kind": facts.event.type.kind,
        "type": facts.event.type.value,
        "timestamp": _iso(facts.event.time),
        "sequence": facts.event.sequence,
        "data": {
            **facts.event.data,
            **({"final": True} if final else {}),
            "event_id": facts.event.id,
            "subject": facts.event.subject,
            "tenant": facts.event.tenant,
        },
        "links": {},
        "number": None,
    }


def _subject(subject: str) -> str:
    """The object an event is about: our own word, a slash, and the sender's key ("order/1042")."""
    family, slash, key = subject.partition("/")
    return f"{clean_key(family)}{slash}{clean_key(key)}"


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def clock_of(facts: Facts, policy: TenantPolicy) -> tuple[str, str]:
    """The zone that times are shown in, and what to call it."""
    said = getattr(getattr(facts.data, "outlet", None), "timezone", "")
    for zone in (facts.outlet.timezone if facts.outlet else "", said):
        if formatting.is_zone(zone):
            return zone, "store time"
    zone = policy.timezone if formatting.is_zone(policy.timezone) else "UTC"
    return zone, f"{zone.rpartition('/')[2].replace('_', ' ')} time"


def _help(policy: TenantPolicy) -> dict[str, str]:
    phone = clean_phone(policy.help.phone)
    return {
        "name": clean(policy.help.name or policy.name, NAME),
        "phone": phone,
        "tel": "".join(char for char in phone if char.isdigit() or char == "+"),
        "email": policy.help.email,
    }


def _outlet(facts: Facts, zone: str, clock: str) -> dict[str, str]:
    said = getattr(facts.data, "outlet", None)
    known = facts.outlet or Outlet(facts.event.tenant, facts.event.outlet or OutletCode(""), "")
    name = store_name(facts)
    return {
        "code": clean_key(known.code, 60),
        "name": name,
        "short": clean(name, SHORT),
        "street": clean(known.street, NAME),
        "city": clean(known.city or getattr(said, "city", ""), 60),
        "postal_code": clean(known.postal_code, 20),
        "phone": clean_phone(known.phone),
        "timezone": zone,
        "clock": clock,
    }


def store_name(facts: Facts) -> str:
    """What the store is called: by the directory, else by the event, else its code."""
    said = getattr(facts.data, "outlet", None)
    name = (facts.outlet.name if facts.outlet else "") or getattr(said, "name", "")
    code = str(facts.event.outlet or "") or getattr(said, "code", "")
    return clean(name, NAME) or clean_key(code) or "Your store"


def _why(planned: Planned, facts: Facts, policy: TenantPolicy) -> str:
    tenant = clean(policy.name, NAME)
    reasons = {
        "address": f"{tenant} has set this address for such messages",
        "carried": f"{tenant} named you for this message",
        "told": "you were told of this order before",
    }
    role = clean(planned.role, 40).replace("_", " ")
    reason = reasons.get(planned.role, f"{tenant} lists you as {role} of “{store_name(facts)}”")
    return f"You get this because {reason}."


def _about(planned: Planned, facts: Facts, zone: str, locale: str, clock: str, policy: TenantPolicy) -> dict[str, Any]:
    match facts.data:
        case AlertData():
            return {"alert": _alert(facts.data, facts, zone, locale)}
        case ImageData():
            return {"image": image_view(facts.data, zone, locale)}
        case OrderData():
            shown = order_view(facts.order, facts.data, zone, locale, clock=clock)
            return {"order": shown | _acting(planned, policy, paused=facts.data.paused)}
        case OrderWithdrawnData() | OrderDecidedData():
            return {"order": _closed_order(facts.data, facts.order, zone, locale)}
        case OpportunityData():
            return {"opportunity": opportunity_view(facts.data, locale)}
        case DecisionData():
            order = {"number": clean_key(facts.data.order_number), **_acting(planned, policy, paused=_paused(facts))}
            return {
                "decision": _decision(facts.data, zone, locale),
                "order": order | _answer_by(facts, zone, locale, clock),
            }
    raise TypeError(f"no context for {type(facts.data).__name__}")


def _paused(facts: Facts) -> bool:
    return facts.order is not None and facts.order.data.paused


def _acting(planned: Planned, policy: TenantPolicy, *, paused: bool) -> dict[str, bool]:
    asks = policy.links.confirmation is Confirmation.NUMBER and not paused
    return {"may_decide": planned.may_act, "needs_number": planned.may_act and asks}


def _answer_by(facts: Facts, zone: str, locale: str, clock: str) -> dict[str, Any]:
    """A decision may be taken back when the time to answer is over already: then nothing is ordered."""
    moment = facts.order.answer_by if facts.order else None
    if moment is not None and facts.event.time > moment:
        return {"answerable": False, "answer_by_local": "", "answer_by_sentence": OVER}
    return {
        "answerable": True,
        "answer_by_local": formatting.local_time(moment, zone, locale) if moment else "",
        "answer_by_sentence": PAUSED if _paused(facts) else answer_by_sentence(moment, zone, locale, clock),
    }


def _alert(data: AlertData, facts: Facts, zone: str, locale: str) -> dict[str, Any]:
    entry = facts.entry or Entry(data.alert_type, data.alert_type, "other", known=False)
    unit = data.unit or entry.unit

    def when(moment: datetime | None) -> str:
        return formatting.local_time(moment, zone, locale) if moment else ""

    title = clean(data.title or entry.title, 100) or "Alert"
    value, threshold = (clean(formatting.measured(number, unit, locale), 40) for number in (data.value, data.threshold))
    product = _product(data.product)
    return {
        "title": title,
        "short": clean(f"{title}: {product['name']}" if product["name"] else title, 2 * SHORT),
        "category": entry.category,
        "severity": entry.priority.value,
        "severity_word": SEVERITY[entry.priority.value],
        "type": clean(data.alert_type, NAME),
        "status": data.status.value,
        "text": clean(data.text, 400),
        "value": data.value,
        "value_text": value,
        "value_short": value if unit else "",
        "threshold_text": threshold,
        "measured_text": f"{value} (limit: {threshold})" if value and threshold else value,
        "advice": entry.advice,
        "opened_local": when(data.opened_at or (None if data.closed_at else facts.event.time)),
        "updated_local": when(data.updated_at or facts.event.time),
        "closed_local": when(data.closed_at or facts.event.time),
        "asset": _asset(data.asset),
        "product": product,
    }


def _asset(asset: AssetRef | None) -> dict[str, str]:
    if asset is None:
        return {"serial": "", "type": "", "location": "", "text": ""}
    parts = {
        "serial": clean_key(asset.serial),
        "type": clean(asset.type, NAME),
        "location": clean(asset.location, NAME),
    }
    return {**parts, "text": ", ".join(part for part in parts.values() if part)}


def _product(product: ProductRef | None) -> dict[str, str]:
    if product is None:
        return {"sku": "", "name": ""}
    return {"sku": clean_key(product.sku), "name": clean(product.name, NAME) or clean_key(product.sku)}


def image_view(data: ImageData, zone: str, locale: str) -> dict[str, Any]:
    """A processed picture for people: messages and pages show the same."""
    return {
        "id": clean_key(data.image_id),
        "taken_local": formatting.local_time(data.taken_at, zone, locale),
        "stock_text": formatting.measured(data.stock_percentage, "%", locale),
        "compliance_text": formatting.measured(data.planogram_compliance, "%", locale),
        "temperature_text": formatting.measured(data.temperature, "°C", locale),
        "foreign_text": _counted(data.foreign_products, "product", locale) if data.foreign_products else "",
        "out_of_stock": [
            {**_product(product), "shelf": "" if product.shelf is None else str(product.shelf)}
            for product in data.out_of_stock[:MOST_LINES]
        ],
        "more_out_of_stock": max(0, len(data.out_of_stock) - MOST_LINES),
        "missing_text": _counted(len(data.out_of_stock), "product", locale) if data.out_of_stock else "",
        "asset": _asset(data.asset),
        "order_number": clean_key(data.order_number),
    }


def _counted(count: int, noun: str, locale: str) -> str:
    return f"{formatting.number(count, locale)} {noun}{'' if count == 1 else 's'}"


def order_view(
    order: Order | None,
    data: OrderData,
    zone: str,
    locale: str,
    most: int = MOST_LINES,
    *,
    clock: str = "store time",
) -> dict[str, Any]:
    """An order for people: messages and pages show the same."""
    answer_by = order.answer_by if order else None
    priced = data.currency is not None and all(line.case_price is not None for line in data.lines)
    currency = data.currency if priced and data.currency else ""
    total = sum((line.case_price or 0) * line.suggested_cases for line in data.lines)
    cases = sum(line.suggested_cases for line in data.lines)
    return {
        "id": order.id if order else "",
        "number": clean_key(data.order_number),
        "version": order.version if order else 1,
        "answer_by_local": formatting.local_time(answer_by, zone, locale) if answer_by else "",
        "answer_by_sentence": PAUSED if data.paused else answer_by_sentence(answer_by, zone, locale, clock),
        "deadline_iso": _iso(data.deadline) if data.deadline else "",
        "reason": clean(data.reason, 300),
        "paused": data.paused,
        "lines": [_line(line, currency, locale) for line in data.lines[:most]],
        "more_lines": max(0, len(data.lines) - most),
        "total_cases": cases,
        "total_cases_text": _counted(cases, "case", locale),
        "total_text": formatting.money(total, currency, locale) if currency else "",
        "currency": currency,
        "has_prices": priced,
    }


def answer_by_sentence(moment: datetime | None, zone: str, locale: str, clock: str = "store time") -> str:
    """Until when an answer counts, and what silence means."""
    if moment is None:
        return "If nobody answers, nothing is ordered."
    night = formatting.night_of(moment, zone, locale)
    place = f"{clock}, {night}" if night else clock
    when = formatting.local_time(moment, zone, locale)
    return f"Answer by {when} ({place}). If nobody answers, nothing is ordered."


def _line(line: OrderLine, currency: str, locale: str) -> dict[str, Any]:
    price, worth = "", ""
    if currency and line.case_price is not None:
        price = formatting.money(line.case_price, currency, locale)
        worth = formatting.money(line.case_price * line.suggested_cases, currency, locale)
    return {
        "sku": clean_key(line.sku),
        "name": clean(line.name, NAME) or clean_key(line.sku),
        "case_size": line.case_size,
        "cases": line.suggested_cases,
        "cases_text": _counted(line.suggested_cases, "case", locale),
        "case_price_text": price,
        "line_total_text": worth,
    }


def _closed_order(
    data: OrderWithdrawnData | OrderDecidedData, order: Order | None, zone: str, locale: str
) -> dict[str, Any]:
    nothing = {"lines": [], "more_lines": 0, "total_cases": 0, "total_cases_text": "", "total_text": ""}
    known = order_view(order, order.data, zone, locale) if order else nothing
    closed: dict[str, Any] = {**known, "number": clean_key(data.order_number), "answer_by_sentence": ""}
    if isinstance(data, OrderWithdrawnData):
        # A withdrawal after the decision is told, never applied: such an order stands.
        stands = order is not None and order.status in (OrderStatus.ACCEPTED, OrderStatus.MODIFIED)
        return closed | {"reason": clean(data.reason, 300), "stands": stands}
    return closed | {
        "decision_word": WORDS[data.decision],
        "elsewhere_sentence": ELSEWHERE[data.decision],
        "decided_local": formatting.local_time(data.decided_at, zone, locale),
        "decided_by": clean(data.decided_by, 60),
    }


def opportunity_view(data: OpportunityData, locale: str) -> dict[str, Any]:
    """A missed opportunity for people: messages and pages show the same."""
    uplift = formatting.measured(data.uplift_percentage, "%", locale)
    return {
        "id": clean_key(data.opportunity_id),
        "period_text": " – ".join(formatting.local_day(day, locale) for day in (data.period_start, data.period_end)),
        "missed_revenue_text": _worth(data.missed_revenue, data.currency, locale),
        "actual_revenue_text": _worth(data.actual_revenue, data.currency, locale),
        "uplift_text": uplift,
        "uplift_sentence": f"{uplift} more, had they always been in stock" if uplift else "",
        "products": [
            {
                **_product(item),
                "days": item.days_out_of_stock,
                "days_text": _counted(item.days_out_of_stock, "day", locale),
                "missed_text": _worth(item.missed_revenue, data.currency, locale),
            }
            for item in data.products[:MOST_LINES]
        ],
        "products_text": _counted(len(data.products), "product", locale) if data.products else "",
        "more_products": max(0, len(data.products) - MOST_LINES),
    }


def _decision(data: DecisionData, zone: str, locale: str) -> dict[str, Any]:
    return _taken_back(data, zone, locale) | {
        "action": data.decision,
        "word": WORDS[data.decision],
        "number": clean_key(data.order_number),
        "by": clean(data.decided_by, 60) or "Somebody",
        "via": VIA.get(data.via, ""),
        "at_local": formatting.local_time(data.decided_at, zone, locale),
        "final": data.final,
        "final_at_local": formatting.local_time(data.final_at, zone, locale),
        "lines": [_decided_line(line, data.currency or "", locale) for line in data.lines[:MOST_LINES]],
        "more_lines": max(0, len(data.lines) - MOST_LINES),
        "total_cases": data.total_cases,
        "total_cases_text": _counted(data.total_cases, "case", locale),
        "total_text": _worth(data.total, data.currency, locale),
        "reason": clean(data.reason, 300),
    }


def _taken_back(data: DecisionData, zone: str, locale: str) -> dict[str, str]:
    if not isinstance(data, DecisionUndoneData):
        return {"undone_by": "", "undone_via": "", "undone_at_local": ""}
    return {
        "undone_by": clean(data.undone_by, 60) or "Somebody",
        "undone_via": VIA.get(data.undone_via, ""),
        "undone_at_local": formatting.local_time(data.undone_at, zone, locale),
    }


def _decided_line(line: DecidedLine, currency: str, locale: str) -> dict[str, Any]:
    return {
        "sku": clean_key(line.sku),
        "name": clean(line.name, NAME) or clean_key(line.sku),
        "case_size": line.case_size,
        "suggested": line.suggested_cases,
        "cases": line.cases,
        "cases_text": _counted(line.cases, "case", locale),
        "changed": line.cases != line.suggested_cases,
        "line_total_text": _worth(None if line.case_price is None else line.case_price * line.cases, currency, locale),
    }


def _worth(minor: int | None, currency: str | None, locale: str) -> str:
    return formatting.money(minor, currency, locale) if minor is not None and currency else ""
