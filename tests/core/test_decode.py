"""JSON from outside: limits, mistakes with their place, cutting a body into events, gzip."""

from __future__ import annotations

import contextlib
import gzip
import json
import time
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.decode import MOST_MARKS, Limits, decode_json, decode_list, gunzip_capped, split
from notifier.errors import EventError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


def refused(raw: bytes, limits: Limits | None = None) -> EventError:
    with pytest.raises(EventError) as error:
        decode_json(raw, limits=limits)
    return error.value


@pytest.mark.parametrize(
    ("raw", "field", "words"),
    [
        (b'{"a": {"b": [1, "\\u0000"]}}', "a.b[1]", "NUL"),
        (b'{"a\\u0000": 1}', "(name)", "NUL"),
        (b'{"a": "\\ud83d"}', "a", "surrogate"),
        (b'{"a": [NaN]}', "a[0]", "NaN"),
        (b'{"a": -Infinity}', "a", "-Infinity"),
        (b'{"a": 1e400}', "a", "too large"),
        (b'{"a": 12345678901234567890123456}', "a", "26 digits"),
        (b'{"a": {"b": 1, "b": 2}}', "a.b", "twice"),
        (b'{"b": 1, "b": 2}', "b", "twice"),
        (b'{"\\u0000": 1, "\\u0000": 2}', "\\x00", "twice"),
        (b'{"a": "' + b"x" * 10_001 + b'"}', "a", "10,000 characters"),
        (b"[" * 21 + b"]" * 21, None, "20 levels"),
        (b'{"a": ', None, "not complete JSON"),
        (b'{"a": "\xff"}', None, "not UTF-8 (byte 7)"),
        (b"", None, "not complete JSON"),
        (b'"' + b"x" * 300_000 + b'"', None, "262,144 bytes"),
        (b"[" + b"1," * 70_000 + b"1]", None, "20,000 values"),
    ],
)
def test_a_mistake_has_its_place_and_its_reason(raw: bytes, field: str | None, words: str) -> None:
    error = refused(raw)
    assert (error.field, words in error.reason) == (field, True), error


def test_brackets_inside_of_strings_do_not_count() -> None:
    assert decode_json(json.dumps(["[" * 100, '\\"[', "{"]).encode()) == ["[" * 100, '\\"[', "{"]


def test_a_body_of_escaped_quotes_costs_no_more_than_its_length() -> None:
    began = time.process_time()
    refused(b'\\"' * 2_000_000, Limits(bytes=10_000_000))
    assert time.process_time() - began < 2


def test_names_by_the_thousand_with_one_twice_are_counted_once() -> None:
    names = ",".join(f'"n{number % 9_000}":1' for number in range(9_001))
    began = time.process_time()
    assert refused(f"{{{names}}}".encode()).field == "n0"
    assert time.process_time() - began < 1


@given(VALUES)
def test_what_python_writes_is_read_back(value: Any) -> None:
    if "\0" not in repr(value) and "\\x00" not in repr(value):
        assert decode_json(json.dumps(value).encode()) == value


@given(st.lists(VALUES, max_size=6), st.sampled_from(["", " ", "\n\t"]))
def test_a_list_is_cut_into_the_texts_of_its_values(values: list[Any], space: str) -> None:
    texts = [json.dumps(value) for value in values]
    raw = f"{space}[{space}{f'{space},{space}'.join(texts)}{space}]{space}".encode()
    assert [text.decode().strip() for text in split(raw, 100) or []] == texts
    wrapped = b'{"totalRecords": 1, "x": ["records"], "records" : ' + raw.strip() + b', "y": {"records": []}}'
    assert [text.decode().strip() for text in split(wrapped, 100) or []] == texts


TEXTS = st.one_of(
    VALUES.map(json.dumps),
    VALUES.map(lambda value: json.dumps(value, ensure_ascii=False)),
    st.text('[]{},":\\ a1', max_size=20),
    st.sampled_from(
        [
            '{"a": 1, "a": 2}',
            "NaN",
            "1e400",
            "1" * 26,
            '"\\ud83d"',
            '"\\uDEAD"',
            '"\\u0000"',
            '"\\\\u0000"',
            '"\x00"',
            "[" * 20 + "]" * 20,
            "[" * 21 + "]" * 21,
            "[" * 2000 + "]" * 2000,
            json.dumps("[" * 30),
            json.dumps([[]] * 30),
            json.dumps("x" * 10_000),
            json.dumps("x" * 10_001),
            json.dumps(["é" * 9_000] * 20, ensure_ascii=False),
            json.dumps([1] * 20_001),
            "",
        ]
    ),
)


