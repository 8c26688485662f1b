"""Mails as a client reads them: well formed, nothing loaded, one button, styles in place, made for Outlook too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from xml.etree import ElementTree as ET

import html5lib
import pytest

from notifier.core import samples
from notifier.core.model import ChannelName, EventType
from tests.templates.messages import FOLDER, IDS, SAMPLES, facts, live, mail, parts

EVERY = pytest.mark.parametrize(("type_", "index"), SAMPLES, ids=IDS)
LOADING = ("src", "srcset", "background", "poster", "data", "action", "formaction", "codebase", "ping")
NEVER = (
    "style",
    "link",
    "script",
    "img",
    "iframe",
    "object",
    "embed",
    "form",
    "input",
    "button",
    "video",
    "svg",
    "base",
)


def tree(type_: EventType, index: int = 0) -> ET.Element:
    """Parse strictly: every mistake of the markup is an error."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    parsed: ET.Element = parser.parse(mail(type_, index)["html"])
    return parsed


def links(page: ET.Element) -> Iterator[tuple[str, str, str]]:
    """(class, href, text) of each link."""
    for link in page.iter("a"):
        yield link.get("class", ""), link.get("href", ""), "".join(link.itertext())


@EVERY
def test_the_markup_has_no_mistake_and_loads_nothing(type_: EventType, index: int) -> None:
    page = tree(type_, index)
    assert {element.tag for element in page.iter()}.isdisjoint(set(NEVER) - {"style"})
    assert [
        name for element in page.iter() for name in element.attrib if name in LOADING or name.startswith("on")
    ] == []
    assert "url(" not in mail(type_, index)["html"]
    assert "@import" not in mail(type_, index)["html"]


@EVERY
def test_there_is_one_button_and_its_words_say_where_it_leads(type_: EventType, index: int) -> None:
    wanted = live(samples.message(facts(type_, index), ChannelName.EMAIL)).urls
    buttons = [(href, text) for class_, href, text in links(tree(type_, index)) if "btn-link" in class_]
    words = {"order": "See the order", "image": "See the picture", "opportunity": "See what was missed"}
    first = next(iter(wanted), None)
    assert buttons == ([(wanted[first], words[first])] if first else [])


@EVERY
def test_every_link_is_ours_the_help_phone_or_the_help_address(type_: EventType, index: int) -> None:
    ours = set(live(samples.message(facts(type_, index), ChannelName.EMAIL)).urls.values())
    found = {href for _, href, _ in links(tree(type_, index))}
    assert found == ours | {"tel:+34600000000", "mailto:help@acme.example"}


@EVERY
def test_a_rule_that_carries_no_links_leaves_none(type_: EventType, index: int) -> None:
    shown = mail(type_, index, links=False, may_act=False)
    assert "http" not in shown["text"]
    assert "http" not in shown["html"]
    assert "do not open the link" not in shown["text"]


@EVERY
def test_every_class_that_has_rules_carries_them_and_every_style_is_small(type_: EventType, index: int) -> None:
    styled = [element for element in tree(type_, index).iter() if element.get("class")]
    assert [element.get("class") for element in styled if not element.get("style")] == []
    assert len(mail(type_, index)["html"].encode()) < 30_000  # Gmail cuts a mail at 102 kB


@EVERY
def test_outlook_gets_its_own_width_colours_and_padding(type_: EventType, index: int) -> None:
    shown = mail(type_, index)["html"]
    assert shown.count("<!--[if mso]>") == shown.count("<![endif]-->") == 3
    assert 'width="600"' in shown
    cells = [element for element in tree(type_, index).iter() if element.get("class") in ("page", "card", "btn")]
    assert [cell.tag for cell in cells if cell.tag in ("table", "td") and not cell.get("bgcolor")] == []
    assert shown.count("mso-padding-alt") == shown.count('class="btn"')


@EVERY
def test_the_preheader_comes_first_and_is_a_sentence_of_its_own(type_: EventType, index: int) -> None:
    body = tree(type_, index).find("body")
    assert body is not None
    first = body[0]
    assert first.get("class") == "preheader"
    text = "".join(first.itertext())
    assert 15 < len(text) <= 250
    assert not text.startswith("Main St")


@EVERY
def test_layout_tables_are_marked_and_data_tables_have_headings(type_: EventType, index: int) -> None:
    for table in tree(type_, index).iter("table"):
        headings = [cell.get("scope") for cell in table.iter("th")] if "lines" in table.get("class", "") else []
        assert (table.get("role") == "presentation") is (not headings)
        assert set(headings) <= {"col"}


@EVERY
def test_headings_and_language_are_there_for_screen_readers(type_: EventType, index: int) -> None:
    page = tree(type_, index)
    assert page.get("lang") == "en"
    assert len(list(page.iter("h1"))) == 1
    title = page.find("head/title")
    assert title is not None
    assert (title.text or "").count(" · ") == 1


def test_the_product_table_adds_up_for_the_eye() -> None:
    page = tree(EventType.ORDER_RECOMMENDED)
    table = next(table for table in page.iter("table") if "lines" in table.get("class", ""))
    rows = [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
    assert rows[0] == ["Product", "Cases", "Price"]
    assert rows[-1] == ["Total", "38", "411.52 EUR"]
    assert [row[1] for row in rows[1:-1]] == ["12", "20", "6"]


def _contrast(one: str, other: str) -> float:
    """WCAG 2 contrast of two colours."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


#: (text, background) as the sheets pair them: light, then dark
PAIRS = (
    ("#1a2233", "#ffffff"),
    ("#5b6575", "#ffffff"),
    ("#5b6575", "#f2f4f7"),
    ("#ffffff", "#1257c9"),
    ("#1257c9", "#f2f4f7"),
    ("#a61b12", "#fdecea"),
    ("#7a4a05", "#fff4dc"),
    ("#134f9c", "#e8f1fd"),
    ("#0a5c36", "#e3f6ea"),
    ("#eef1f6", "#1a2130"),
    ("#eef1f6", "#262f42"),
    ("#b3bccb", "#1a2130"),
    ("#b3bccb", "#0f1420"),
    ("#ffffff", "#2f6fe4"),
    ("#8fb8ff", "#0f1420"),
    ("#ffc9c3", "#4a1d1a"),
    ("#ffdf9e", "#45320f"),
    ("#c5dcff", "#17335c"),
    ("#b4eccb", "#123d28"),
)


def test_every_colour_can_be_read_in_light_and_dark() -> None:
    assert [pair for pair in PAIRS if _contrast(*pair) < 4.5] == []


def test_the_table_of_colours_is_the_one_in_use() -> None:
    sheets = "".join((FOLDER / "email" / name).read_text() for name in ("_style.css", "_dark.css"))
    borders = {"#e4e7ec", "#313a4d"}
    assert {colour for pair in PAIRS for colour in pair} == set(re.findall(r"#[0-9a-f]{6}", sheets)) - borders


def test_two_kinds_never_look_the_same_in_a_list_of_mails() -> None:
    subjects = sorted(mail(type_)["subject"] for type_ in EventType)
    assert [pair for pair in pairwise(subjects) if pair[0] == pair[1]] == []
    assert all(parts(samples.message(facts(type_), ChannelName.EMAIL))["subject"] for type_ in EventType)
