"""The plain form of a message, for when its template fails: store, what, when, links, number (P9).

Made by code from the frozen context, so that no template can break it. Never raises: whatever is missing is left out.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any

from notifier.core.model import ChannelName, Message
from notifier.core.sms_text import fits, segments, to_gsm

TITLES = {
    "alert_opened": "Alert",
    "alert_updated": "Alert, update",
    "alert_closed": "Alert, solved",
    "image_processed": "New picture",
    "order_recommended": "Suggested order",
    "order_withdrawn": "Order withdrawn",
    "order_decided": "Order decided in Coolr",
    "opportunity_missed": "Missed sales",
    "decision_recorded": "Order decided",
    "decision_undone": "Order open again",
}
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)  # it was JSON before
LINK_WORDS = {"order": "See the order", "image": "See the picture", "opportunity": "See what was missed"}


def parts(message: Message, urls: Mapping[str, str], number: str | None) -> dict[str, str]:
    """Return every part that the message's channel needs."""
    context = message.context
    if message.channel is ChannelName.CALLBACK:
        return {"payload": payload(context)}
    title = _title(message.kind, context)
    if message.channel is ChannelName.SMS:
        return {"text": _sms(title, urls, number)}
    lines = _lines(context, number)
    linked = [(LINK_WORDS.get(name, "Open"), url) for name, url in urls.items()]
    text = "\n\n".join([title, *lines[:1], *(f"{words}: {url}" for words, url in linked), *lines[1:]])
    return {"subject": title, "html": _html(title, lines, linked), "text": f"{text}\n"}


def payload(context: Mapping[str, Any]) -> str:
    """Return the body of a callback: the event as it is frozen in the message (docs/reference/callbacks.md)."""
    return _JSON.encode({name: context.get(name) for name in ("type", "timestamp", "data", "sequence")})


def _title(kind: str, context: Mapping[str, Any]) -> str:
    store = _said(context, "outlet", "name")
    number = _said(context, "order", "number") or _said(context, "decision", "number")
    what = _said(context, "alert", "title") or TITLES.get(kind, "Message")
    about = f"Order {number}: {what[:1].lower()}{what[1:]}" if number else what
    return " · ".join(part for part in (store, about) if part)[:200]


def _lines(context: Mapping[str, Any], number: str | None) -> list[str]:
    when, clock = _said(context, "event", "time_local"), _said(context, "outlet", "clock")
    lines = [
        _said(context, "order", "answer_by_sentence") or (f"When: {when} ({clock})" if when else ""),
        f"Your number for this order: {number}" if number else "",
        _said(context, "alert", "text"),
        _said(context, "alert", "advice"),
        _help(context),
        _said(context, "why", "text"),
    ]
    return [line for line in lines if line]


def _help(context: Mapping[str, Any]) -> str:
    reach = " or ".join(filter(None, (_said(context, "help", "phone"), _said(context, "help", "email"))))
    return f"Questions? {_said(context, 'help', 'name')}: {reach}" if reach else ""


def _said(context: Mapping[str, Any], group: str, name: str) -> str:
    found = context.get(group)
    value = found.get(name) if isinstance(found, Mapping) else None
    return value if isinstance(value, str) else ""


def _html(title: str, lines: list[str], linked: list[tuple[str, str]]) -> str:
    anchors = [f'<a href="{html.escape(url)}">{html.escape(words)}</a>' for words, url in linked]
    shown = [html.escape(line) for line in lines]
    body = "".join(f"<p>{item}</p>" for item in [*shown[:1], *anchors, *shown[1:]])
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{html.escape(title)}</h1>{body}</body></html>'


def _sms(title: str, urls: Mapping[str, str], number: str | None) -> str:
    """The title shortened as far as needed; number and link whole."""
    end = " ".join([*([f"Your number: {number}"] if number else []), *list(urls.values())[:1]])
    for most in (120, 60, 20, 0):
        text = to_gsm(f"{title[:most].rstrip()} {end}".strip()) or "New message from Coolr"
        if fits(segments(text)):
            return text
    return text
