"""What people type, read forgivingly and within limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.order_form import MOST_DIGITS, read_form
from notifier.core.orders import Action

NONCE = "abcdefgh"


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("47", "47"),
        (" 4 7 ", "47"),
        ("#47.", "47"),  # a phone adds a full stop behind two spaces
        ("٤٧", "47"),  # Arabic-Indic
        ("۴۷", "47"),  # Persian
        ("४७", "47"),  # Devanagari
        ("４７", "47"),  # full width
        ("4²", "4"),  # a digit, and not one to count with
        ("", ""),
        ("forty", ""),
    ],
)
def test_numbers_are_read_in_any_script(typed: str, read: str) -> None:
    assert read_form({"number": typed}, []).number == read


@pytest.mark.parametrize(
    ("typed", "count"),
    [
        ("12", 12),
        (" 1 2 ", 12),
        ("١٢", 12),
        ("0", 0),
        ("007", 7),
        ("", None),  # emptied: neither 0 nor the suggestion
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("1,000", None),  # a thousand here, one there
        ("1e3", None),
        ("²", None),
        ("1" * (MOST_DIGITS + 1), None),
    ],
)
def test_quantities_are_whole_numbers_or_unreadable(typed: str, count: int | None) -> None:
    form = read_form({"cases.a": typed}, ["a"])
    assert form.quantities.get("a") == count
    assert form.unreadable == (() if count is not None else ("a",))
    assert form.typed == {"a": typed}


def test_a_field_that_was_not_sent_is_no_quantity() -> None:
    form = read_form({}, ["a"])
    assert (form.quantities, form.typed, form.unreadable) == ({}, {}, ())


@pytest.mark.parametrize(
    ("reason", "own", "told"),
    [
        ("", "", ""),
        ("Too expensive", "", "Too expensive"),
        ("Too expensive", "by far", "Too expensive: by far"),
        ("", "by far", "by far"),
        ("<script>", "", "Other"),  # not one of ours
    ],
)
def test_a_reason_is_one_of_ours_and_own_words(reason: str, own: str, told: str) -> None:
    assert read_form({"reason": reason, "reason_text": own}, []).reason == told


def test_the_number_stands_in_no_repr_p10() -> None:
    assert "47" not in repr(read_form({"number": "47"}, []))


@given(
    st.dictionaries(
        st.sampled_from(
            ["action", "number", "nonce", "version", "reason", "reason_text", "name", "cases.a", "cases.b", "x"]
        ),
        st.text(max_size=400),
    )
)
def test_whatever_is_sent_reading_does_not_fail_and_stays_within_limits(fields: dict[str, str]) -> None:
    form = read_form(fields, ["a", "b"])
    assert form.action is None or form.action in Action
    assert len(form.number) <= 4 and (form.number == "" or (form.number.isascii() and form.number.isdigit()))
    assert all(0 <= count < 10**MOST_DIGITS for count in form.quantities.values())
    assert set(form.typed) == set(form.quantities) | set(form.unreadable)
    assert all(len(text) <= 20 for text in form.typed.values())
    assert "\n" not in form.reason + form.name and len(form.reason) <= 340 and len(form.name) <= 40
