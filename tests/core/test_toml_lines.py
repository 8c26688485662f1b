"""A mistake is pointed at with the line of its key or of the nearest thing around it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.toml_lines import Lines

TEXT = '''\
# a comment with name = "x"
[tenants.acme]
name = "Acme"
help.phone = "1"
'quoted' = 2
text = """
[tenants.trap]
name = "not here"
"""
default = [
  { to = "carried" },
]

[[tenants.acme.rules]]
name = "one"
[tenants.acme.rules.when]
type = ["a"]

[[tenants.acme.rules]] # the second
name = "two"
when = { value_below = 1 }

[tenants."b-co"]
name = "B"
[[tenants."b-co".rules]]
name = "three"
'''

FOUND = [
    ("tenants.acme", 2),
    ("tenants.acme.name", 3),
    # a dotted key, and the table it makes
    ("tenants.acme.help.phone", 4),
    ("tenants.acme.help", 4),
    ("tenants.acme.quoted", 5),
    # what only looks like a table stands inside a long text: the nearest is the file's beginning
    ("tenants.trap", 1),
    # entries of a list are found at the list
    ("tenants.acme.default[0]", 10),
    ("tenants.acme.rules[0]", 14),
    ("tenants.acme.rules[0].name", 15),
    # a table inside the last entry
    ("tenants.acme.rules[0].when.type", 17),
    ("tenants.acme.rules[1]", 19),
    # inside an inline table
    ("tenants.acme.rules[1].when.value_below", 21),
    # what is missing is found at what should hold it
    ("tenants.acme.rules[1].send", 19),
    ("tenants.b-co.name", 24),
    ("tenants.b-co.rules[0].name", 26),
    # nothing like it
    ("elsewhere", 1),
    ("", 1),
]


@pytest.mark.parametrize(("path", "line"), FOUND)
def test_a_path_is_found_at_its_line(path: str, line: int) -> None:
    assert Lines(TEXT).find(path) == line


def test_windows_line_ends_do_not_move_lines() -> None:
    assert Lines(TEXT.replace("\n", "\r\n")).find("tenants.acme.rules[1].name") == 20


@given(st.text(alphabet="[]\"'=.#\n ab\\\t\x0c\u2028", max_size=120), st.text(alphabet="ab.[]0", max_size=12))
def test_any_text_and_path_have_some_line_of_the_text(text: str, path: str) -> None:
    assert 1 <= Lines(text).find(path) <= max(1, text.count("\n") + 1)
