"""Foreign text on a terminal: it can neither steer it nor imitate our own lines."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from notifier.cli.printing import block, print_json, safe, say

HOSTILE = [
    ("plain", "plain"),
    # ANSI escapes, a bell, the eight-bit CSI
    ("\x1b[31mred\x07\x9b31m", "�[31mred�" + "�31m"),
    # bidirectional overrides and isolates, zero width
    ("a\u202eb\u2066c\u200bd", "a�b�c�d"),
    # line ends of every kind would begin a line of ours
    ("a\nerror: b\r\u2028\u2029\x85c", "a�error: b����c"),
    (None, ""),
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_what_steers_a_terminal_is_replaced(text: str | None, shown: str) -> None:
    assert Text.from_markup(safe(text)).plain == shown


@given(st.text())
def test_any_text_is_printed_as_one_line_that_means_nothing_to_the_terminal(text: str) -> None:
    shown = Text.from_markup(safe(text), emoji=False)
    assert shown.spans == [] and len(shown.plain) == len(text)
    assert not [char for char in shown.plain if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp", "Cs")]


def test_markup_emoji_names_and_links_stay_text(capsys: pytest.CaptureFixture[str]) -> None:
    say(safe("[link=https://evil.example]x[/link] [bold]y [/] :100:") + "[bold]!")
    assert capsys.readouterr().out == "[link=https://evil.example]x[/link] [bold]y [/] :100:!\n"


def test_a_backslash_at_the_end_does_not_take_our_own_markup_away() -> None:
    shown = Text.from_markup(f"{safe('x' + chr(92))}[bold]y[/bold]")
    assert shown.plain == "x\\y" and len(shown.spans) == 1


def test_long_lines_are_not_broken_for_those_who_search_them(capsys: pytest.CaptureFixture[str]) -> None:
    say("word " * 60 + "end")
    assert capsys.readouterr().out.count("\n") == 1


def test_json_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "Café \x1b[31m\u202e"})
    out = capsys.readouterr().out
    assert out.isascii() and "\x1b" not in out and json.loads(out) == {"name": "Café \x1b[31m\u202e"}


def test_a_text_of_several_lines_keeps_them(capsys: pytest.CaptureFixture[str]) -> None:
    block("one\n\ttwo\x1b[31m\n[bold]")
    assert capsys.readouterr().out == "one\n\ttwo�[31m\n[bold]\n"
