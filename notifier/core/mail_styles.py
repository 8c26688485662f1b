"""Writes the style sheet of mails into style attributes, once, when a template is loaded.

Templates are pieces (macros, blocks inside tables), which an HTML parser would tear apart. So css-inline is asked, for
each distinct class attribute, what it comes to, and the answer is written beside the class; Jinja's own syntax is not
touched. Only class selectors can be inlined this way; what needs @media stays in the head (email/_dark.css).
"""

from __future__ import annotations

import html
import re

import css_inline

_CLASS = re.compile(r'(<[a-z][a-z0-9]*\b[^<>]*?)\sclass="([^"]*)"', re.IGNORECASE)
_STYLE = re.compile(r'style="([^"]*)"')


class MailStyles:
    """The style sheet, ready to be written into templates."""

    def __init__(self, sheet: str) -> None:
        self._inliner = css_inline.CSSInliner(
            extra_css=sheet, inline_style_tags=False, load_remote_stylesheets=False, keep_at_rules=False
        )
        self._known: dict[str, str] = {}

    def inline(self, source: str) -> str:
        """Return the source with a style attribute beside each class attribute that has rules.

        Raises ValueError for a class attribute that is not plain text: its styles would depend on the data.
        """
        return _CLASS.sub(self._written, source)

    def _written(self, match: re.Match[str]) -> str:
        before, classes = match[1], match[2]
        if "{" in classes:
            raise ValueError(f"class={classes!r}: write class names without Jinja, and if around the whole tag")
        style = self._style(classes)
        return f'{before} class="{classes}"' + (f' style="{style}"' if style else "")

    def _style(self, classes: str) -> str:
        if classes not in self._known:
            probe = self._inliner.inline(f'<p class="{html.escape(classes)}"></p>')
            found = _STYLE.search(probe)
            self._known[classes] = found[1].strip().rstrip(";") if found else ""
        return self._known[classes]
