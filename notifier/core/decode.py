r"""JSON from outside, read strictly: size, nesting, digits, duplicate names, NUL, lone surrogates, NaN.

RFC 8259 leaves duplicate names and lone surrogates open and forbids NaN; PostgreSQL cannot store NUL or a lone
surrogate. What fails says where: the position in the text, or the dotted path of the field. A body is cut into the
texts of its events before anything is parsed: one bad event is refused alone and kept exactly as it came (P8).
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from notifier.errors import EventError

#: A whole string (brackets inside do not count; one that never ends goes to the end of the text, or a body of quotes
#: would be searched once for each of them), a bracket or a comma.
_MARKS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{},]', re.DOTALL)
_LIST_FOLLOWS = re.compile(rb"\s*:\s*(?=\[)")
_SURROGATE = re.compile("[\ud800-\udfff]")
MOST_MARKS = 3_000_000  #: strings, brackets and commas of a body: what it costs to look through it


@dataclass(frozen=True, slots=True)
class Limits:
    """What one event may be at most."""

    bytes: int = 262_144
    depth: int = 20
    digits: int = 25  #: of an integer
    text: int = 10_000  #: characters of a string
    items: int = 20_000  #: values in all, names included


@dataclass(frozen=True, slots=True)
class Unusable:
    """Stands where a value was that cannot be used."""

    reason: str
    name: str = ""  #: the name inside the object that is meant


def decode_json(raw: bytes, *, limits: Limits | None = None) -> Any:
    """Return the JSON value. Raises EventError with the reason and, where there is one, the field."""
    limits = limits or Limits()
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
