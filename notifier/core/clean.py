"""Foreign text stays data: one line of visible characters, nothing a client would make clickable, none of our lines.

Mail clients and phones turn whatever looks like an address, a site or a phone number into a link. In names from
outside such text is broken up where people can see it ("http[:]//shop[.]com", "34_600_123_456"), so that only our own
links are clickable. The fixed words of our own lines ("Your number for this order") are taken out; that foreign text
never stands on a line of its own is the templates' part.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
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
    "your number",
    "number for this order",
    "answer by",
    "if nobody answers",
    "see the order",
    "see the picture",
    "see what was missed",
    "is this message really from us",
    "you get this because",
    "what to do",
)
TAKEN_OUT = "[…]"
_OUR_WORDS = re.compile(rf"\b(?:{'|'.join(words.replace(' ', '[^a-z0-9]+') for words in OUR_WORDS)})\b", re.IGNORECASE)
#: "… number: 11" reads like the line that carries the number.
_NUMBER_LINE = re.compile(r"number[^:]{0,60}(:)(?=\s*\d)", re.IGNORECASE)
#: Cyrillic and Greek letters that look like Latin ones. Not all there are: enough for the words above.
_LOOKS_LIKE = str.maketrans(
    "аеорсухіѕԁһпмткԝоαεικνορτυχАЕОРСУХІЅВНМТКΑΒΕΗΙΚΜΝΟΡΤΥΧ", "aeopcyxisdhnmtkwoaeiknoptuxAEOPCYXISBHMTKABEHIKMNOPTYX"
)

_SCHEMES = (
    "callto|data|facetime|file|ftp|geo|intent|javascript|magnet|mailto|maps|market|skype|sms|smsto|tel|vbscript|"
    "webcal|whatsapp|xmpp|https?"
)
_SCHEME = re.compile(rf"(?i)(?<=\w)[:：](?=[/\\]{{2}})|\b({_SCHEMES})[:：](?=\S)")
_AT = re.compile(r"(?<=\S)[@＠﹫](?=\S)")
#: Dots that clients and resolvers read as one, before what could be a top-level domain (two letters at least).
_DOT = re.compile(r"(?<=\w)[.․。．｡](?=[^\W\d_]{2})")
_ADDRESS_V4 = re.compile(r"\b(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\b")
#: What may stand between the digits of a phone number (as libphonenumber reads them).
_BETWEEN = r"[ ()（）［］\[\].\-/／‐-―−ー－~⁓∼～·•]{0,4}"
_PHONE = re.compile(rf"\+?\(?\d(?:{_BETWEEN}\d){{6,}}")
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
    """Take out what imitates our own lines, in look-alike letters and with stray marks too."""
    seen, places = _as_read(text)
    spans = [(match.span(), TAKEN_OUT) for match in _OUR_WORDS.finditer(seen)]
    spans += [(match.span(1), "[:]") for match in _NUMBER_LINE.finditer(seen)]
    end = len(text)
    for (first, last), instead in sorted(spans, reverse=True):
        if places[last] <= end:
            text = text[: places[first]] + instead + text[places[last] :]
            end = places[first]
    return text


def _as_read(text: str) -> tuple[str, Sequence[int]]:
    """The text as an eye reads it (plain Latin letters, no marks), and where each of its characters stands."""
    if text.isascii():
        return text, range(len(text) + 1)
    seen: list[str] = []
    places: list[int] = []
    for place, char in enumerate(text):
        read = unicodedata.normalize("NFKD", char.translate(_LOOKS_LIKE))[:1].translate(_LOOKS_LIKE)
        if not unicodedata.combining(read):
            seen.append(read)
            places.append(place)
    return "".join(seen), [*places, len(text)]
