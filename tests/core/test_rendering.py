"""Rendering: a pure function of message and live values, capped, with a plain form for when a template fails (P9)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from notifier.core import samples
from notifier.core.model import ChannelName, EventType, Message
from notifier.core.rendering import CAPS, MASKED_NUMBER, Live, Templates, masked
from notifier.errors import RenderError

FOLDER = Path(__file__).parents[2] / "templates"
LIVE = Live({"order": "https://orders.example/l/secret-token", "image": "https://orders.example/l/other"}, "47")


def message(channel: ChannelName = ChannelName.EMAIL) -> Message:
    """The sample order."""
    return samples.message(next(iter(samples.facts(EventType.ORDER_RECOMMENDED))), channel)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the templates, to break."""
    for name in ("email", "sms"):
        shutil.copytree(FOLDER / name, tmp_path / name)
    (tmp_path / "callback").mkdir()
    return tmp_path


def test_rendering_is_a_function_of_message_and_live_values_alone() -> None:
    assert Templates(FOLDER).render(message(), LIVE) == Templates(FOLDER).render(message(), LIVE)


def test_live_values_stand_in_the_parts_and_in_no_repr_p10() -> None:
    assert "secret-token" in Templates(FOLDER).render(message(), LIVE)["html"]
    assert "secret" not in repr(LIVE)
    assert "47" not in repr(LIVE)


def test_masked_values_are_as_long_as_the_real_ones_and_open_nothing_p10() -> None:
    shown = masked(message(ChannelName.SMS))
    assert shown.urls["order"] == "https://link.invalid/s/****************"
    assert shown.number == MASKED_NUMBER
    assert masked(message()).urls["order"].endswith("/l/****")
    assert masked(samples.message(next(iter(samples.facts(EventType.ALERT_CLOSED))), ChannelName.EMAIL)).number is None


