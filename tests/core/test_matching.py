"""Each condition of a rule holds or says why not."""

from __future__ import annotations

from typing import Any

import pytest

from notifier.core import samples
from notifier.core.catalogue import Entry
from notifier.core.matching import failing
from notifier.core.model import EventType
from notifier.core.policy import Condition
from tests.core.test_routing import STORE, facts

OUT_OF_STOCK = Entry("OutOfStock", "Out of stock", "merchandising")
SENT_AS = {**samples.DATA[EventType.ALERT_OPENED][0], "alert_type": "Out Of Stock (SKU)", "value": 3.5}

CASES: list[tuple[dict[str, Any], str | None]] = [
    # nothing asked: everything matches
    ({}, None),
    ({"types": ("coolr.alert.*",)}, None),
    (
        {"types": ("coolr.order.*", "coolr.image.*")},
        "type is coolr.alert.opened, the rule wants coolr.order.* or coolr.image.*",
    ),
    ({"categories": ("merchandising",)}, None),
    ({"categories": ("device",)}, "category is merchandising, the rule wants device"),
    # by the name that was sent, whatever the case
    ({"alert_types": ("out of stock (sku)",)}, None),
    # by the catalogue's key, patterns too
    ({"alert_types": ("outofstock",)}, None),
    ({"alert_types": ("OutOf*",)}, None),
    ({"alert_types": ("Health",)}, "alert_type is Out Of Stock (SKU), the rule wants Health"),
    # the directory knows the market
    ({"markets": ("iberia",)}, None),
    ({"markets": ("Nordics",)}, "market is Iberia, the rule wants Nordics"),
    ({"channels": ("Kiosk",)}, None),
    # nobody knows the classification
    ({"classifications": ("Gold",)}, "classification is not known, the rule wants Gold"),
    ({"asset_types": ("vertical*",)}, None),
    ({"asset_types": ("Chest",)}, "asset_type is Vertical, two doors, the rule wants Chest"),
    ({"outlets": ("ES-*",)}, None),
    ({"outlets": ("PT-*",)}, "outlet is ES-1, the rule wants PT-*"),
    # thresholds exclude their own value
    ({"value_below": 3.5}, "value is 3.5, the rule wants below 3.5"),
    ({"value_below": 3.6}, None),
    ({"value_above": 3.5}, "value is 3.5, the rule wants above 3.5"),
    ({"value_above": 3.4, "value_below": 4.0}, None),
    # every condition must hold: the first that does not is told
    ({"markets": ("Iberia",), "value_above": 9.0}, "value is 3.5, the rule wants above 9"),
]


@pytest.mark.parametrize(("when", "reason"), CASES)
def test_a_condition_holds_or_says_why_not(when: dict[str, Any], reason: str | None) -> None:
    about = facts(data=SENT_AS, entry=OUT_OF_STOCK)
    assert failing(Condition(**when), about.event, about.data, STORE, about.entry) == reason


def test_without_the_directory_the_events_own_words_count() -> None:
    data = {**SENT_AS, "outlet": {"code": "ES-1", "market": "Levante"}}
    about = facts(data=data, outlet=None)
    assert failing(Condition(markets=("Levante",)), about.event, about.data, None, None) is None


def test_a_value_that_is_missing_passes_no_threshold() -> None:
    about = facts(data=samples.DATA[EventType.ALERT_OPENED][1])
    assert failing(Condition(value_below=5), about.event, about.data, STORE, None) == (
        "value is not known, the rule wants below 5"
    )


def test_a_picture_is_compared_by_its_stock() -> None:
    about = facts(EventType.IMAGE_PROCESSED)  # 62 percent
    assert failing(Condition(value_below=70), about.event, about.data, STORE, None) is None
    assert failing(Condition(value_below=60), about.event, about.data, STORE, None) is not None


@pytest.mark.parametrize("pattern", ["*", "OutOfStock"])
def test_a_rule_about_alert_types_is_about_alerts(pattern: str) -> None:
    about = facts(EventType.IMAGE_PROCESSED)
    assert failing(Condition(alert_types=(pattern,)), about.event, about.data, STORE, None) == (
        f"alert_type is not known, the rule wants {pattern}"
    )
