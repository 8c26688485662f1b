"""`notifier preview`: what is sent, by the code that sends it, and nothing that opens or completes anything (P10)."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from notifier.core.model import EventType, Message
from notifier.core.policy import TenantPolicy
from notifier.core.rendering import PARTS
from notifier.testing import ACME, BASE_URL, alert, order, templates_folder
from tests.cli.conftest import Cli, fresh

LIVE = re.compile(r"/(?:l|s)/(?!\*+)[A-Za-z0-9_~-]+")
TYPES = list(EventType)


@pytest.fixture
def sent(cli: Cli) -> Cli:
    """An order and an alert that were routed."""
    cli.accept(fresh(order(1042)), fresh(alert(1)))
    cli.route()
    return cli


@pytest.mark.parametrize("type_", TYPES, ids=[type_.kind for type_ in TYPES])
def test_every_sample_is_shown_on_every_channel(bare: Cli, type_: EventType) -> None:
    shown = bare("preview", "--sample", type_.kind, "--json").json()
    assert {one["channel"]: set(one["parts"]) for one in shown} == {
        channel.value: set(parts) for channel, parts in PARTS.items()
    }
    assert not LIVE.search(json.dumps(shown))
    assert bare("preview", "--sample", type_.value).out


def test_the_frozen_messages_of_a_stored_event_are_shown_to_each_recipient(sent: Cli) -> None:
    shown = sent("preview", "order-1042-1", "--json").json()
    assert [(one["channel"], one["to"]) for one in shown] == [
        ("email", "owner a…@acme.example"),
        ("sms", "owner +34…22"),
        ("email", "sales_rep b…@acme.example"),
        ("callback", "endpoint erp"),
    ]
    sms = shown[1]
    assert sms["sms"]["encoding"] == "GSM-7" and sms["sms"]["segments"] <= 2
    assert f"{BASE_URL}/s/****************" in sms["parts"]["text"]
    assert "##" in sms["parts"]["text"] and "##" in shown[0]["parts"]["html"]


def test_nothing_in_a_preview_opens_or_completes_anything_p10(sent: Cli, tmp_path: Path) -> None:
    """Neither a token nor a code nor the number of the real messages, in any form of output."""
    real = [sent.system.preparation.parts(message, policy) for message, policy in _messages(sent)]
    secrets = {token for parts in real for text in parts.values() for token in re.findall(r"/[ls]/([\w~-]{16,})", text)}
    assert len(secrets) >= 3
    printed = [sent("preview", "order-1042-1", *form).out for form in ((), ("--json",), ("--part", "html"))]
    sent("preview", "order-1042-1", "--out", tmp_path / "out")
    printed += [path.read_text() for path in (tmp_path / "out").iterdir()]
    assert not [token for token in secrets for text in printed if token in text]
    assert not [text for text in printed if "alice@acme" in text or "+34600111222" in text]


def _messages(cli: Cli) -> list[tuple[Message, TenantPolicy]]:
    policy = cli.system.policies.current().tenants[ACME]
    with cli.system.store.read() as tx:
        event = tx.find_event("order-1042-1", ACME)
        assert event is not None
        return [(message, policy) for _, message in tx.frozen_messages(ACME, event.id)]


def test_a_channel_without_notification_is_shown_for_an_example(sent: Cli) -> None:
    (sms,) = sent("preview", "alert-1-open", "--channel", "sms", "--json").json()
    assert sms["to"] == "somebody who may decide"
    assert sms["parts"]["text"].startswith("Main St: Out of stock")


def test_the_preview_is_what_is_sent_but_for_links_and_number(sent: Cli) -> None:
    shown = sent("preview", "order-1042-1", "--channel", "email", "--json").json()[0]["parts"]
    message, policy = _messages(sent)[0]
    real = sent.system.preparation.parts(message, policy)
    number = sent.system.preparation.live(message, policy).number
    assert number is not None

    def masked(text: str) -> str:
        return re.sub(rf"(?<!\d){number}(?!\d)", "##", LIVE.sub("/l/****", text))

    assert shown["subject"] == real["subject"] and shown["text"] == masked(real["text"])


def test_one_part_is_printed_alone_for_a_pipe(bare: Cli) -> None:
    out = bare("preview", "--sample", "alert_opened", "--channel", "email", "--part", "subject").out
    assert out.startswith("Main St") and out.count("\n") == 1
    html = bare("preview", "--sample", "alert_opened", "--part", "html").out
    assert html.lstrip().lower().startswith("<!doctype html")
    HTMLParser().feed(html)


def test_parts_are_written_into_a_folder(sent: Cli, tmp_path: Path) -> None:
    sent("preview", "order-1042-1", "--out", tmp_path / "new" / "folder")
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "01-email.html",
        "01-email.subject.txt",
        "01-email.txt",
        "02-sms.txt",
        "03-email.html",
        "03-email.subject.txt",
        "03-email.txt",
        "04-callback.json",
    ]


def test_a_sample_speaks_in_the_name_of_the_tenant_that_is_given(cli: Cli) -> None:
    shown = cli("preview", "--sample", "alert_opened", "--channel", "email", "--tenant", "borealis", "--json").json()
    assert "Borealis Foods" in shown[0]["parts"]["html"]


def test_a_broken_template_shows_the_plain_form_and_says_where_p9(
    sent: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "templates"
    shutil.copytree(templates_folder(), folder)
    (folder / "sms" / "order_recommended.txt").write_text("{{ nothing.here }}")
    monkeypatch.setenv("NOTIFIER_TEMPLATES_DIR", str(folder))
    sent.restart()
    ran = sent("preview", "order-1042-1", "--channel", "sms", "--json", code=1)
    assert "templates/sms/order_recommended.txt" in ran.err and "the plain form is sent instead" in ran.err
    assert "1042" in ran.json()[0]["parts"]["text"] and ran.json()[0]["mistake"]


def test_wrong_usage_says_what_exists(cli: Cli) -> None:
    assert "coolr.alert.opened" in cli("preview", "--sample", "alert_opend", code=2).err
    cli("preview", code=2)
    cli("preview", "x", "--sample", "alert_opened", code=2)
    assert "has 2 samples" in cli("preview", "--sample", "alert_opened", "--variant", 9, code=2).err
    assert "no event has the id absent" in cli("preview", "absent", code=1).err
    assert (
        "no message has a part"
        in cli("preview", "--sample", "alert_opened", "--channel", "sms", "--part", "html", code=2).err
    )


def test_a_preview_needs_no_link_keys(bare: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFIER_LINK_KEYS")
    bare.restart()
    bare("preview", "--sample", "order_recommended")
