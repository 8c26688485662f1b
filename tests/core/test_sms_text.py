"""SMS text: GSM-7 where nothing is lost, and segments as carriers bill them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.sms_text import EXTENSION, GSM, MOST_SEGMENTS, Segments, fits, segments, to_gsm

#: (text, as it goes out)
WRITTEN = (
    ("Order 1042: 38 cases", "Order 1042: 38 cases"),
    ("São Paulo, Łódź, Çeşme", "Sao Paulo, Lodz, Çesme"),  # accents that GSM-7 lacks go, those it has stay
    ("Müller ñandú à è é ß", "Müller ñandu à è é ß"),
    ("“Main St” – it’s 9.2 °C…", '"Main St" - it\'s 9.2 C...'),  # typography in plain signs
    ("A · B", "A - B"),
    ("12\u202f000\u00a0€", "12 000 €"),
    ("🎉 Party 🎉 Store 😀", " Party  Store "),  # emoji would cost 70 characters a segment
    ("👨\u200d👩\u200d👧 family", " family"),
    ("½ price ①②", "1/2 price 12"),
    ("ﬁne", "fine"),
    ("متجر 🎉 الرياض", "متجر  الرياض"),  # another script stays whole, without emoji
    ("Москва", "Москва"),
    ("Αθήνα", "Αθήνα"),  # half of it is in GSM-7, which would leave half a word
    ("東京店", "東京店"),
    ("`code`", "code"),
    ("", ""),
)


@pytest.mark.parametrize(("text", "written"), WRITTEN)
def test_text_goes_out_in_the_cheap_alphabet_unless_that_loses_letters(text: str, written: str) -> None:
    assert to_gsm(text) == written


#: (text, encoding, units, segments): 3GPP TS 23.038 and 23.040
COUNTED = (
    ("", "GSM-7", 0, 1),
    ("a" * 160, "GSM-7", 160, 1),
    ("a" * 161, "GSM-7", 161, 2),
    ("a" * 306, "GSM-7", 306, 2),
    ("a" * 307, "GSM-7", 307, 3),
    ("€" * 80, "GSM-7", 160, 1),  # two septets each
    ("€" * 81, "GSM-7", 162, 2),
    ("a" * 152 + "€" + "a" * 153, "GSM-7", 307, 3),  # a pair is not split: one septet of the first is lost
    ("ж" * 70, "UCS-2", 70, 1),
    ("ж" * 71, "UCS-2", 71, 2),
    ("ж" * 134, "UCS-2", 134, 2),
    ("ж" * 135, "UCS-2", 135, 3),
    ("😀" * 35, "UCS-2", 70, 1),
    ("😀" * 36, "UCS-2", 72, 2),
    ("ж" * 66 + "😀" + "ж" * 67, "UCS-2", 135, 3),  # nor is a surrogate pair
)


@pytest.mark.parametrize(("text", "encoding", "units", "count"), COUNTED)
def test_segments_are_counted_as_they_are_billed(text: str, encoding: str, units: int, count: int) -> None:
    assert segments(text) == Segments(encoding, units, count)


@given(st.text(max_size=400))
def test_writing_twice_is_writing_once(text: str) -> None:
    assert to_gsm(to_gsm(text)) == to_gsm(text)


@given(st.text(alphabet=st.characters(codec="latin-1"), max_size=300))
def test_west_european_text_always_goes_out_cheaply(text: str) -> None:
    letters = "".join(char for char in text if char.isprintable())
    assert segments(to_gsm(letters)).encoding == "GSM-7"


@given(st.text(alphabet=sorted((GSM | EXTENSION) - {"`"}), max_size=400))
def test_what_the_alphabet_has_keeps_its_length(text: str) -> None:
    assert segments(text).encoding == "GSM-7"
    assert segments(text).units == len(text) + sum(char in EXTENSION for char in text)


@given(st.text(max_size=600))
def test_more_text_never_costs_less(text: str) -> None:
    size = segments(text)
    each = 153 if size.encoding == "GSM-7" else 67
    assert size.count >= -(-size.units // (each + 7))
    assert segments(text + "a").count >= size.count
    assert fits(size) == (size.count <= MOST_SEGMENTS[size.encoding])
