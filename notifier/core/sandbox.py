"""The Jinja environments: immutable sandbox, strict undefined, autoescape by extension, no operation that makes much
of little.

Jinja's sandbox caps only `range`; ``"x" * 10**8`` or ``"%0999999999d" % 1`` would still fill the memory. Templates
come from the deployment's files and data is never a template, so that these limits guard against mistakes and against
somebody who may edit a template but must not take the worker down.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound, Undefined
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

MOST_TEXT = 100_000  #: characters of any one value made inside a template
#: Filters that copy or pad without bound, reach into objects, or build markup of their own.
REMOVED_FILTERS = (
    "attr",
    "batch",
    "center",
    "format",
    "indent",
    "map",
    "pprint",
    "replace",
    "tojson",
    "urlize",
    "wordwrap",
    "xmlattr",
)
REMOVED_METHODS = {
    "center",
    "expandtabs",
    "format",
    "format_map",
    "ljust",
    "rjust",
    "translate",
    "zfill",
    "replace",
    "join",
}


class RestrictedEnvironment(ImmutableSandboxedEnvironment):
    """Refuses `*`, `**` and `%`, and methods of texts that grow them."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Numbers may be multiplied; nothing else."""
        if operator == "*" and isinstance(left, int) and isinstance(right, int) and abs(left * right) < 10**15:
            return left * right
        raise SecurityError(f"the operator {operator} is not available in templates")

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Plain data only: no attribute that begins with an underscore, no growing method."""
        if isinstance(obj, str) and attr in REMOVED_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)


class FolderLoader(BaseLoader):
    """Loads from one folder, never from outside; a source may be prepared once (inlined styles)."""

    def __init__(self, root: Path, prepare: Callable[[str, str], str] = lambda _, source: source) -> None:
        self.root = root.resolve()
        self.prepare = prepare

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """Return the template's text; always fresh, since templates are read once."""
        path = (self.root / template).resolve()
        if self.root not in path.parents or not path.is_file():
            raise TemplateNotFound(template)
        return self.prepare(template, path.read_text(encoding="utf-8")), str(path), lambda: True


def environment(loader: BaseLoader) -> Environment:
    """Return the environment for messages."""
    made = RestrictedEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=lambda name: name is not None and name.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        finalize=_printable,
        auto_reload=False,
        cache_size=400,
    )
    for name in REMOVED_FILTERS:
        made.filters.pop(name, None)
    made.globals.clear()
    made.filters["json"] = _as_json
    return made


def _as_json(value: Any) -> Markup:
    """Plain data as JSON; `</` is escaped so that it is safe inside a page too."""
    return Markup(json.dumps(value, ensure_ascii=False).replace("</", "<\\/"))  # noqa: S704  # our own JSON


def _printable(value: Any) -> Any:
    if value is None:
        raise SecurityError("a template prints None: test the value first")
    if isinstance(value, str) and len(value) > MOST_TEXT:
        raise SecurityError(f"a value longer than {MOST_TEXT:,} characters")
    if isinstance(value, (str, int, float, Undefined)) or hasattr(value, "__html__"):
        return value
    raise SecurityError(f"a template prints a {type(value).__name__}, not a text or number")
