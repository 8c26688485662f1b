"""SMS text: GSM-7 where nothing is lost, segments counted as carriers bill them (3GPP TS 23.038)."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("^{}\\[~]|€\f")  #: two septets each
_WRITABLE = GSM | EXTENSION
#: Longest text we send, in segments; a name in another script halves what fits into one, and must not silence it.
MOST_SEGMENTS = {"GSM-7": 3, "UCS-2": 4}

#: Typography and letters that Unicode does not decompose, as people write them on a phone.
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′ʼ‹›", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("–—―−‐‑‒·•‧", "-"),
        **dict.fromkeys("\u00a0\u202f\u2009\u2007\u2002\u2003\u3000\t", " "),
        **dict.fromkeys("ðđ", "d"),
        **dict.fromkeys("ÐĐ", "D"),
        "…": "...",
        "°": "",  # "9.2 °C" → "9.2 C"
        "×": "x",
        "µ": "u",
        "→": "->",
        "ł": "l",
        "Ł": "L",
        "ı": "i",
        "ħ": "h",
        "Ħ": "H",
        "ŋ": "n",
        "Ŋ": "N",
        "ŧ": "t",
        "Ŧ": "T",
        "ə": "e",
        "Ə": "E",
        "œ": "oe",
        "Œ": "OE",
        "þ": "th",
        "Þ": "Th",
        "ẞ": "SS",
        "⁄": "/",
    }
)
_MEANING = ("L", "M", "N")  #: Unicode categories of what must not be lost: letters, their marks, digits


@dataclass(frozen=True, slots=True)
class Segments:
    """How a text is billed."""

    encoding: str  #: "GSM-7" or "UCS-2"
    units: int  #: septets, or UTF-16 units
    count: int


def to_gsm(text: str) -> str:
    """Return the text in GSM-7 if every letter keeps its meaning; otherwise the text itself, which goes out as UCS-2.

    Accents that GSM-7 lacks are dropped from Latin letters ("São" → "Sao"), typography is written plainly, emoji and
    other symbols are removed. A text in another script (Arabic, Cyrillic, Chinese, a Greek word) would lose letters,
    so it stays whole at 70 characters a segment, only without emoji.
    """
    plain = text.translate(_PLAIN)
    if plain.isascii() and "`" not in plain:
        return plain
    written = [_in_gsm(char) for char in plain]
    if any(new is None for new in written):
        return "".join(char for char in plain if unicodedata.category(char) not in ("So", "Sk"))
    return "".join(new for new in written if new)


def _in_gsm(char: str) -> str | None:
    """The GSM-7 form of a character, "" for a symbol that can go, None for a letter or digit that would be lost."""
    if char in GSM or char in EXTENSION:
        return char
    parts = unicodedata.normalize("NFKD", char).replace("⁄", "/")
    base = "".join(part for part in parts if not unicodedata.combining(part))
    if base and all(part in GSM for part in base) and not _changes_script(char, base):
        return base
    return None if unicodedata.category(char)[0] in _MEANING and not _stray_mark(char) else ""


def _changes_script(char: str, base: str) -> bool:
    """A Greek capital with an accent would leave a word half Greek, half lost; Latin letters stay Latin."""
    return base.isalpha() and not base.isascii() and char.isalpha()


def _stray_mark(char: str) -> bool:
    return unicodedata.combining(char) > 0 and "\u0300" <= char <= "\u036f"


def segments(text: str) -> Segments:
    """Count: 160 or 153 septets a segment in GSM-7, 70 or 67 UTF-16 units in UCS-2.

    A two-septet character or a surrogate pair is never split between segments, which can cost one unit each.
    """
    if _WRITABLE.issuperset(text):
        return _counted("GSM-7", [2 if char in EXTENSION else 1 for char in text], 160, 153)
    return _counted("UCS-2", [2 if ord(char) > 0xFFFF else 1 for char in text], 70, 67)


def fits(size: Segments) -> bool:
    """Whether a text is short enough to send."""
    return size.count <= MOST_SEGMENTS[size.encoding]


def _counted(encoding: str, widths: list[int], alone: int, each: int) -> Segments:
    units = sum(widths)
    if units <= alone:
        return Segments(encoding, units, 1)
    count, used = 1, 0
    for width in widths:
        if used + width > each:
            count, used = count + 1, 0
        used += width
    return Segments(encoding, units, count)
