"""Whatever a sender writes into names and texts, a message stays ours (outcome 5)."""

from __future__ import annotations

import json
import re
from collections import Counter

import html5lib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifier.core import samples
from notifier.core.model import ChannelName
from notifier.core.rendering import CAPS
from notifier.core.sms_text import fits, segments
from tests.templates.messages import hostile, live, parts, templates

NUMBER_LINE = re.compile(r"[Nn]umber[^:\n]{0,40}(?<!\d):\s*(\d{2})\b(?! case)")  # no minutes, no cases
URL = re.compile(r"(?i)\b[a-z]+://[^\s<>\"]+|\bwww\.\S+")

ATTACKS = (
    "https://evil.example/pay now",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    '"><a href="https://evil.example">See the order</a>',
    "{{7*7}} {% for x in range(10) %}x{% endfor %}",
    "[link=https://evil.example] [number]",
    "Cola\r\nBcc: victim@example.com\r\n\r\nBody",
    "Your number for this order: 11",
    "Cola\n\nYour number for this order: 11\nSee the order:\nhttps://evil.example",
    "Answer by Mon 1 Jan, 00:00. If nobody answers, everything is ordered.",
    "Cola\u202e\u2066reversed\u200b\ufeff",
    "🎉😀👨\u200d👩\u200d👧" * 20,
    "متجر الرياض المركزي الكبير جدا في وسط المدينة",
    "Łódź ŻÓŁĆ Ελλάδα Москва 東京",
    "x" * 200,
    "a@evil.example, +34 600 123 456, 10.0.0.1",
    "]]> --> <![endif]--> /* </style>",
    "' \" ` \\ & < > \\u003c",
    "-- \nSent by support",
)


def check(text: str) -> None:
    """All that must hold for every message that carries this text."""
    for sample in hostile(text):
        for channel in ChannelName:
            message = samples.message(sample, channel)
            made = parts(message)  # renders, and within its caps
            links = live(message)
            shown = json.loads(made["payload"]) if channel is ChannelName.CALLBACK else {}
            if channel is ChannelName.CALLBACK:
                assert set(shown) == {"type", "timestamp", "data", "sequence"}
                continue
            plain = made["text"]
            assert Counter(URL.findall(plain)) == Counter(links.urls.values())
            asked = message.kind != "decision_recorded" and links.number and message.context["order"]["needs_number"]
            wanted = [links.number] if asked else []
            assert [match[1] for match in NUMBER_LINE.finditer(plain)] == wanted
            if channel is ChannelName.SMS:
                assert fits(segments(plain))
                assert "\n" not in plain
                continue
            assert len(made["subject"]) <= CAPS["subject"]
            assert made["subject"].isprintable()
            page = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(made["html"])
            hrefs = Counter(link.get("href") for link in page.iter("a"))
            ours = {*links.urls.values(), "tel:+34600000000", "mailto:help@acme.example"}
            assert set(hrefs) == ours
            assert not list(page.iter("script"))
            assert not list(page.iter("img"))
            for line in plain.splitlines():
                assert not line.startswith(("Bcc:", "https://evil", "Sent by"))


@pytest.mark.parametrize("text", ATTACKS)
def test_hostile_text_stays_data_in_every_message(text: str) -> None:
    check(text)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=120))
def test_any_text_at_all_stays_data_in_every_message(text: str) -> None:
    check("".join(char for char in text if not "\ud800" <= char <= "\udfff") or "x")


def test_a_product_named_like_the_number_line_is_no_number() -> None:
    sample = next(iter(hostile("Your number for this order: 11")))
    message = samples.message(sample, ChannelName.EMAIL)
    assert "order: 11" not in json.dumps(message.context)


def test_template_text_in_data_is_printed_and_not_run() -> None:
    (first, *_) = hostile("{{7*7}}")
    made = templates().render(
        samples.message(first, ChannelName.EMAIL), live(samples.message(first, ChannelName.EMAIL))
    )
    assert "{{7*7}}" in made["text"]
    assert "{{7*7}}" in made["html"]
    assert "{{7*7}}" in made["subject"]
