r"""JSON from outside, read strictly: size, nesting, digits, duplicate names, NUL, lone surrogates, NaN.

RFC 8259 leaves duplicate names and lone surrogates open and forbids NaN; PostgreSQL cannot store NUL or a lone
surrogate. What fails says where: the position in the text, or the dotted path of the field. A body is cut into the
texts of its events before anything is parsed: one bad event is refused alone and kept exactly as it came (P8).

Nearly every body is without a mistake, and naming mistakes is what costs: `decode_list` takes such a body in one pass
and says None to every other, which is then read the thorough way.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from notifier.errors import EventError

#: A whole string (brackets inside do not count; one that never ends goes to the end of the text, or a body of quotes
#: would be searched once for each of them), a bracket or a comma.
_MARKS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{},]', re.DOTALL)
_LIST_FOLLOWS = re.compile(rb"\s*:\s*(?=\[)")
_SURROGATE = re.compile("[\ud800-\udfff]")
MOST_PLAIN = 2_000_000  #: bytes of a body that is parsed before anything is counted: what its values may take at most
MOST_MARKS = 3_000_000  #: strings, brackets and commas of a body: what it costs to look through it


@dataclass(frozen=True, slots=True)
class Limits:
    """What one event may be at most."""

    bytes: int = 262_144
    depth: int = 20
    digits: int = 25  #: of an integer
    text: int = 10_000  #: characters of a string
    items: int = 20_000  #: values in all, names included


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Unusable:
    """Stands where a value was that cannot be used."""

    reason: str
    name: str = ""  #: the name inside the object that is meant


def decode_json(raw: bytes, *, limits: Limits | None = None) -> Any:
    """Return the JSON value. Raises EventError with the reason and, where there is one, the field."""
    if limits is None and len(raw) <= LIMITS.bytes:
        with suppress(_NotPlain, UnicodeDecodeError):
            return _plain_value(raw.decode("utf-8"))
    limits = limits or LIMITS
    value = parse_json(raw, limits)
    check(value, limits)
    return value


def parse_json(raw: bytes, limits: Limits) -> Any:
    """Return the JSON value, which may hold `Unusable` in places. Raises EventError when it is no JSON at all."""
    if len(raw) > limits.bytes:
        raise EventError(f"larger than {limits.bytes:,} bytes", code="too_large")
    _check_shape(raw, limits)
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=lambda name: Unusable(f"{name} is not a JSON number"),
            parse_int=lambda text: _integer(text, limits.digits),
            parse_float=_float,
        )
    except UnicodeDecodeError as error:
        raise EventError(f"not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise EventError(f"not complete JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None


def check(value: Any, limits: Limits) -> None:
    """Refuse what cannot be used or kept, naming the field. Raises EventError."""
    for count, (path, item) in enumerate(walk(value)):
        if count > limits.items:
            raise EventError(f"more than {limits.items:,} values")
        if isinstance(item, Unusable):
            raise EventError(item.reason, f"{path}.{item.name}".removeprefix("(whole).") if item.name else path)
        if isinstance(item, str):
            _check_text(item, path, limits.text)


def _check_text(text: str, path: str, most: int) -> None:
    if len(text) > most:
        raise EventError(f"longer than {most:,} characters", path)
    if "\x00" in text:
        raise EventError("holds a NUL character", path)
    if not text.isascii() and _SURROGATE.search(text):
        raise EventError("holds a lone surrogate, half of a character", path)


def walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every value with its dotted path, names included as texts."""
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        path, item = stack.pop()
        yield path or "(whole)", item
        if isinstance(item, dict):
            for name, inner in item.items():
                yield f"{path}.(name)".lstrip("."), name
                stack.append((f"{path}.{name[:60]}".lstrip("."), inner))
        elif isinstance(item, list):
            stack.extend((f"{path}[{index}]", inner) for index, inner in enumerate(item))


def _check_shape(raw: bytes, limits: Limits) -> None:
    """Count before parsing: a deep document must not cost a deep stack, nor a wide one all memory."""
    depth = 0
    for count, match in enumerate(_MARKS.finditer(raw)):
        if count > 3 * limits.items:
            raise EventError(f"more than {limits.items:,} values", code="too_large")
        mark = match[0]
        if mark in (b"[", b"{"):
            depth += 1
            if depth > limits.depth:
                raise EventError(f"nested deeper than {limits.depth} levels", code="too_deep")
        elif mark in (b"]", b"}"):
            depth -= 1


def split(raw: bytes, most: int) -> list[bytes] | None:
    """Return the texts of the events of a list, or of an answer ``{"records": [...]}``; None for a single event.

    Only brackets, strings and commas are looked at: whether each text is JSON is for its own reading to find out.
    Raises EventError when the list does not end or holds more than `most`.
    """
    start = len(raw) - len(raw.lstrip())
    if raw[start : start + 1] == b"[":
        texts, end = _elements(raw, start, most)
        if raw[end:].strip():
            raise EventError(f"not complete JSON: more text after the list, at byte {end}")
        return texts
    at = _records(raw, start)
    if at is None:
        return None
    texts, end = _elements(raw, at, most)
    decode_json(raw[:at] + b"[]" + raw[end:])
    return texts


def _elements(raw: bytes, at: int, most: int) -> tuple[list[bytes], int]:
    """The texts inside the list that begins at `at`, and where it ends."""
    texts: list[bytes] = []
    depth, begin = 0, at + 1
    for match in _bounded(raw, at):
        mark = match[0]
        if mark in (b"[", b"{"):
            depth += 1
        elif mark in (b"]", b"}"):
            depth -= 1
            if depth == 0:
                last = raw[begin : match.start()]
                return [*texts, last] if texts or last.strip() else [], match.end()
        elif mark == b"," and depth == 1:
            texts.append(raw[begin : match.start()])
            begin = match.end()
            if len(texts) >= most:
                raise EventError(f"more than {most:,} events in one request", code="too_large")
    raise EventError(f"not complete JSON: the list ends early, at byte {len(raw)}")


