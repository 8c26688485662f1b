"""The alert catalogue as values: every known alert type with title, category, unit, urgency and advice.

The data are in notifier/sources/alert_catalogue.toml. An unknown type is no error: it gets a generic entry, so that
the alert goes out all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from notifier.core.model import Priority

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One alert type."""

    key: str
    title: str
    category: str  #: merchandising, equipment, device or data
    unit: str = ""
    priority: Priority = Priority.NORMAL
    advice: str = ""  #: one sentence for the person in the store
    source: str = ""  #: where the type is known from; "sibling" is uncertain for Coolr
    known: bool = True


class Catalogue:
    """Looks alert types up by their name or an alias, whatever the case, spaces and underscores."""

    def __init__(self, entries: Mapping[str, Entry], aliases: Mapping[str, str]) -> None:
        self.entries = dict(entries)
        self._names = {_plain(key): key for key in entries} | {_plain(alias): key for alias, key in aliases.items()}

    def entry(self, alert_type: str) -> Entry:
        """Return the entry of a type; a generic one for a type we do not know."""
        key = self._names.get(_plain(alert_type))
        if key is not None:
            return self.entries[key]
        return Entry(alert_type, " ".join(_WORDS.findall(alert_type)) or "Alert", "other", known=False)


def build(table: Mapping[str, Mapping[str, Any]]) -> Catalogue:
    """Make a catalogue from the parsed data file. Raises TypeError or ValueError for a malformed one."""
    entries: dict[str, Entry] = {}
    aliases: dict[str, str] = {}
    for key, row in table.items():
        facts = {name: value for name, value in row.items() if name != "aliases"}
        if "priority" in facts:
            facts["priority"] = Priority(facts["priority"])
        entries[key] = Entry(key=key, **facts)
        aliases |= dict.fromkeys(row.get("aliases", ()), key)
    return Catalogue(entries, aliases)


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())
