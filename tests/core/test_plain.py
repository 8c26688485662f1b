"""The plain form of a message: complete without a template, whatever is missing (P9)."""

from __future__ import annotations

import json
import re
from typing import Any

import html5lib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core import plain, samples
from notifier.core.ids import MessageId, TenantId
from notifier.core.model import ChannelName, EventType, Message
from notifier.core.sms_text import fits, segments

URLS = {"order": "https://orders.example/l/one~two", "image": "https://orders.example/l/three"}
SHORT = {"order": "https://orders.example/s/7K3M9QX2VB4TWC8N"}
NUMBER_LINE = re.compile(r"[Nn]umber[^:\n]{0,40}:\s*(\d{2})\b")


def sample(type_: EventType, channel: ChannelName) -> Message:
    """A sample message."""
    return samples.message(next(iter(samples.facts(type_))), channel)


@pytest.mark.parametrize("type_", EventType, ids=lambda type_: type_.kind)
def test_the_plain_mail_says_store_what_when_links_number_and_whom_to_call_p9(type_: EventType) -> None:
    made = plain.parts(sample(type_, ChannelName.EMAIL), URLS, "47")
    assert made["subject"].startswith("Main St · ")
    if "order" in type_.kind or "decision" in type_.kind:
        assert made["subject"].startswith("Main St · Order 1042: ")
    page = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(made["html"])
    assert [link.get("href") for link in page.iter("a")] == list(URLS.values())
    for part in ("html", "text"):
        assert "Your number for this order: 47" in made[part]
        assert "Questions? Acme store support: +34 600 000 000 or help@acme.example" in made[part]
        assert "You get this because" in made[part]
        assert "Nov, 1" in made[part]
    assert f"See the order: {URLS['order']}" in made["text"].splitlines()
    assert f"See the picture: {URLS['image']}" in made["text"].splitlines()


@pytest.mark.parametrize("type_", EventType, ids=lambda type_: type_.kind)
def test_the_plain_sms_keeps_number_and_link_whole_p9(type_: EventType) -> None:
    text = plain.parts(sample(type_, ChannelName.SMS), SHORT, "47")["text"]
    assert text.startswith("Main St - ")
    assert text.endswith(f"Your number: 47 {SHORT['order']}")
    assert [match[1] for match in NUMBER_LINE.finditer(text)] == ["47"]
    assert segments(text).encoding == "GSM-7"


def test_a_long_name_gives_way_to_number_and_link_p9() -> None:
    message = sample(EventType.ORDER_RECOMMENDED, ChannelName.SMS)
    message.context["outlet"]["name"] = "ж" * 400
    text = plain.parts(message, {"order": f"https://orders.example/{'x' * 180}"}, "47")["text"]
    assert text.endswith("x" * 180)
    assert "47" in text
    assert fits(segments(text))


def test_the_plain_payload_is_the_event() -> None:
    message = sample(EventType.ORDER_RECOMMENDED, ChannelName.CALLBACK)
    made = json.loads(plain.parts(message, {}, None)["payload"])
    assert made["type"] == "coolr.order.recommended"
    assert made["data"]["order_number"] == "1042"


def test_data_is_escaped_in_the_plain_mail() -> None:
    message = sample(EventType.ALERT_OPENED, ChannelName.EMAIL)
    message.context["alert"]["title"] = "<script>alert(1)</script>"
    assert "<script>" not in plain.parts(message, {"image": 'https://x.example/"><b>'}, None)["html"]
    assert "<b>" not in plain.parts(message, {"image": 'https://x.example/"><b>'}, None)["html"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
GROUPS = ("outlet", "order", "decision", "alert", "event", "help", "why", "type", "data", "links", "number")
CONTEXTS = st.dictionaries(
    st.sampled_from(GROUPS),
    JSON
    | st.dictionaries(st.sampled_from(["name", "number", "title", "text", "phone", "time_local"]), JSON, max_size=4),
)


@given(CONTEXTS, st.sampled_from(list(ChannelName)), st.text(max_size=12), st.sampled_from([None, "47"]))
def test_whatever_a_context_lacks_the_plain_form_is_made_p9(
    context: dict[str, Any], channel: ChannelName, kind: str, number: str | None
) -> None:
    message = Message(MessageId("m"), TenantId("t"), kind, channel, "en", "", context)
    made = plain.parts(message, {"order": "https://orders.example/s/x"}, number)
    assert all(made.values())
    if channel is ChannelName.EMAIL:
        assert "https://orders.example/s/x" in made["text"]
        assert len(made["subject"]) <= 200