#: (what is wrong with the template, its text, what the operator is told)
BROKEN = (
    ("not closed", "{% if order %}", "line 1: Unexpected end of template"),
    ("a misspelt name", "{{ order.nmber }}", "UndefinedError: 'dict object' has no attribute 'nmber'"),
    ("endless", "{% for a in why.text %}" * 3 + "{% endfor %}" * 3,
     "loops inside each other"),
    ("endless macros", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
    ("huge", "x" * 60_000, "60,001 characters, at most 50,000"),
    ("huge by loops", "{% for a in why.text %}{% for b in why.text %}" + "x" * 9_000 + "{% endfor %}{% endfor %}",
     "SecurityError: more than 1,500,000 characters printed"),
    ("nothing", "{% if false %}x{% endif %}\n", "printed nothing"),
    ("arithmetic", "{{ 1 + 1 }}", "line 1: + is not available in templates"),
    ("a missing include", "{% include 'email/_nothing.txt' %}", "TemplateNotFound"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "told"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_broken_template_is_named_and_replaced_by_the_plain_form_p9(folder: Path, text: str, told: str) -> None:
    (folder / "email/order_recommended.txt").write_text(text)
    templates = Templates(folder)
    with pytest.raises(RenderError) as caught:
        templates.render(message(), LIVE)
    assert str(caught.value).startswith("templates/email/order_recommended.txt: ")
    assert told in str(caught.value)
    plain = templates.fallback(message(), LIVE)
    assert set(plain) == {"subject", "html", "text"}
    assert "Main St · Order 1042" in plain["subject"]


def test_a_missing_template_and_one_that_is_no_text_are_named_too_p9(folder: Path) -> None:
    (folder / "email/order_recommended.html").unlink()
    with pytest.raises(RenderError, match=r"email/order_recommended\.html: TemplateNotFound"):
        Templates(folder).render(message(), LIVE)
    (folder / "email/order_recommended.html").write_bytes(b"\xff\xfe")
    with pytest.raises(RenderError, match=r"email/order_recommended\.html: line 1: .*utf-8"):
        Templates(folder).render(message(), LIVE)


def test_a_class_that_depends_on_data_is_explained(folder: Path) -> None:
    (folder / "email/order_recommended.html").write_text('<p class="{{ order.number }}">x</p>')
    with pytest.raises(RenderError, match="write class names without Jinja"):
        Templates(folder).render(message(), LIVE)


#: Mistakes whose own error would quote what stands in the message.
QUOTING = (
    "{{ links.order() }}",
    "{{ links.order.token }}",
    "{{ links[links.order] }}",
    "{{ links.order.format(1) }}",
    "{{ links.order < 1 }}",
    "{{ links }}",
    "{{ links.order[number] }}",
    "{% include links.order %}",
    "{{ links.order|nothing }}",
)


@pytest.mark.parametrize("text", QUOTING)
def test_no_error_quotes_a_link_or_a_number_p10(folder: Path, text: str) -> None:
    (folder / "email/order_recommended.txt").write_text(text)
    with pytest.raises(RenderError) as caught:
        Templates(folder).render(message(), LIVE)
    assert "secret-token" not in str(caught.value)
    assert "47" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_subject_is_one_line_and_capped(folder: Path) -> None:
    subject = folder / "email/order_recommended.subject.txt"
    subject.write_text("Order\r\nBcc: x@example.com\n\n  {{ order.number }}\n")
    assert Templates(folder).render(message(), LIVE)["subject"] == "Order Bcc: x@example.com 1042"
    subject.write_text("x" * (CAPS["subject"] + 1))
    with pytest.raises(RenderError, match="201 characters, at most 200"):
        Templates(folder).render(message(), LIVE)


def test_the_text_part_has_no_trailing_spaces_and_no_gaps(folder: Path) -> None:
    (folder / "email/order_recommended.txt").write_text("\n\n a  \n\n\n\n\nb\n\n")
    assert Templates(folder).render(message(), LIVE)["text"] == "a\n\nb\n"


def test_an_sms_is_one_line_in_gsm_and_not_longer_than_three_segments(folder: Path) -> None:
    sms = folder / "sms/order_recommended.txt"
    sms.write_text("Store – “{{ outlet.name }}” 🎉\n  ok")
    assert Templates(folder).render(message(ChannelName.SMS), LIVE)["text"] == 'Store - "Main St" ok'
    sms.write_text("x" * 460)
    with pytest.raises(RenderError, match=r"4 segments \(GSM-7\), at most 3"):
        Templates(folder).render(message(ChannelName.SMS), LIVE)
    sms.write_text("ж" * 269)
    with pytest.raises(RenderError, match=r"5 segments \(UCS-2\), at most 4"):
        Templates(folder).render(message(ChannelName.SMS), LIVE)


#: (template, what is wrong with it)
PAYLOADS = (
    ("[1]", "not a JSON object"),
    ("{", "not JSON"),
    ('{"a": NaN}', "not JSON"),
    ('{"a": {{ type }}}', "tojson"),
)


@pytest.mark.parametrize(("text", "told"), PAYLOADS)
def test_a_payload_that_is_no_json_object_never_leaves(folder: Path, text: str, told: str) -> None:
    (folder / "callback/order_recommended.payload.json").write_text(text)
    with pytest.raises(RenderError, match=told):
        Templates(folder).render(message(ChannelName.CALLBACK), LIVE)


def test_a_payload_can_be_reshaped_by_a_deployment(folder: Path) -> None:
    shape = '{"order": {{ data.order_number|tojson }}, "cases": [{% for line in data.lines %}' + (
        "{{ line.suggested_cases|tojson }}{% if not loop.last %},{% endif %}{% endfor %}]}"
    )
    (folder / "callback/order_recommended.payload.json").write_text(shape)
    made = Templates(folder).render(message(ChannelName.CALLBACK), LIVE)
    assert json.loads(made["payload"]) == {"order": "1042", "cases": [12, 20, 6]}


def test_the_hash_changes_with_every_file_that_the_message_depends_on(folder: Path) -> None:
    before = Templates(folder).hash("order_recommended", ChannelName.EMAIL)
    assert Templates(folder).hash("order_recommended", ChannelName.EMAIL) == before
    for name in ("_layout.html", "_dark.css", "_style.css", "_parts.html", "_parts.txt", "_foot.txt"):
        file = folder / "email" / name
        file.write_text(file.read_text() + "\n")
        after = Templates(folder).hash("order_recommended", ChannelName.EMAIL)
        assert after != before, name
        before = after
    (folder / "email/alert_opened.txt").write_text("other")
    assert Templates(folder).hash("order_recommended", ChannelName.EMAIL) == before


def test_the_hash_of_a_broken_or_missing_template_is_no_error_p9(folder: Path) -> None:
    (folder / "email/order_recommended.txt").write_text("{% if")
    (folder / "email/order_recommended.html").unlink()
    (folder / "email/order_recommended.subject.txt").write_text("{{ " + "(" * 5000)
    assert len(Templates(folder).hash("order_recommended", ChannelName.EMAIL)) == 16


def test_a_folder_without_templates_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="no templates in"):
        Templates(tmp_path)


def test_the_check_names_every_broken_template_once(folder: Path) -> None:
    (folder / "sms/alert_closed.txt").write_text("{{ alert.titel }}")
    (folder / "email/image_processed.html").write_text("{% block")
    mistakes = Templates(folder).check(samples.messages())
    assert [mistake.split(":")[0] for mistake in mistakes] == [
        "templates/email/image_processed.html",
        "templates/sms/alert_closed.txt",
    ]
