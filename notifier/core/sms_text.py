"""SMS text: GSM-7 where nothing is lost, segments counted as carriers bill them (3GPP TS 23.038)."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

GSM = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = set("^{}\\[~]|€")  #: two septets each
PLAIN = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "‚": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "–": "-",
        "—": "-",
        "−": "-",
        "…": "...",
        "·": "-",
        "•": "-",
        "\u00a0": " ",
        "\u202f": " ",
        "\u2009": " ",
        "°": "o",
        "ł": "l",
        "Ł": "L",
        "đ": "d",
        "Đ": "D",
        "ı": "i",
        "œ": "oe",
        "Œ": "OE",
        "×": "x",
        "½": "1/2",
    }
)


@dataclass(frozen=True, slots=True)
class Segments:
    """How a text is billed."""

    encoding: str  #: "GSM-7" or "UCS-2"
    units: int
    count: int


def to_gsm(text: str) -> str:
    """Return the text in GSM-7 where each letter keeps its meaning; texts in other scripts stay as they are.

    Accents that GSM-7 lacks are dropped from Latin letters ("São" → "Sao"), emoji and symbols are removed; a text in
    which whole letters would be lost (Arabic, Cyrillic, Greek words) is returned unchanged and goes out as UCS-2.
    """
    out = []
    for char in text.translate(PLAIN):
        if char in GSM or char in EXTENSION:
            out.append(char)
            continue
        base = "".join(part for part in unicodedata.normalize("NFKD", char) if not unicodedata.combining(part))
        if base and all(part in GSM for part in base):
            out.append(base)
        elif unicodedata.category(char)[0] == "L":
            return text
    return "".join(out)


def segments(text: str) -> Segments:
    """Count: 160 or 153 septets a segment in GSM-7, 70 or 67 UTF-16 units in UCS-2."""
    if all(char in GSM or char in EXTENSION for char in text):
        units = sum(2 if char in EXTENSION else 1 for char in text)
        return Segments("GSM-7", units, 1 if units <= 160 else -(-units // 153))
    units = len(text.encode("utf-16-be")) // 2
    return Segments("UCS-2", units, 1 if units <= 70 else -(-units // 67))
