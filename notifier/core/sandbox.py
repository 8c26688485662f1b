"""The Jinja environments of messages: an immutable sandbox in which a template can only place values.

Jinja's own sandbox caps only `range`; ``"x" * 10**8`` or ``"%0999999999d" % 1`` would still fill the memory. So
templates do no arithmetic, build no texts, lists, tuples or dicts, reach no method, and call nothing but macros. What
they print is counted while they print it, and so is every run of a loop, macro, block or included file, with the fixed
text in it. Templates come from the deployment's files and data is never a template: these
limits guard against mistakes, and against somebody who may edit a template but must not take the worker down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import (
    BaseLoader,
    Environment,
    StrictUndefined,
    TemplateNotFound,
    TemplateSyntaxError,
    nodes,
    pass_context,
)
from jinja2.environment import TemplateModule
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, _escape_inner, escape  # type: ignore[attr-defined]

from notifier.core.template_code import MessageCode

escaped: Callable[[str], str] = _escape_inner  #: what escape() does to a text; it makes a Markup of the answer too

MOST_SOURCE = 100_000  #: characters of a template file
MOST_PRINTED = 1_500_000  #: characters that one rendering prints, macros counted again at each level
MOST_STEPS = 20_000  #: runs of a loop's body, a macro, a block or a file in one rendering
DEEPEST_LOOP = 2
FILTERS = ("count", "default", "e", "escape", "first", "last", "length", "lower", "tojson", "trim", "upper")
TESTS = ("defined", "undefined", "none", "odd", "even", "eq", "ne", "lt", "le", "gt", "ge", "in")

#: What could make much of little, or hide what a template uses.
_REFUSED: dict[type[nodes.Node], str] = {
    nodes.Add: "+",
    nodes.Sub: "-",
    nodes.Mul: "*",
    nodes.Div: "/",
    nodes.FloorDiv: "//",
    nodes.Mod: "%",
    nodes.Pow: "**",
    nodes.Concat: "~",
    nodes.List: "a list",
    nodes.Dict: "a dict",
    nodes.ScopedEvalContextModifier: "autoescape",
    nodes.EvalContextModifier: "autoescape",
}


#: Names that Jinja gives a macro beside its arguments: a way to build nested tuples.
_REFUSED_NAMES = ("varargs", "kwargs")
_SPEND = "spend the budget"  #: the filter that counts a run; a template cannot write this name


class _Spent:
    """What one rendering has printed and run so far."""

    __slots__ = ("printed", "steps")

    def __init__(self) -> None:
        self.steps = 0
        self.printed = 0

    def refuse(self) -> NoReturn:
        """Say which limit was passed."""
        if self.steps > MOST_STEPS:
            raise SecurityError(f"more than {MOST_STEPS:,} runs of loops, macros and files")
        raise SecurityError(f"more than {MOST_PRINTED:,} characters printed")


_spent: ContextVar[_Spent | None] = ContextVar("spent", default=None)


def _count(length: int, steps: int = 0) -> None:
    spent = _spent.get()
    if spent is not None:
        spent.steps += steps
        spent.printed += length
        if spent.printed > MOST_PRINTED or spent.steps > MOST_STEPS:
            spent.refuse()


# Both filters take the context only so that Jinja does not work them out while compiling, where nothing is counted.


@pass_context
def _spend(_: Context, length: int) -> str:
    """Count one run of a body, and the fixed text in it."""
    _count(length, steps=1)
    return ""


@pass_context
def _tojson(context: Context, value: Any) -> Markup:
    """Write a value as JSON; each time doubles the backslashes, so the length counts."""
    policies = context.environment.policies
    text = htmlsafe_json_dumps(value, **policies["json.dumps_kwargs"])
    _count(len(text))
    return text


# Both run for every value of every message, and so count for themselves: a call of _count costs as much as the rest.


def _shown_in_html(value: Any) -> str:
    """Return what a template prints of a value; a macro's output is text of the template already."""
    kind = type(value)
    if kind is str or kind is Markup:
        spent = _spent.get()
        if spent is not None:
            spent.printed += len(value)
            if spent.printed > MOST_PRINTED:
                spent.refuse()
        return escaped(value) if kind is str else value
    return str(value) if kind is int else escape(_printable(value))


def _shown_in_text(value: Any) -> str:
    """The same, where nothing is escaped."""
    if type(value) is str or type(value) is Markup:
        spent = _spent.get()
        if spent is not None:
            spent.printed += len(value)
            if spent.printed > MOST_PRINTED:
                spent.refuse()
        return value
    return str(value) if type(value) is int else str(_printable(value))


