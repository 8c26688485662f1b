"""Foreign text stays data: no control, bidirectional or invisible characters, no line breaks, nothing clickable.

Mail clients and phones turn whatever looks like an address into a link. Inside names from outside, such text is
broken up visibly ("shop[.]com", "http[:]//"), so that only our own links are clickable.
"""

from __future__ import annotations

import re
import unicodedata

ELLIPSIS = "…"
#: Unassigned, private, control, format (bidi overrides, zero width), surrogate, line and paragraph separators.
REMOVED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_SPACES = re.compile(r"\s+")
_SCHEME = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}):(?=//|\w)")
#: A dot between letters or digits where a domain could end: two letters at least after it.
_DOMAIN = re.compile(r"(?<=\w)[.。．｡](?=[^\W\d_]{2,})", re.UNICODE)
_AT = re.compile(r"(?<=\S)[@＠](?=\S)")
_PHONE = re.compile(r"(?<!\d)(\+?\d[\d ()/-]{7,}\d)(?!\d)")
_SCHEMES = ("http", "https", "ftp", "mailto", "tel", "sms", "javascript", "data", "file", "www")


def clean(text: object, most: int = 200) -> str:
    """Return one line of visible text, at most `most` characters, that no client makes clickable."""
    return defang(one_line(text, most))


def one_line(text: object, most: int = 200) -> str:
    """Return visible characters only, in one line, shortened with an ellipsis."""
    spaced = _SPACES.sub(" ", str(text)[: most * 4])
    kept = "".join(char for char in unicodedata.normalize("NFC", spaced) if unicodedata.category(char) not in REMOVED)
    kept = _SPACES.sub(" ", kept).strip()
    return kept if len(kept) <= most else kept[: most - 1].rstrip() + ELLIPSIS


def defang(text: str) -> str:
    """Break up what a client would make clickable: schemes, domains, e-mail addresses, long phone numbers."""
    text = _SCHEME.sub(lambda match: f"{match[1]}[:]" if _clickable(match[1]) else match[0], text)
    text = _AT.sub("[at]", text)
    text = _DOMAIN.sub("[.]", text)
    return _PHONE.sub(lambda match: f"{match[1][:-3]}·{match[1][-3:]}", text)


def _clickable(scheme: str) -> bool:
    return scheme.lower() in _SCHEMES
