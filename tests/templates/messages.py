"""Sample messages as people get them, and hostile ones: what the tests of this folder read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from notifier.core import samples
from notifier.core.event_data import DATA_MODELS
from notifier.core.ids import OutletCode
from notifier.core.model import ChannelName, Event, EventType, Message, Outlet
from notifier.core.rendering import Live, Templates
from notifier.core.routing import Facts

FOLDER = Path(__file__).parents[2] / "templates"
LONG = "https://orders.coolr.example/l/IjAxOTM1ODUwLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMCI~Zk1aQ~q3mVbZ0k4yFh2c7"
SHORT = "https://orders.coolr.example/s/7K3M9QX2VB4TWC8N"
NUMBER = "47"
#: Every kind with the index of its samples: the test ids.
SAMPLES = [(type_, index) for type_ in EventType for index in range(len(samples.DATA[type_]))]
IDS = [f"{type_.kind}-{index}" for type_, index in SAMPLES]


@cache
def templates() -> Templates:
    """The shipped templates, compiled once for all tests."""
    return Templates(FOLDER)


def facts(type_: EventType, index: int = 0) -> Facts:
    """One sample."""
    return list(samples.facts(type_))[index]


def live(message: Message) -> Live:
    """Links and number as a real message carries them; every link has its own name in its address."""
    base = SHORT if message.channel is ChannelName.SMS else LONG
    urls = {name: f"{base}{name}" for name in message.context["links"]}
    return Live(urls, NUMBER if message.context["number"] else None)


def parts(message: Message) -> dict[str, str]:
    """Render a message as it is sent."""
    return templates().render(message, live(message))


def mail(type_: EventType, index: int = 0, **how: bool) -> dict[str, str]:
    """The parts of a sample as a mail."""
    return parts(samples.message(facts(type_, index), ChannelName.EMAIL, **how))


def sms(type_: EventType, index: int = 0, **how: bool) -> str:
    """The text of a sample as an SMS."""
    return parts(samples.message(facts(type_, index), ChannelName.SMS, **how))["text"]


def hostile(text: str) -> Iterator[Facts]:
    """Every sample with `text` in every free text of its data and of its outlet."""
    for type_, index in SAMPLES:
        sample = facts(type_, index)
        data = DATA_MODELS[type_].model_validate(_filled(samples.DATA[type_][index], text))
        event: Event = replace(sample.event, data=json.loads(data.model_dump_json()))
        outlet = Outlet(
            tenant=samples.TENANT,
            code=OutletCode("ES-1001"),
            name=text[:200],
            street=text[:200],
            city=text[:200],
            timezone="Europe/Madrid",
        )
        yield replace(sample, event=event, data=data, outlet=outlet)


#: Texts that senders write freely; codes, words of a list and references have a form of their own.
FREE = ("name", "text", "title", "reason", "type", "location", "decided_by", "city", "order_number", "serial")


def _filled(value: Any, text: str, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(inner, text, name) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_filled(inner, text, key) for inner in value]
    if key in FREE and isinstance(value, str):
        most = 90 if key in ("order_number", "serial") else 200
        plain = "".join(char for char in text if char.isprintable())
        return (plain if key in ("order_number", "serial") else text)[:most] or value
    return value
