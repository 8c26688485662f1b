"""Foreign text stays data: one visible line, nothing clickable, none of our lines (issue outcome 5, P9's neighbour)."""

from __future__ import annotations

import re
import unicodedata

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notifier.core.clean import OUR_WORDS, clean, clean_key, defang, one_line

#: What a mail client or phone would make clickable; written apart from the code under test.
SITE = re.compile(r"(?i)\b[a-z0-9-]+[.。．｡][a-z]{2,}\b")
SCHEME = re.compile(r"(?i)\b[a-z]+://|\b(?:mailto|tel|sms|javascript|data):\S")
ADDRESS = re.compile(r"\S[@＠]\S")
IP = re.compile(r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b")

#: (what a sender writes, what people see)
SHOWN = (
    ("Cola Zero 500 ml", "Cola Zero 500 ml"),  # the ordinary case stays as it is
    ("S. Pellegrino 1.5 l", "S. Pellegrino 1.5 l"),
    ("Müller & Söhne (Köln)", "Müller & Söhne (Köln)"),
    ("متجر الرياض", "متجر الرياض"),  # another script is no attack
    ("http://evil.example/pay", "http[:]//evil[.]example/pay"),
    ("HTTPS://EVIL.EXAMPLE", "HTTPS[:]//EVIL[.]EXAMPLE"),
    ("hxxp://evil.example", "hxxp[:]//evil[.]example"),  # any scheme before two slashes
    ("www.evil.example", "www[.]evil[.]example"),
    ("//evil.example", "//evil[.]example"),  # some clients link a host without a scheme
    ("Shop.com", "Shop. com"),  # a space behind the dot is enough, and reads better
    ("evil。com", "evil. com"),  # dots that resolvers read as one
    ("кока.рф", "кока. рф"),
    ("write to a@b.example", "write to a[at]b[.]example"),
    ("a＠b.example", "a[at]b[.]example"),
    ("javascript:alert(1)", "javascript[:]alert(1)"),
    ("mailto:x", "mailto[:]x"),
    ("[link=https://evil.example]", "[link=https[:]//evil[.]example]"),
    ("see 10.0.0.1 now", "see 10[.]0[.]0[.]1 now"),
    ("call +34 600 123 456", "call +34_600_123_456"),
    ("call 600\u2011123\u2011456", "call 600_123_456"),  # with non-breaking hyphens
    ("600123456", "600_123_456"),
    ("best before 2026-11-27", "best before 2026-11-27"),  # a date is no phone number
    ("27.11.2026", "27.11.2026"),
    ("{{7*7}} {% raw %} ${7*7}", "{{7*7}} {% raw %} ${7*7}"),  # data is never a template
    ("a\r\nBcc: x", "a Bcc: x"),
    ("a\u2028b\u0085c\td", "a b c d"),  # separators and controls
    ("\u202egnp.exe", "gnp. exe"),  # right-to-left override
    ("a\u200bb\u2066c\ufeffd", "abcd"),  # zero width, isolates, byte order mark
    ("x\u115f\u2800y", "xy"),  # letters that show nothing
    ("a\x00b", "ab"),
    ("é" + "\u0301" * 50, "é" + "\u0301" * 4),  # stacks of marks cover the lines around them
    ("Your number for this order: 11", "[…] for this order[:] 11"),
    ("YOUR  NUMBER", "[…]"),
    ("Yоur number: 11", "[…][:] 11"),  # the o is Cyrillic
    ("Ｙｏｕｒ ｎｕｍｂｅｒ: 11", "[…][:] 11"),  # full width
    ("Y\u0301our n\u0335umber: 11", "[…][:] 11"),  # with marks
    ("My number is: 22", "My number is[:] 22"),
    ("Answer by Monday", "[…] Monday"),
    ("answer byte", "answer byte"),
    ("If nobody answers, all is ordered", "[…], all is ordered"),
    ("", ""),
    ("   ", ""),
)


@pytest.mark.parametrize(("written", "shown"), SHOWN)
def test_people_see_foreign_text_as_plain_words(written: str, shown: str) -> None:
    assert clean(written) == shown


@pytest.mark.parametrize("words", OUR_WORDS)
def test_no_name_can_say_what_our_own_lines_say(words: str) -> None:
    assert words not in clean(f"Cola. {words.title()} 11").lower()
    assert words not in clean(words.replace(" ", " \u200b ")).lower()


CLICKABLE = st.sampled_from(
    [
        "http://",
        "https://",
        "www.",
        "evil.com",
        "a@b.io",
        "+34 600 123 456",
        "600-123-456",
        "1.2.3.4",
        "tel:",
        "。",
        ".",
        "@",
        "/",
        ":",
        " ",
        "\u200b",
        "\u202e",
        "\n",
        "xn--p1ai",
        "рф",
    ]
)
FOREIGN = st.lists(st.one_of(CLICKABLE, st.text(max_size=8)), max_size=12).map("".join)


@given(FOREIGN)
@example("a.b@c.d")
@example("http:http://x.co")
@example("1.1.1.1.1.1")
@example("ht\u200btp://x.co")
def test_nothing_clickable_survives(text: str) -> None:
    shown = clean(text)
    assert not SITE.search(shown)
    assert not SCHEME.search(shown)
    assert not ADDRESS.search(shown)
    assert not IP.search(shown)


@given(FOREIGN)
@example("+34 600 123 456")
@example("(600) 123.456/7")
def test_no_phone_finds_a_number_to_call(text: str) -> None:
    found = list(phonenumbers.PhoneNumberMatcher(clean(text), "ES", leniency=phonenumbers.Leniency.VALID))
    assert [match.raw_string for match in found] == []


@given(st.text(), st.integers(min_value=1, max_value=60))
def test_the_result_is_one_visible_line_within_its_cap(text: str, most: int) -> None:
    shown = clean(text, most)
    assert len(shown) <= most
    assert len(shown.splitlines()) <= 1
    assert shown == shown.strip()
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@given(FOREIGN)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_plain_text_without_risky_signs_stays_as_it_is(text: str) -> None:
    quiet = " ".join(re.sub(r"[.:@/\\0-9_]", "", text).split())
    if not any(words in quiet.lower() for words in ("number", "answer", "order", "picture", "you get", "what")):
        assert clean(quiet) == quiet


#: (key as sent, key as shown)
KEYS = (
    ("1042", "1042"),
    ("5449000131805", "5449000131805"),  # people compare it with the label
    ("CLR-20817", "CLR-20817"),
    ("ES_1001-b", "ES_1001-b"),
    ("a.example", "a. example"),  # not plain any more
    ("+34 600 123 456", "+34_600_123_456"),
    ("1042\n", "1042"),
)


@pytest.mark.parametrize(("written", "shown"), KEYS)
def test_a_plain_key_is_shown_as_it_was_sent(written: str, shown: str) -> None:
    assert clean_key(written) == shown


def test_a_huge_text_is_cut_before_any_work_is_done() -> None:
    assert len(clean("http://x.co " * 1_000_000, 50)) <= 50
    assert one_line("x" * 10_000_000, 5) == "xxxx…"


def test_shortening_leaves_no_half_letter() -> None:
    """A mark without its letter would sit on the ellipsis."""
    assert one_line("ab" + "n\u0323\u0308" * 3, 4) == "ab…"


def test_text_without_anything_risky_is_handed_back_untouched() -> None:
    text = "Cola Zero"
    assert defang(text) is text
