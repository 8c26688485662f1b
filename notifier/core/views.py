"""How the objects of events look, in messages and on pages alike: plain JSON of display strings, cleaned and capped.

Display strings are made in the outlet's zone and the reader's locale. Must not know templates or channels' formats.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from notifier.core import formatting
from notifier.core.clean import clean, clean_key
from notifier.core.event_data import (
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
from notifier.core.orders import Order, OrderStatus

MOST_LINES = 30  #: lines shown in a message; the page shows all
WORDS = {"accepted": "accepted", "modified": "changed", "cancelled": "declined"}
#: What an order that was decided in Coolr came to; it does not tell us quantities.
ELSEWHERE = {
    "accepted": "It is ordered as suggested.",
    "modified": "What is ordered may differ from the suggestion.",
    "cancelled": "Nothing is ordered.",
}
VIA = {
    "email": "from the link in an email",
    "sms": "from the link in a text message",
    "operator": "by phone, entered for them",
    "policy": "by the rule your company has set",
}
PAUSED = "Ordering is paused for this store. Please call if you need the goods."
NAME = 80  #: characters of a name


def asset_view(asset: AssetRef | None) -> dict[str, str]:
    if asset is None:
        return {"serial": "", "type": "", "location": "", "text": ""}
    parts = {
        "serial": clean_key(asset.serial),
        "type": clean(asset.type, NAME),
        "location": clean(asset.location, NAME),
    }
    return {**parts, "text": ", ".join(part for part in parts.values() if part)}


def product_view(product: ProductRef | None) -> dict[str, str]:
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
            {**product_view(product), "shelf": "" if product.shelf is None else str(product.shelf)}
            for product in data.out_of_stock[:MOST_LINES]
        ],
        "more_out_of_stock": max(0, len(data.out_of_stock) - MOST_LINES),
        "missing_text": _counted(len(data.out_of_stock), "product", locale) if data.out_of_stock else "",
        "asset": asset_view(data.asset),
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
        "deadline_iso": formatting.iso(data.deadline) if data.deadline else "",
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


def closed_order_view(
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
                **product_view(item),
                "days": item.days_out_of_stock,
                "days_text": _counted(item.days_out_of_stock, "day", locale),
                "missed_text": _worth(item.missed_revenue, data.currency, locale),
            }
            for item in data.products[:MOST_LINES]
        ],
        "products_text": _counted(len(data.products), "product", locale) if data.products else "",
        "more_products": max(0, len(data.products) - MOST_LINES),
    }


def decision_view(data: DecisionData, zone: str, locale: str) -> dict[str, Any]:
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
