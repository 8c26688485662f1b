"""docs/reference/events.md and alert-types.md say what the code does: every field, limit, type and alert type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from notifier.core import event_data
from notifier.core.acceptance import AnswerStatus
from notifier.core.decode import Limits
from notifier.core.event_data import DATA_MODELS, EventData
from notifier.core.model import EventType
from notifier.sources.catalogue import load_catalogue
from notifier.sources.coolr import ALERT_FIELDS, IMAGE_FIELDS
from notifier.web.intake import MOST_BYTES, MOST_DECODED, MOST_EVENTS

REFERENCE = Path(__file__).parent.parent.parent / "docs" / "reference"
PAGE = (REFERENCE / "events.md").read_text(encoding="utf-8")
INNER: list[type[EventData]] = [
    event_data.OutletRef,
    event_data.AssetRef,
    event_data.ImageRef,
    event_data.ProductRef,
    event_data.OutOfStockProduct,
    event_data.OrderLine,
    event_data.Range,
    event_data.MissedProduct,
]
MODELS: list[type[EventData]] = [*dict.fromkeys(m for t, m in DATA_MODELS.items() if not t.reserved), *INNER]


def rows(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Every field with its kind in words, as the page should have them."""
    schema = model.model_json_schema()
    for name, facts in schema["properties"].items():
        needed = ", required" if name in schema.get("required", ()) else ""
        yield f"`{name}`", kind(facts) + needed


def kind(facts: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "anyOf" in facts:
        return kind(next(option for option in facts["anyOf"] if option.get("type") != "null"))
    if "$ref" in facts:
        name = facts["$ref"].rpartition("/")[2]
        return "open, updated or closed" if name == "AlertStatus" else f"[{name}](#{name.lower()})"
    if "enum" in facts:
        return " or ".join(f"`{value}`" for value in facts["enum"])
    if facts["type"] == "array":
        return f"list of {kind(facts['items'])}, at most {facts['maxItems']}"
    words = {"date-time": "time with offset", "date": "date"}.get(facts.get("format", ""), facts["type"])
    low, high = facts.get("minimum"), facts.get("maximum")
    if high is not None:
        words += f" {low:,.0f} to {high:,.0f}"
    if "maxLength" in facts:
        words += f", at most {facts['maxLength']}"
    return str(words)


def table(heading: str) -> list[tuple[str, ...]]:
    """The rows of the first table under a heading."""
    section = PAGE.split(f"\n### {heading}\n")[1].split("\n##")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[1:] if "---" not in line]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_of_every_model_stands_in_the_reference(model: type[EventData]) -> None:
    found = table(model.__name__)
    assert [row[:2] for row in found] == list(rows(model))
    assert all(row[2] for row in found), "every field has a meaning"


def test_every_type_stands_in_the_reference_with_its_model() -> None:
    expected = [
        (f"`{type_.value}`", "reserved" if type_.reserved else f"[{m.__name__}](#{m.__name__.lower()})")
        for type_, m in DATA_MODELS.items()
    ]
    assert [row[:2] for row in table("Event types")] == expected
    assert len(expected) == len(EventType)


@pytest.mark.parametrize("heading", ["Alert record", "AssetPurity record"])
def test_every_field_of_coolrs_records_stands_in_the_reference(heading: str) -> None:
    names = ALERT_FIELDS if heading == "Alert record" else IMAGE_FIELDS
    documented = {(row[0].strip("`"), row[1].strip("`")) for row in table(heading)}
    assert {(theirs, ours) for ours, theirs in names.items()} <= documented


def test_the_limits_and_answers_are_those_of_the_code() -> None:
    limits = Limits()
    numbers = (
        MOST_BYTES,
        MOST_DECODED,
        MOST_EVENTS,
        limits.bytes,
        limits.text,
        limits.items,
        limits.depth,
        limits.digits,
    )
    for number in numbers:
        assert re.search(rf"\b{number:,}\b", PAGE), number
    for status in AnswerStatus:
        assert f"`{status.value}`" in PAGE


def test_every_alert_type_stands_on_its_page() -> None:
    page = (REFERENCE / "alert-types.md").read_text(encoding="utf-8")
    listed = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `")]
    assert [tuple(cell.strip() for cell in row) for row in listed] == [
        (f"`{entry.key}`", entry.title, entry.category, entry.priority.value, entry.unit, entry.source)
        for entry in load_catalogue().entries.values()
    ]
