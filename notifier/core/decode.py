r"""JSON from outside, read strictly: size, nesting, digits, duplicate names, NUL, lone surrogates, NaN.

RFC 8259 leaves duplicate names and lone surrogates open and forbids NaN; PostgreSQL cannot store NUL or a lone
surrogate. What fails says where: the position in the text, or the dotted path of the field. A mistake that concerns
one value only is kept in its place as `Unusable`, so that in a batch only its own event is refused.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from notifier.errors import EventError

#: A whole string (brackets inside do not count), or one bracket.
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a document may be at most."""

    bytes: int = 10_000_000
    depth: int = 20
    digits: int = 25  #: of an integer
    text: int = 10_000  #: characters of a string
    items: int = 50_000  #: values in all


@dataclass(frozen=True, slots=True)
class Unusable:
    """Stands where a value was that cannot be used."""

    reason: str


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
    _check_depth(raw, limits.depth)
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
            raise EventError(item.reason, path)
        if isinstance(item, str):
            _check_text(item, path, limits.text)


def _check_text(text: str, path: str, most: int) -> None:
    if len(text) > most:
        raise EventError(f"longer than {most:,} characters", path)
    if "\x00" in text:
        raise EventError("holds a NUL character", path)
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
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


def _check_depth(raw: bytes, most: int) -> None:
    """Count brackets outside of strings before parsing: a deep document must not cost a deep stack."""
    depth = 0
    for match in _BRACKETS.finditer(raw):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
            if depth > most:
                raise EventError(f"nested deeper than {most} levels", code="too_deep")
        elif token in (b"]", b"}"):
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    return Unusable(f"the name {twice[:60]!r} stands twice in one object")


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
    return bytes(out)
