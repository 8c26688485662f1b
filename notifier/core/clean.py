"""Foreign text stays data: one line of visible characters, nothing a client would make clickable, none of our lines.

Mail clients and phones turn whatever looks like an address, a site or a phone number into a link. In names from
outside such text is broken up where people can see it ("http[:]//shop[.]com", "34_600_123_456"), so that only our own
links are clickable. The fixed words of our own lines ("Your number for this order") are taken out; that foreign text
never stands on a line of its own is the templates' part.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

ELLIPSIS = "…"
#: Control, format (bidi overrides, zero width, tags), surrogate, private, unassigned, line and paragraph separators.
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
#: Letters and marks by category that show nothing: Hangul fillers, Braille blank, combining grapheme joiner, selectors.
_INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5\u180b\u180c\u180d\ufe0e\ufe0f")
_MOST_MARKS = 4  #: combining marks on one letter; scripts need up to three, stacks of them cover other lines
_SPACES = re.compile(r"\s+")

#: What our own messages say in fixed words; a name that says it too is imitating us.
OUR_WORDS = (
    "your number for this order",
    "number for this order",
    "answer by",
    "see the order",
    "is this message really from us",
    "why you get this",
)
_OUR_WORDS = re.compile("|".join(words.replace(" ", r"\W+") for words in OUR_WORDS), re.IGNORECASE)
TAKEN_OUT = "[…]"

_SCHEMES = (
    "callto|data|facetime|file|ftp|geo|intent|javascript|magnet|mailto|maps|market|skype|sms|smsto|tel|vbscript|"
    "webcal|whatsapp|xmpp|https?"
)
_SCHEME = re.compile(rf"(?i)(?<=\w)[:：](?=[/\\]{{2}})|\b({_SCHEMES})[:：](?=\S)")
_AT = re.compile(r"(?<=\S)[@＠﹫](?=\S)")
#: Dots that clients and resolvers read as one, before what could be a top-level domain (two letters at least).
_DOT = re.compile(r"(?<=\w)[.․。．｡](?=[^\W\d_]{2})")
_ADDRESS_V4 = re.compile(r"\b(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\b")
_PHONE = re.compile(r"\+?\(?\d(?:[ ().\-/]{0,3}\d){6,}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?: \d\d)?|\d{1,2}[./]\d{1,2}[./]\d{4}")
_PLAIN_KEY = re.compile(r"[0-9A-Za-z]+(?:[_-][0-9A-Za-z]+)*")
_RISKY = re.compile(r"[:：@＠﹫.․。．｡]|\d\D{0,3}\d\D{0,3}\d\D{0,3}\d")


@lru_cache(maxsize=8192)
def clean(text: str, most: int = 200) -> str:
    """Return one line of visible text, at most `most` characters, that nothing makes clickable or takes for ours."""
    return _shortened(_without_our_words(defang(one_line(text, most))), most)


def clean_key(text: str, most: int = 60) -> str:
    """Clean a number or code that people compare with another place: one of plain letters and digits stays as it is."""
    line = one_line(text, most)
    return line if _PLAIN_KEY.fullmatch(line) else clean(line, most)


def one_line(text: str, most: int = 200) -> str:
    """Return visible characters only (NFC), in one line, shortened with an ellipsis."""
    head = text[: most * 4 + 100]
    if not (head.isascii() and head.isprintable()):
        head = _visible(_SPACES.sub(" ", head))
    return _shortened(_SPACES.sub(" ", head).strip(), most)


def _visible(text: str) -> str:
    kept: list[str] = []
    marks = 0
    for char in unicodedata.normalize("NFC", text):
        category = unicodedata.category(char)
        if category in _DROPPED or char in _INVISIBLE:
            continue
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= _MOST_MARKS:
            kept.append(" " if category == "Zs" else char)
    return unicodedata.normalize("NFC", "".join(kept))


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    cut = max(most - 1, 0)
    while cut > 0 and unicodedata.combining(text[cut]):
        cut -= 1
    return text[:cut].rstrip() + ELLIPSIS


def defang(text: str) -> str:
    """Break up what a client would make clickable: schemes, sites, e-mail and IP addresses, phone numbers.

    Inside a word that is plainly an address the dot becomes "[.]"; elsewhere a space behind it is enough and reads
    better ("S. Pellegrino").
    """
    if _RISKY.search(text) is None:
        return text
    words = (_defanged_word(word) for word in text.split(" "))
    return _PHONE.sub(_grouped, " ".join(words))


def _defanged_word(word: str) -> str:
    broken = _AT.sub("[at]", _SCHEME.sub(lambda match: f"{match[1] or ''}[:]", word))
    broken = _ADDRESS_V4.sub(r"\1[.]\2[.]\3[.]\4", broken)
    address = broken != word or "/" in word or "\\" in word or word.lower().startswith("www")
    return _DOT.sub("[.]" if address else ". ", broken)


def _grouped(match: re.Match[str]) -> str:
    """A long number in short groups joined by "_", which no phone takes for a number to call; dates stay."""
    if _DATE.fullmatch(match[0]):
        return match[0]
    groups = re.findall(r"\d+", match[0])
    pieces = [group[at : at + 3] for group in groups for at in range(0, len(group), 3)] if len(groups) == 1 else groups
    short = [piece[at : at + 4] for piece in pieces for at in range(0, len(piece), 4)]
    return ("+" if match[0].startswith("+") else "") + "_".join(short)


def _without_our_words(text: str) -> str:
    return _OUR_WORDS.sub(TAKEN_OUT, text)