@given(st.lists(TEXTS, max_size=4), st.sampled_from(["", " ", "\n\t"]), st.sampled_from(["]", "", "]]", "] 1"]))
def test_the_short_way_says_what_the_thorough_way_says_or_nothing_p8(texts: list[str], space: str, end: str) -> None:
    raw = f"{space}[{space}{f'{space},{space}'.join(texts)}{space}{end}{space}".encode("utf-8", "surrogatepass")
    found = decode_list(raw, 3)
    if found is not None:
        thorough = split(raw, 3) or []
        assert [text.encode() for text, _ in found] == [text.strip() for text in thorough]
        # Limits that are not the very default make decode_json count and look everywhere.
        assert [value for _, value in found] == [decode_json(text, limits=Limits()) for text in thorough]


def test_what_is_without_mistake_goes_the_short_way() -> None:
    events = [{"data": {"name": "Calle Núñez", "lines": [{"sku": str(number)} for number in range(40)]}}] * 2
    for text in (json.dumps(events), json.dumps(events, ensure_ascii=False), json.dumps(events, indent=2)):
        assert [value for _, value in decode_list(text.encode(), 10) or []] == events


@given(st.binary(max_size=60) | st.text('[]{},":\\ a', max_size=60).map(str.encode))
def test_whatever_comes_the_answer_is_texts_none_or_a_reason(raw: bytes) -> None:
    for call in (lambda: split(raw, 10), lambda: decode_json(raw)):
        with contextlib.suppress(EventError):  # anything else would be an answer 500
            call()


@pytest.mark.parametrize(
    ("raw", "texts"),
    [
        (b'{"specversion": "1.0"}', None),  # one event
        (b'{"data": {"records": [1]}}', None),  # records of somebody else
        (b'{"records": 5}', None),
        (b"5", None),
        (b"[1,,2,]", [b"1", b"", b"2", b""]),  # each hole is an event that is no JSON
    ],
)
def test_what_is_a_list_and_what_is_one_event(raw: bytes, texts: list[bytes] | None) -> None:
    assert split(raw, 10) == texts


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[1", "ends early"),
        (b'["a', "ends early"),
        (b"[1] 2", "after the list"),
        (b"[1,2,3,4]", "more than 3 events"),
        (b'{"records": [1], "a": }', "not complete JSON"),
        (b"[" * (MOST_MARKS + 2), "more than"),
    ],
)
def test_a_list_that_cannot_be_cut_says_why(raw: bytes, words: str) -> None:
    with pytest.raises(EventError) as error:
        split(raw, 3)
    assert words in error.value.reason


def test_gzip_is_read_in_parts_and_never_beyond_the_cap() -> None:
    packed = gzip.compress(b"hello" * 1000)
    assert gunzip_capped([packed[:9], packed[9:]], most=5000) == b"hello" * 1000


@pytest.mark.parametrize(
    ("packed", "code", "words"),
    [
        (gzip.compress(b"x" * 5001, mtime=0), "too_large", "5,000"),
        (gzip.compress(b"x" * 99, mtime=0)[:-3], "invalid", "ends early"),
        (b"plain", "invalid", "not gzip"),
        (zlib.compress(b"x"), "invalid", "not gzip"),
        (gzip.compress(b"a", mtime=0) + gzip.compress(b"b", mtime=0), "invalid", "after the end"),
    ],
)
def test_gzip_that_cannot_be_used_says_why(packed: bytes, code: str, words: str) -> None:
    with pytest.raises(EventError) as error:
        gunzip_capped([packed], most=5000)
    assert (error.value.code, words in error.value.reason) == (code, True)


def test_what_packs_too_well_is_refused_long_before_the_cap() -> None:
    with pytest.raises(EventError) as error:
        gunzip_capped([gzip.compress(b"\0" * 30_000_000)], most=50_000_000)
    assert error.value.code == "too_large"
