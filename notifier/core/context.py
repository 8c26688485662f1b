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
    DecisionData,
    ImageData,
    OpportunityData,
    OrderData,
    OrderDecidedData,
    OrderWithdrawnData,
)
from notifier.core.ids import OutletCode
from notifier.core.model import ChannelName, EventType, Outlet
from notifier.core.orders import NumberState
from notifier.core.policy import Confirmation, TenantPolicy
from notifier.core.routing import Facts, Planned
from notifier.core.views import (
    NAME,
    PAUSED,
    answer_by_sentence,
    asset_view,
    closed_order_view,
    decision_view,
    image_view,
    opportunity_view,
    order_view,
    product_view,
)

SEVERITY = {"high": "Urgent", "normal": "Please look", "low": "For information"}
OVER = "The time to answer is over, so nothing is ordered. Please call if you need the goods."
SHORT = 30  #: characters of a name in an SMS


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
            "time": formatting.iso(facts.event.time),
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
        "timestamp": formatting.iso(facts.event.time),
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
            return {"order": closed_order_view(facts.data, facts.order, zone, locale)}
        case OpportunityData():
            return {"opportunity": opportunity_view(facts.data, locale)}
        case DecisionData():
            order = {"number": clean_key(facts.data.order_number), **_acting(planned, policy, paused=_paused(facts))}
            return {
                "decision": decision_view(facts.data, zone, locale),
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
    product = product_view(data.product)
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
        "asset": asset_view(data.asset),
        "product": product,
    }