class RestrictedEnvironment(ImmutableSandboxedEnvironment):
    """Refuses while compiling what no message needs, and counts while rendering."""

    code_generator_class = MessageCode
    shown_in_html = staticmethod(_shown_in_html)
    shown_in_text = staticmethod(_shown_in_text)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if len(source) > MOST_SOURCE:
            raise TemplateSyntaxError(f"longer than {MOST_SOURCE:,} characters", 1, name, filename)
        tree = super()._parse(source, name, filename)
        _refuse(tree, name)
        _count_runs(tree, self)
        return tree

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Look into the context's plain dicts; of objects only a loop's counters and a file's macros are in reach."""
        if type(obj) is dict:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        if isinstance(obj, (LoopContext, TemplateModule)) and not attribute.startswith("_"):
            return super().getattr(obj, attribute)
        return self.unsafe_undefined(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Subscript plain data; never an attribute under another name."""
        if isinstance(obj, (dict, list, str)):
            try:
                return obj[argument]
            except (TypeError, LookupError):
                return self.undefined(obj=obj, name=argument)
        return self.unsafe_undefined(obj, str(argument))

    def call(self, context: Context, called: Any, /, *args: Any, **named: Any) -> Any:
        """Call a macro, and nothing else. Jinja's own refusal would quote the value, which may be a live link (P10)."""
        if isinstance(called, StrictUndefined):  # calling what is undefined raises its own error
            return called()
        if type(called) is not Macro:
            raise SecurityError(f"a template calls a {type(called).__name__}: only macros can be called")
        named.pop("_block_vars", None)  # Jinja's own, for functions that take the context
        named.pop("_loop_vars", None)
        return called(context.eval_ctx, *args, **named)


class FolderLoader(BaseLoader):
    """Loads from one folder, never from outside; a source may be prepared once (inlined styles)."""

    def __init__(self, root: Path, prepare: Callable[[str, str], str] = lambda _, source: source) -> None:
        self.root = root.resolve()
        self.prepare = prepare

    def path(self, template: str) -> Path:
        """Where a template lies. Raises TemplateNotFound for one that is missing or outside, links followed."""
        path = (self.root / template).resolve()
        if "\0" in template or self.root not in path.parents or not path.is_file():
            raise TemplateNotFound(template)
        return path

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """Return the template's text; it counts as fresh for good, since templates are read once."""
        path = self.path(template)
        try:
            return self.prepare(template, path.read_text(encoding="utf-8")), str(path), lambda: True
        except ValueError as error:  # UnicodeDecodeError is one
            raise TemplateSyntaxError(str(error), 1, template) from None


def environment(loader: BaseLoader) -> Environment:
    """Return the environment for messages: strict undefined, escaped in .html files, whatever else they are called."""
    made = RestrictedEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=lambda name: name is None or name.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        finalize=_printable,
        auto_reload=False,
        cache_size=-1,
    )
    made.filters = {name: made.filters[name] for name in FILTERS} | {"tojson": _tojson, _SPEND: _spend}
    made.tests = {name: made.tests[name] for name in TESTS}
    made.globals.clear()
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": False, "allow_nan": False}
    return made


def printed(made: Environment, name: str, context: Mapping[str, Any]) -> str:
    """Render one template under the limits. Raises what Jinja raises, SecurityError for a limit."""
    token = _spent.set(_Spent())
    try:
        return made.get_template(name).render(context)
    finally:
        _spent.reset(token)


def _printable(value: Any) -> Any:
    """Texts and numbers are printed and counted; None, a list or an object is a mistake of the template."""
    if isinstance(value, str):
        _count(len(value))
        return value
    if type(value) in (int, float) or isinstance(value, StrictUndefined):  # printing an undefined raises its own error
        return value
    raise SecurityError(f"a template prints a {type(value).__name__}: test the value first")


def _refuse(tree: nodes.Template, name: str | None) -> None:
    for node in tree.find_all(nodes.Node):
        if reason := _refusal(node):
            raise TemplateSyntaxError(reason, node.lineno, name)
    _refuse_deep_loops(tree, 0, name)
    if name is not None and name.endswith(".json"):
        _refuse_bare_values(tree, name)


def _refusal(node: nodes.Node) -> str:
    """Why a template may not contain this; "" when it may."""
    match node:
        case nodes.Include() | nodes.Import() | nodes.FromImport() | nodes.Extends():
            return "" if isinstance(node.template, nodes.Const) else "a file is used by its plain name only"
        case nodes.Getitem():  # a name from data would stand in the error (P10)
            return "" if isinstance(node.arg, nodes.Const) else "look things up by a fixed name or number"
        case nodes.Name():
            return f"{node.name} is not available in templates" if node.name in _REFUSED_NAMES else ""
        case nodes.Tuple():
            return "a tuple is not available in templates" if node.ctx == "load" else ""
        case nodes.For():
            return "a loop goes over one list, once" if node.test is not None or node.recursive else ""
    return f"{_REFUSED[type(node)]} is not available in templates" if type(node) in _REFUSED else ""


def _count_runs(tree: nodes.Template, environment: Environment) -> None:
    """Let every body that can run more than once count its runs and its fixed text."""
    bodies = (nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block)
    for owner in [tree, *tree.find_all(bodies)]:
        body: list[nodes.Node] = owner.body  # type: ignore[attr-defined]  # all five have one
        spend = nodes.Filter(nodes.Const(_fixed_text(body)), _SPEND, [], [], None, None)
        body.insert(0, nodes.ExprStmt(spend, lineno=owner.lineno, environment=environment))
        spend.set_environment(environment)


def _fixed_text(body: list[nodes.Node]) -> int:
    """Characters of fixed text in a body, those of bodies inside it once too."""
    found = (node for part in body for node in (part, *part.find_all(nodes.TemplateData)))
    return sum(len(node.data) for node in found if isinstance(node, nodes.TemplateData))


def _refuse_deep_loops(node: nodes.Node, depth: int, name: str | None) -> None:
    for child in node.iter_child_nodes():
        inside = depth + isinstance(child, nodes.For)
        if inside > DEEPEST_LOOP:
            raise TemplateSyntaxError(f"loops inside each other: {DEEPEST_LOOP} at most", child.lineno, name)
        _refuse_deep_loops(child, inside, name)


def _refuse_bare_values(tree: nodes.Template, name: str) -> None:
    """In a .json file every value is printed by tojson, so that data cannot end a string."""
    for output in tree.find_all(nodes.Output):
        for value in output.nodes:
            safe = isinstance(value, nodes.TemplateData) or (isinstance(value, nodes.Filter) and value.name == "tojson")
            if not safe:
                raise TemplateSyntaxError("print values with |tojson in a .json file", value.lineno, name)
