"""What a person typed into the order page, read forgivingly and within limits. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from notifier.core.clean import one_line
from notifier.core.orders import Action

MOST_FIELDS = 500
MOST_DIGITS = 6
REASONS = ("", "Enough in stock", "Too expensive", "Closed or on holiday", "Wrong products", "Other")
UNDO = "undo"  #: what the button says that takes a decision back
CASES = "cases."  #: field name of a quantity: this and the SKU, so that no new version puts it at another product
_NONCE = re.compile(r"[A-Za-z0-9_-]{8,64}")


@dataclass(frozen=True, slots=True)
class Form:
    """A form as read: `quantities` by SKU; `typed` has every quantity as it was typed, to be shown again."""

    action: Action | None = None
    undo: bool = False  #: the button that takes a decision back
    number: str = field(default="", repr=False)
    nonce: str = ""
    version: int = 0
    quantities: Mapping[str, int] = field(default_factory=dict)
    typed: Mapping[str, str] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()  #: SKUs whose quantity was sent and is no whole number
    reason_choice: str = ""  #: one of REASONS
    reason_text: str = ""
    name: str = ""

    @property
    def reason(self) -> str:
        """Why somebody declines, in one text."""
        return ": ".join(part for part in (self.reason_choice, self.reason_text) if part)


def read_form(fields: Mapping[str, str], skus: Iterable[str]) -> Form:
    """Return the form; what cannot be read is kept as typed. `skus` are those of the order as it is now."""
    typed = {sku: fields[f"{CASES}{sku}"][:20] for sku in skus if f"{CASES}{sku}" in fields}
    counts = {sku: _count(text) for sku, text in typed.items()}
    choice = fields.get("reason", "")
    return Form(
        action=_action(fields.get("action", "")),
        undo=fields.get("action") == UNDO,
        number="".join(char for char in _western(fields.get("number", "")[:20]) if char.isdigit())[:4],
        nonce=nonce if _NONCE.fullmatch(nonce := fields.get("nonce", "")) else "",
        version=_count(fields.get("version", "")) or 0,
        quantities={sku: count for sku, count in counts.items() if count is not None},
        typed=typed,
        unreadable=tuple(sku for sku, count in counts.items() if count is None),
        reason_choice=choice if choice in REASONS else "Other",
        reason_text=one_line(fields.get("reason_text", ""), 300),
        name=one_line(fields.get("name", ""), 40),
    )


def _action(text: str) -> Action | None:
    return Action(text) if text in [action.value for action in Action] else None


def _western(text: str) -> str:
    """Digits of any script as 0 to 9, as phones in Arabic, Persian or Hindi type them; other digits are dropped."""
    return "".join(
        str(unicodedata.decimal(char)) if char.isdecimal() else char
        for char in text
        if char.isdecimal() or not char.isdigit()
    )


def _count(text: str) -> int | None:
    plain = re.sub(r"\s", "", _western(text[:20]))
    return int(plain) if re.fullmatch(rf"[0-9]{{1,{MOST_DIGITS}}}", plain) else None
