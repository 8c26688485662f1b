"""The style sheet of mails is written into style attributes when a template is loaded."""

from __future__ import annotations

import pytest

from notifier.core.mail_styles import MailStyles

SHEET = """/* a comment */
.text { margin: 0; font-family: 'Segoe UI', Arial; }
.big { font-size: 20px; margin: 4px; }
.quoted { background: url("x.png"); }
@media (max-width: 480px) { .text { margin: 9px; } }
"""

#: (source, inlined)
INLINED = (
    ('<p class="text">x</p>', '<p class="text" style="margin: 0;font-family: \'Segoe UI\', Arial">x</p>'),
    ('<p class="unknown">x</p>', '<p class="unknown">x</p>'),
    ("<p>{{ x }} {% if a < b %}</p>", "<p>{{ x }} {% if a < b %}</p>"),  # Jinja is not touched
    ('<td align="left" class="big">', '<td align="left" class="big" style="font-size: 20px;margin: 4px">'),
    ("plain text", "plain text"),
)


@pytest.mark.parametrize(("source", "inlined"), INLINED)
def test_a_class_gets_its_rules_beside_it(source: str, inlined: str) -> None:
    assert MailStyles(SHEET).inline(source) == inlined


def test_the_later_rule_wins_when_two_classes_differ() -> None:
    style = MailStyles(SHEET).inline('<p class="text big">')
    assert "font-size: 20px" in style
    assert style.rindex("margin: 4px") > style.find("margin: 0")
    assert "9px" not in style


def test_a_class_that_depends_on_data_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match="write class names without Jinja"):
        MailStyles(SHEET).inline('<p class="{{ severity }}">')
