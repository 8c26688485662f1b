"""The context of templates: documented to the last key, plain JSON, cleaned, capped, and without anything live."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from notifier.core import context, samples, views
from notifier.core.event_data import DATA_MODELS
from notifier.core.model import ChannelName, EventType
from notifier.core.orders import OrderStatus
from notifier.core.policy import Confirmation
from notifier.core.routing import Facts

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "template-context.md"
KEY = re.compile(r"^\| `([a-z_.\[\]]+)` \|", re.MULTILINE)


def keys(value: Any, prefix: str = "") -> Iterator[str]:
    """Every key a template can print or loop over, lists as `name` and `name[].key`."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from keys(inner, f"{prefix}.{name}" if prefix else name)
    elif isinstance(value, list):
        yield prefix
        for inner in value:
            yield from keys(inner, f"{prefix}[]")
    else:
        yield prefix


def seen(channel: ChannelName) -> set[str]:
    """What templates of a channel get: links are addresses, the number is a text."""
    found: set[str] = set()
    for message in samples.messages():
        if message.channel is channel:
            links = dict.fromkeys(message.context["links"], "https://x")
            found |= set(keys({**message.context, "links": links, "number": ""}))
    return found


def test_every_key_is_documented_and_every_documented_key_exists() -> None:
    people, _, machines = PAGE.read_text().partition("## Callback payloads")
    documented = KEY.findall(people)
    assert sorted(documented) == sorted(set(documented))
    assert set(documented) == seen(ChannelName.EMAIL)
    assert set(KEY.findall(machines)) == set(
        context.build(samples.planned(ChannelName.CALLBACK), first(EventType.ALERT_OPENED), samples.POLICY, {})
    )


def test_people_get_the_same_context_on_every_channel() -> None:
    assert seen(ChannelName.SMS) <= seen(ChannelName.EMAIL)


def first(type_: EventType) -> Facts:
    """The full sample of a type."""
    return next(iter(samples.facts(type_)))


def build(facts: Facts, *, may_act: bool = True, channel: ChannelName = ChannelName.EMAIL) -> dict[str, Any]:
    return context.build(samples.planned(channel, may_act=may_act), facts, samples.POLICY, {})


def test_a_context_is_plain_json_and_survives_being_stored() -> None:
    for message in samples.messages():
        assert json.loads(json.dumps(message.context, allow_nan=False)) == message.context


def test_a_context_holds_no_address_of_its_reader_p10() -> None:
    assert all("alice@example.com" not in json.dumps(message.context) for message in samples.messages())


def test_the_event_says_what_it_is_about() -> None:
    assert build(first(EventType.ORDER_RECOMMENDED))["event"]["subject"] == "order/1042"
    odd = first(EventType.ORDER_RECOMMENDED)
    odd = replace(odd, event=replace(odd.event, subject="order/http://evil.example"))
    assert build(odd)["event"]["subject"] == "order/http[:]//evil[.]example"


def test_an_outlet_without_a_zone_is_told_whose_time_it_is() -> None:
    known = build(first(EventType.ORDER_RECOMMENDED))["outlet"]
    assert (known["timezone"], known["clock"]) == ("Europe/Madrid", "store time")
    unknown = build(replace(first(EventType.ORDER_RECOMMENDED), outlet=None))["outlet"]
    assert unknown["clock"] == "Madrid time"


def test_a_withdrawal_after_the_decision_says_that_the_order_stands() -> None:
    facts = first(EventType.ORDER_WITHDRAWN)
    assert facts.order is not None
    assert build(facts)["order"]["stands"] is False
    for status in (OrderStatus.ACCEPTED, OrderStatus.MODIFIED):
        assert build(replace(facts, order=replace(facts.order, status=status)))["order"]["stands"] is True


def test_the_number_is_asked_for_only_where_the_page_will_ask_for_it() -> None:
    facts = first(EventType.ORDER_RECOMMENDED)
    assert build(facts)["order"]["needs_number"] is True
    assert build(facts, may_act=False)["order"]["needs_number"] is False
    button = replace(samples.POLICY, links=replace(samples.POLICY.links, confirmation=Confirmation.BUTTON))
    shown = context.build(samples.planned(ChannelName.EMAIL), facts, button, {})
    assert shown["order"]["needs_number"] is False


def test_an_order_with_one_price_missing_shows_none() -> None:
    raw = json.loads(json.dumps(samples.DATA[EventType.ORDER_RECOMMENDED][0]))
    del raw["lines"][0]["case_price"]
    data = DATA_MODELS[EventType.ORDER_RECOMMENDED].model_validate(raw)
    shown = build(replace(first(EventType.ORDER_RECOMMENDED), data=data))["order"]
    assert shown["has_prices"] is False
    assert shown["total_text"] == ""
    assert {line["line_total_text"] for line in shown["lines"]} == {""}


def test_long_lists_are_cut_and_the_rest_is_counted() -> None:
    raw = json.loads(json.dumps(samples.DATA[EventType.ORDER_RECOMMENDED][0]))
    raw["lines"] = [{**raw["lines"][0], "sku": str(index)} for index in range(200)]
    data = DATA_MODELS[EventType.ORDER_RECOMMENDED].model_validate(raw)
    shown = build(replace(first(EventType.ORDER_RECOMMENDED), data=data))["order"]
    assert (len(shown["lines"]), shown["more_lines"]) == (views.MOST_LINES, 200 - views.MOST_LINES)
    assert shown["total_cases"] == 200 * 12


#: (number as configured, as shown)
PHONES = (
    ("+34 600 000 000", "+34 600 000 000"),
    ("(600) 12-34/5", "(600) 12-34/5"),
    ("tel:600<b>", "600"),
    ("٦٠٠", ""),
)


@pytest.mark.parametrize(("given", "shown"), PHONES)
def test_a_help_phone_is_digits_and_signs_only(given: str, shown: str) -> None:
    assert context.clean_phone(given) == shown
