"""What a person typed into the order page, read forgivingly and within limits. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from notifier.core.clean import one_line
from notifier.core.orders import Action

MOST_FIELDS = 500
MOST_DIGITS = 6
REASONS = ("", "Enough in stock", "Too expensive", "Closed or on holiday", "Wrong products", "Other")
CASES = "cases."  #: field name of a quantity: this and the line's position
#: Arabic-Indic and Eastern Arabic-Indic digits, as phones in Arabic type them.
DIGITS = str.maketrans("٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹", "01234567890123456789")
_NONCE = re.compile(r"[A-Za-z0-9_-]{8,64}")


@dataclass(frozen=True, slots=True)
class Form:
    """A form as read: `quantities` by SKU; `typed` has every quantity as it was typed, to be shown again."""

    action: Action | None = None
    number: str = field(default="", repr=False)
    nonce: str = ""
    version: int = 0
    quantities: Mapping[str, int] = field(default_factory=dict)
    typed: Mapping[str, str] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()  #: SKUs whose quantity is no number
    reason: str = ""
    reason_text: str = ""
    name: str = ""


def read_form(fields: Mapping[str, str], skus: list[str]) -> Form:
    """Return the form; what cannot be read is kept as typed. `skus` are the order's lines in order."""
    typed = {sku: fields.get(f"{CASES}{position}", "")[:20] for position, sku in enumerate(skus)}
    counts = {sku: _count(text) for sku, text in typed.items() if text.strip()}
    reason = fields.get("reason", "")
    reason = reason if reason in REASONS else "Other"
    own_words = one_line(fields.get("reason_text", ""), 300)
    return Form(
        action=_action(fields.get("action", "")),
        number=_digits(fields.get("number", ""))[:4],
        nonce=nonce if _NONCE.fullmatch(nonce := fields.get("nonce", "")) else "",
        version=_count(fields.get("version", "")) or 0,
        quantities={sku: count for sku, count in counts.items() if count is not None},
        typed=typed,
        unreadable=tuple(sku for sku, count in counts.items() if count is None),
        reason=": ".join(part for part in (reason, own_words) if part),
        reason_text=own_words,
        name=one_line(fields.get("name", ""), 40),
    )


def _action(text: str) -> Action | None:
    return Action(text) if text in [action.value for action in Action] else None


def _digits(text: str) -> str:
    return re.sub(r"\s", "", text[:20]).translate(DIGITS)


def _count(text: str) -> int | None:
    plain = _digits(text)
    return int(plain) if plain.isascii() and plain.isdigit() and len(plain) <= MOST_DIGITS else None