def _records(raw: bytes, start: int) -> int | None:
    """Where the list under the outermost name "records" begins."""
    if raw[start : start + 1] != b"{" or b'"records"' not in raw:
        return None
    depth = 0
    for match in _bounded(raw, start):
        mark = match[0]
        if mark in (b"[", b"{"):
            depth += 1
        elif mark in (b"]", b"}"):
            depth -= 1
        elif mark == b'"records"' and depth == 1 and (found := _LIST_FOLLOWS.match(raw, match.end())):
            return found.end()
    return None


def _bounded(raw: bytes, at: int) -> Iterator[re.Match[bytes]]:
    for count, match in enumerate(_MARKS.finditer(raw, at)):
        if count > MOST_MARKS:
            raise EventError(f"more than {MOST_MARKS:,} names, values and brackets in one request", code="too_large")
        yield match


def _unique(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    counts = Counter(name for name, _ in pairs)
    twice = next(name for name, count in counts.items() if count > 1)
    return Unusable("stands twice in one object", twice[:60] if twice.isprintable() else ascii(twice[:60])[1:-1])


def _integer(text: str, digits: int) -> Any:
    return int(text) if len(text) <= digits else Unusable(f"an integer of {len(text)} digits; at most {digits}")


def _float(text: str) -> Any:
    number = float(text)
    return number if math.isfinite(number) else Unusable("a number too large to keep")


# -- bodies without a mistake, in one pass ---------------------------------------------------------------------------


class _NotPlain(Exception):
    """There may be a mistake in it: the thorough way finds out and names it."""


def decode_list(raw: bytes, most: int) -> list[tuple[str, Any]] | None:
    """Return the events of a list, each with its text, under the usual limits; None = read it the thorough way.

    What is returned is what `split` and `decode_json` would say of it.
    """
    if len(raw) > MOST_PLAIN or raw.lstrip()[:1] != b"[":
        return None
    try:
        return list(_plain_elements(raw.decode("utf-8"), most))
    except (_NotPlain, UnicodeDecodeError):
        return None


def _plain_elements(text: str, most: int) -> Iterator[tuple[str, Any]]:
    at = _SPACE.match(text, text.index("[") + 1).end()  # type: ignore[union-attr]  # matches the empty text too
    for _ in range(most):
        value, end = _plain_at(text, at)
        yield text[at:end], value
        mark = _NEXT.match(text, end)
        if mark is None:
            raise _NotPlain
        if mark[1] is None:
            if mark.end() != len(text):
                raise _NotPlain
            return
        at = mark.end()
    raise _NotPlain


def _plain_value(text: str) -> Any:
    begin = len(text) - len(text.lstrip(" \t\n\r"))
    value, end = _plain_at(text, begin)
    if text[end:].strip(" \t\n\r"):
        raise _NotPlain
    return value


def _plain_at(text: str, at: int) -> tuple[Any, int]:
    """The value that begins there, and where it ends. Raises _NotPlain."""
    try:
        value, end = _PLAIN.raw_decode(text, at)
        _check_plain(value, text[at:end])
    except (json.JSONDecodeError, EventError, RecursionError):
        raise _NotPlain from None
    return value, end


def _check_plain(value: Any, text: str) -> None:
    """What its text shows not to be there need not be looked for. Raises EventError, _NotPlain."""
    if len(text) * 4 > LIMITS.bytes and len(text.encode()) > LIMITS.bytes:
        raise _NotPlain
    if text.count("[") + text.count("{") > LIMITS.depth and _is_deeper(value, LIMITS.depth):
        raise _NotPlain
    # A text this short holds no string that is too long and not too many values; without these escapes, no NUL and
    # no lone surrogate: the characters themselves are neither JSON nor UTF-8.
    if len(text) > LIMITS.text or "\\u0000" in text or "\\ud" in text or "\\uD" in text:
        check(value, LIMITS)


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        level = [item for item in level if isinstance(item, dict | list)]
        if not level:
            return False
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return True


def _plain_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NotPlain
    return found


def _plain_integer(text: str) -> int:
    if len(text) > LIMITS.digits:
        raise _NotPlain
    return int(text)


def _plain_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NotPlain
    return number


def _no_constant(_: str) -> None:
    raise _NotPlain


_PLAIN = json.JSONDecoder(
    object_pairs_hook=_plain_object, parse_int=_plain_integer, parse_float=_plain_float, parse_constant=_no_constant
)
_SPACE = re.compile(r"[ \t\n\r]*")
_NEXT = re.compile(r"[ \t\n\r]*(?:(,)|\])[ \t\n\r]*")


def gunzip_capped(parts: Iterable[bytes], *, most: int, ratio: int = 200) -> bytes:
    """Decompress gzip without ever holding more than `most` bytes. Raises EventError.

    `ratio` bounds output against input beyond the first megabyte: 1 MB that becomes 1 GB is refused on the way.
    """
    inflater = zlib.decompressobj(wbits=31)
    out, taken = bytearray(), 0
    try:
        for part in parts:
            taken += len(part)
            out += inflater.decompress(part, most + 1 - len(out))
            if len(out) > most or (len(out) > 1_000_000 and len(out) > taken * ratio):
                raise EventError(f"decompresses to more than {most:,} bytes, or too well", code="too_large")
    except zlib.error as error:
        raise EventError(f"not gzip: {error}") from None
    if not inflater.eof:
        raise EventError("the gzip data ends early")
    if inflater.unused_data:
        raise EventError("more data after the end of the gzip data")
    return bytes(out)
