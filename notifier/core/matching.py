"""Whether a rule's condition holds for an event, and if not, which part of it does not."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from notifier.core.catalogue import Entry
from notifier.core.event_data import AlertData, EventData, ImageData
from notifier.core.model import Event, Outlet
from notifier.core.policy import Condition


def failing(when: Condition, event: Event, data: EventData, outlet: Outlet | None, entry: Entry | None) -> str | None:
    """Return the first part of the condition that does not hold, as a sentence; None when the rule applies.

    What is not known matches no pattern, "*" included: a rule about alert types is about alerts.
    """
    for name, patterns, actual in _parts(when, event, data, outlet, entry):
        if patterns and not any(like(text, pattern) for text in actual if text for pattern in patterns):
            return f"{name} is {actual[0] or 'not known'}, the rule wants {' or '.join(patterns)}"
    return _value_failing(when, value_of(data))


def value_of(data: EventData) -> float | None:
    """What thresholds are compared with: the alert's value, or the stock percentage of a picture."""
    if isinstance(data, AlertData):
        return data.value
    return data.stock_percentage if isinstance(data, ImageData) else None


def like(text: str, pattern: str) -> bool:
    """Whether a text matches a pattern of a rule, whatever the case."""
    return fnmatchcase(text.lower(), pattern.lower())


def _parts(
    when: Condition, event: Event, data: EventData, outlet: Outlet | None, entry: Entry | None
) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """(name, patterns, names that count, the shown one first); the directory wins over what the event says."""
    said = getattr(data, "outlet", None)
    asset = getattr(data, "asset", None)
    yield "type", when.types, (event.type.value,)
    yield "category", when.categories, (entry.category if entry else "",)
    yield "alert_type", when.alert_types, _alert_names(data, entry)
    yield "outlet", when.outlets, (event.outlet or "",)
    for name, patterns, field in (
        ("market", when.markets, "market"),
        ("channel", when.channels, "channel"),
        ("classification", when.classifications, "classification"),
    ):
        yield name, patterns, ((getattr(outlet, field) if outlet else "") or getattr(said, field, ""),)
    yield "asset_type", when.asset_types, (asset.type if asset else "",)


def _alert_names(data: EventData, entry: Entry | None) -> tuple[str, ...]:
    """The alert type as sent, and the catalogue's key for it: a rule may use either."""
    if not isinstance(data, AlertData):
        return ("",)
    return (data.alert_type, entry.key) if entry is not None else (data.alert_type,)


def _value_failing(when: Condition, value: float | None) -> str | None:
    if when.value_below is not None and (value is None or value >= when.value_below):
        return f"value is {'not known' if value is None else f'{value:g}'}, the rule wants below {when.value_below:g}"
    if when.value_above is not None and (value is None or value <= when.value_above):
        return f"value is {'not known' if value is None else f'{value:g}'}, the rule wants above {when.value_above:g}"
    return None
