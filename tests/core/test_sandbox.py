"""The sandbox of templates: they place values and can do nothing else, whatever is written in them (P9)."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import DictLoader, Environment, StrictUndefined, TemplateError, TemplateNotFound
from jinja2.exceptions import SecurityError
from markupsafe import escape

from notifier.core.sandbox import DEEPEST_LOOP, MOST_PRINTED, MOST_SOURCE, FolderLoader, environment, printed

CONTEXT: dict[str, Any] = {
    "store": "Main St",
    "bad": '"><script>alert(1)</script>{{ 7*7 }}',
    "long": "x" * 400,
    "count": 3,
    "nothing": None,
    "items": [{"name": "a"}] * 30,
    "nested": {"items": "shadow", "name": "inner"},
}


def show(source: str, name: str = "t.txt", **others: str) -> str:
    """Render one template beside others."""
    return printed(environment(DictLoader({name: source, **others})), name, CONTEXT)


# -- what templates can do -----------------------------------------------------------------------------------


def test_values_loops_conditions_macros_and_includes_work() -> None:
    source = (
        "{% from 'm.txt' import twice %}{% include 'i.txt' %} {{ twice(store) }}"
        "{% for item in items %}{% if loop.first %} {{ item.name }}{% endif %}{% endfor %} {{ items|length }}"
        " {{ nested.items }}{% if nested.missing is defined %}!{% endif %} {{ store|upper }}"
    )
    others = {"m.txt": "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}", "i.txt": "{{ count }}"}
    assert show(source, **others) == "3 Main StMain St a 30 shadow MAIN ST"


def test_html_is_escaped_and_text_is_not() -> None:
    assert "<script>" not in show("{{ bad }}", "t.html")
    assert "&lt;script&gt;" in show("{% set x %}{{ bad }}{% endset %}{{ x }}", "t.html")
    assert show("{{ bad }}", "t.txt") == CONTEXT["bad"]


def test_data_is_never_a_template() -> None:
    assert show("{{ bad }}").endswith("{{ 7*7 }}")


def test_json_files_print_values_by_tojson_only() -> None:
    assert json.loads(show('{"a": {{ bad|tojson }}}', "t.json")) == {"a": CONTEXT["bad"]}
    with pytest.raises(TemplateError, match="tojson"):
        show('{"a": "{{ bad }}"}', "t.json")


# -- what they print is what Jinja prints ----------------------------------------------------------------------

VALUES: tuple[str, ...] = ("store", "bad", "count", "nested.name", "nested['items']", "bad|upper", "items|length")
VALUES += ("m(bad)", "m(nested.name)", "loop.index", "item.name", "'<'", "set_here", "item", "missing", "nested.no")
AROUND = (
    "{% if store %}…{% endif %}",
    "{% if nested.no is defined %}!{% elif bad in long or not count %}?{% else %}…{% endif %}",
    "{% for item in items %}{% if loop.first %}…{% endif %}{% endfor %}",
    "{% for item in items %}…{% endfor %}",
    "{% set set_here %}…{% endset %}",
    "{% call n() %}…{% endcall %}",
    "{% block b %}…{% endblock %}",
)
PIECES = st.recursive(
    st.just("<b>") | st.sampled_from(VALUES).map(lambda value: f"{{{{ {value} }}}}"),
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(st.sampled_from(AROUND), inner).map(lambda both: both[0].replace("…", both[1]))
    ),
    max_leaves=6,
).filter(lambda body: body.count("{% for") <= DEEPEST_LOOP)


def printed_or_refused(made: Environment, name: str) -> str:
    """What comes out, or the kind of error."""
    try:
        return made.get_template(name).render(CONTEXT)
    except TemplateError as error:
        return type(error).__name__


@given(PIECES, st.sampled_from(["t.html", "t.txt"]))
def test_what_is_allowed_prints_what_jinja_prints(body: str, name: str) -> None:
    macros = "{% macro m(x) %}<i>{{ x }}</i>{% endmacro %}{% macro n() %}{{ caller() }}{% endmacro %}"
    files = DictLoader({name: f"{{% from 'm{name}' import m, n %}}{body}", f"m{name}": macros})
    usual = Environment(loader=files, undefined=StrictUndefined, autoescape=name.endswith(".html"))
    ours, theirs = (printed_or_refused(made, name) for made in (environment(files), usual))
    assert ours in (theirs, "SecurityError")  # a list, a dict or a truth is not printed


@given(st.text() | st.integers() | st.floats())
def test_a_value_is_escaped_as_markupsafe_does_it(value: str | float) -> None:
    made = environment(DictLoader({"t.html": "{{ value }}", "t.txt": "{{ value }}"}))
    assert printed(made, "t.html", {"value": value}) == str(escape(value))
    assert printed(made, "t.txt", {"value": value}) == str(value)


# -- what they cannot ----------------------------------------------------------------------------------------

DOUBLING = "".join(f"{{% macro m{n}() %}}{{{{ m{n + 1}() }}}}{{{{ m{n + 1}() }}}}{{% endmacro %}}" for n in range(40))
FILES = {f"f{n}.txt": f"{{% include 'f{n + 1}.txt' %}}{{% include 'f{n + 1}.txt' %}}" for n in range(40)}

#: (name, template): each must be refused, quickly and without filling the memory
ATTACKS = (
    ("repeat a text", "{{ 'x' * 10**8 }}"),
    ("a power", "{{ 9**9**9 }}"),
    ("printf width", "{{ '%0999999999d' % 1 }}"),
    ("format filter", "{{ '%0999999999d'|format(1) }}"),
    ("format method", "{{ '{:>999999999}'.format(1) }}"),
    ("format_map", "{{ '{a}'.format_map(nested) }}"),
    ("center filter", "{{ 'x'|center(10000000) }}"),
    ("center method", "{{ store.center(10000000) }}"),
    ("ljust", "{{ store.ljust(10000000) }}"),
    ("zfill", "{{ store.zfill(10000000) }}"),
    ("replace", "{{ long.replace('x', long) }}"),
    ("replace filter", "{{ long|replace('x', long) }}"),
    ("join filter", "{{ long|join(long) }}"),
    ("indent", "{{ 'a\\nb'|indent(10000000) }}"),
    ("wordwrap", "{{ long|wordwrap(1, wrapstring=long) }}"),
    ("batch", "{{ items|batch(10000000, 'x')|list }}"),
    ("range", "{% for x in range(10**9) %}{% endfor %}"),
    ("lipsum", "{{ lipsum(100000) }}"),
    ("cycler", "{{ cycler('a').next() }}"),
    ("namespace", "{% set ns = namespace(a=1) %}{{ ns.a }}"),
    ("add", "{{ long + long }}"),
    ("concatenate", "{{ long ~ long }}"),
    ("a list", "{{ [1]|length }}"),
    ("a dict", "{{ {'a': 1}|length }}"),
    ("a tuple that doubles", "{% set a = ('x', 'x') %}{% set a = (a, a) %}{{ a|tojson }}"),
    ("varargs that double", "{% macro m() %}{{ varargs|tojson }}{% endmacro %}{{ m(1, 2) }}"),
    ("kwargs", "{% macro m() %}{{ kwargs|tojson }}{% endmacro %}{{ m(a=1) }}"),
    ("tojson that doubles backslashes", "{{ '\"'" + "|tojson" * 60 + " }}"),
    ("the same by set", "{% set a = '\"' %}" + "{% set a = a|tojson %}" * 60 + "{{ a }}"),
    ("a text that doubles", "{% set a = long %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 60 + "{{ a }}"),
    (
        "loops in loops in loops",
        "{% for a in items %}{% for b in items %}{% for c in items %}{% endfor %}" * 1 + "{% endfor %}{% endfor %}",
    ),
    ("a recursive loop", "{% for a in items recursive %}{{ loop(items) }}{% endfor %}"),
    ("a loop over a long text", "{% set a %}" + "{{ long }}" * 3000 + "{% endset %}{% for c in a %}{% endfor %}"),
    ("a loop that filters silently", "{% for c in long if c == 'y' %}{% endfor %}"),
    ("loops that print nothing", "{% for a in long %}{% for b in long %}{% endfor %}{% endfor %}"),
    ("fixed text in loops", "{% for a in items %}{% for b in items %}" + "x" * 50_000 + "{% endfor %}{% endfor %}"),
    ("a macro without end", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
    ("macros that double", DOUBLING + "{% macro m40() %}{% endmacro %}{{ m0() }}"),
    (
        "a macro that prints fixed text",
        "{% macro m() %}"
        + "x" * 50_000
        + "{% endmacro %}{% for a in items %}{% for b in items %}{{ m() }}{% endfor %}{% endfor %}",
    ),
    ("an include of itself", "{% include 't.txt' %}"),
    ("includes that double", "{% include 'f0.txt' %}"),
    ("extends itself", "{% extends 't.txt' %}"),
    ("a block in itself", "{% block a %}{{ self.a() }}{% endblock %}"),
    ("super of nothing", "{% block a %}{{ super() }}{% endblock %}"),
    ("class", "{{ store.__class__ }}"),
    ("class by subscript", "{{ store['__class__'] }}"),
    ("mro", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    ("attr filter", "{{ store|attr('__class__') }}"),
    ("map attribute", "{{ items|map(attribute='__class__')|list }}"),
    ("globals of a macro", "{% macro m() %}{% endmacro %}{{ m.__globals__ }}"),
    ("a macro's own attributes", "{% macro m() %}{% endmacro %}{{ m.name }}"),
    ("the loop's environment", "{% for a in items %}{{ loop._iterator }}{% endfor %}"),
    ("the loop's methods", "{% for a in items %}{{ loop.cycle('a', 'b') }}{% endfor %}"),
    ("self", "{{ self._TemplateReference__context }}"),
    ("a method of a text", "{{ store.upper() }}"),
    ("a method of a list", "{{ items.append(1) }}"),
    ("a method of a dict", "{{ nested.pop('name') }}"),
    ("change a value", "{% set nested.name = 'x' %}"),
    ("safe filter", "{{ bad|safe }}"),
    ("switch escaping off", "{% autoescape false %}{{ bad }}{% endautoescape %}"),
    ("a missing name", "{{ storee }}"),
    ("a missing key", "{{ nested.nam }}"),
    ("print none", "{{ nothing }}"),
    ("print a list", "{{ items }}"),
    ("print a dict", "{{ nested }}"),
    ("print a truth", "{{ store == 'x' }}"),
    ("look up by a name from data", "{{ nested[store] }}"),
    ("call a value", "{{ store() }}"),
    ("a file by a name from data", "{% include store %}"),
    ("a file outside", "{% include '../secret.txt' %}"),
    ("a missing file", "{% include 'missing.txt' %}"),
    ("not closed", "{% if store %}"),
    ("deep parentheses", "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}"),
    ("deep ifs", "{% if store %}" * 200 + "x" + "{% endif %}" * 200),
    ("too long a file", "x" * (MOST_SOURCE + 1)),
    ("too much printed", "{{ long }}" * (MOST_PRINTED // 400 + 1)),
)


@pytest.mark.parametrize("source", [row[1] for row in ATTACKS], ids=[row[0] for row in ATTACKS])
def test_a_template_that_does_more_than_place_values_is_refused_p9(source: str) -> None:
    began = time.monotonic()
    with pytest.raises(Exception) as caught:  # rendering catches them all alike
        show(source, **FILES, **{"f40.txt": ""})
    assert time.monotonic() - began < 5
    assert not isinstance(caught.value, MemoryError)


SAFE_WORDS: tuple[str, ...] = (
    "if",
    "for",
    "in",
    "set",
    "store",
    "items",
    "{{",
    "}}",
    "{%",
    "%}",
    "*",
    "~",
    "+",
    "(",
    ")",
    "[",
    "]",
    "|",
)
SAFE_WORDS += ("loop", "endfor", "endif", "tojson", "length", ".", "__class__", "'x'", "10", "**", "macro", "m", ",")


@given(st.lists(st.sampled_from(SAFE_WORDS), max_size=25).map(" ".join))
def test_whatever_is_written_ends_soon_in_text_or_in_an_error_p9(source: str) -> None:
    text = ""
    with contextlib.suppress(TemplateError, TypeError, RecursionError, SyntaxError):
        text = show(source)
    assert len(text) <= MOST_PRINTED
    assert "<class" not in text


def test_the_budget_is_one_renderings_own() -> None:
    made = environment(DictLoader({"t.txt": "{{ long }}" * 2000}))
    assert {len(printed(made, "t.txt", CONTEXT)) for _ in range(5)} == {800_000}


def test_a_limit_is_told_in_words_a_person_can_act_on() -> None:
    with pytest.raises(SecurityError, match="more than 20,000 runs of loops"):
        show("{% for a in long %}{% for b in long %}{% endfor %}{% endfor %}")


# -- the folder ----------------------------------------------------------------------------------------------


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    inside = tmp_path / "templates"
    inside.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    made = environment(FolderLoader(inside))
    for name in ("../secret.txt", "link.txt", str(tmp_path / "secret.txt"), "a\0b", "", "."):
        with pytest.raises((TemplateNotFound, ValueError)):
            printed(made, name, {})


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TemplateError, match="utf-8"):
        printed(environment(FolderLoader(tmp_path)), "t.txt", {})
