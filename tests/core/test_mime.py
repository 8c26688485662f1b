"""A mail of ours, read back by the standard library, says what was put in; nothing in it can forge a header."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.mime import HeaderError, build, envelope, mailbox

WHEN = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def mail(**parts: Any) -> bytes:
    """A mail that differs from an ordinary one in these."""
    ordinary: dict[str, Any] = {
        "sender": "Coolr <alerts@acme.example>",
        "to": "alice@example.test",
        "subject": "Main St - order 1042",
        "text": "text",
        "html": "<p>html</p>",
        "message_id": "<0193585d@notify.example>",
        "date": WHEN,
    }
    return build(**(ordinary | parts))


def parsed(raw: bytes) -> EmailMessage:
    """As the standard library reads it."""
    found = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def bodies(message: EmailMessage) -> dict[str, str]:
    """Its parts by type, with line ends as they were written."""
    return {part.get_content_type(): part.get_content().replace("\r\n", "\n") for part in message.iter_parts()}


line = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=200)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=400)


@given(subject=line, plain=text, html=text, value=line)
def test_what_was_put_in_comes_back(subject: str, plain: str, html: str, value: str) -> None:
    message = parsed(mail(subject=subject, text=plain, html=html, headers=[("X-Coolr-Type", value)]))
    assert message["Subject"] == subject
    assert message["X-Coolr-Type"] == value
    assert bodies(message) == {"text/plain": plain, "text/html": html}
    assert message.defects == []


@given(name=line)
def test_a_senders_name_comes_back_and_moves_no_address(name: str) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    raw = email.message_from_bytes(mail(sender=f'"{quoted}" <alerts@acme.example>'))["From"]
    shown, address = parseaddr(str(raw))
    # (the newer header parser of Python 3.11 puts a space between encoded words, which RFC 2047 forbids)
    assert (str(make_header(decode_header(shown))).split(), address) == (name.split(), "alerts@acme.example")
    assert [found.addr_spec for found in parsed(mail(sender=f'"{quoted}" <a@b.test>'))["From"].addresses] == [
        "a@b.test"
    ]


@given(subject=line, plain=text)
def test_every_line_is_ascii_and_short_enough_for_any_server(subject: str, plain: str) -> None:
    raw = mail(subject=subject, text=plain)
    assert raw.isascii()
    assert raw.replace(b"\r\n", b"").count(b"\n") == raw.replace(b"\r\n", b"").count(b"\r") == 0
    head = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert all(len(one) <= 998 for one in raw.split(b"\r\n"))
    assert all(one.strip() for one in head), "a folded line of blanks ends the header for some readers"


@pytest.mark.parametrize("bad", ["a\r\nBcc: mallory@example.test", "a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("place", ["subject", "sender", "to", "reply_to", "message_id", "headers"])
def test_a_line_break_or_nul_in_a_header_is_refused(place: str, bad: str) -> None:
    value: Any = [("X-Coolr-Type", bad)] if place == "headers" else bad
    if place in ("sender", "to", "reply_to"):
        value = f"{bad} <alice@example.test>"
    with pytest.raises(HeaderError):
        mail(**{place: value})


@pytest.mark.parametrize("name", ["X-A\r\nBcc", "X A", "X:A", "Ä"])
def test_a_header_name_has_plain_letters_only(name: str) -> None:
    with pytest.raises(HeaderError):
        mail(headers=[(name, "value")])


def test_a_boundary_written_into_the_text_divides_nothing() -> None:
    boundary = parsed(mail()).get_boundary()
    message = parsed(mail(text=f"--{boundary}--\n\nSubject: forged"))
    assert bodies(message)["text/plain"].startswith(f"--{boundary}--")
    assert len(list(message.iter_parts())) == 2


@pytest.mark.parametrize("subject", ["word " * 300, "x" * 990, "ü" * 900, "=?utf-8?q?forged?=", "a  b   c ", "\t\x07"])
def test_long_and_odd_subjects_come_back_whole(subject: str) -> None:
    assert parsed(mail(subject=subject))["Subject"] == subject


def test_half_a_character_is_replaced_and_costs_no_mail() -> None:
    message = parsed(mail(subject="a\ud83d", text="b\ud83d"))
    assert message["Subject"] == "a?"
    assert bodies(message)["text/plain"] == "b?"


@pytest.mark.parametrize(
    ("written", "shown", "bare"),
    [
        ("alice@example.test", "alice@example.test", "alice@example.test"),
        ("Coolr <a@example.test>", '"Coolr" <a@example.test>', "a@example.test"),
        # special characters are quoted
        ('"Böhm, Sons" <a@example.test>', "=?utf-8?b?QsO2aG0sIFNvbnM=?= <a@example.test>", "a@example.test"),
        ('"Smith, \\"Jo\\"" <a@example.test>', '"Smith, \\"Jo\\"" <a@example.test>', "a@example.test"),
        # a name that looks like an address stays a name
        ('"ceo@bank.example" <a@example.test>', '"ceo@bank.example" <a@example.test>', "a@example.test"),
        # internationalised domains: as the registries write them today (IDNA 2008)
        ("a@bücher.example", "a@xn--bcher-kva.example", "a@xn--bcher-kva.example"),
        ("a@straße.example", "a@xn--strae-oqa.example", "a@xn--strae-oqa.example"),
        # a local part with a quote in it
        ('"a b"@example.test', None, None),
        ("o'neil+x@example.test", "o'neil+x@example.test", "o'neil+x@example.test"),
    ],
)
def test_a_mailbox_is_written_for_headers_and_bare_for_the_envelope(
    written: str, shown: str | None, bare: str | None
) -> None:
    if shown is None:
        with pytest.raises(HeaderError):
            mailbox(written)
        return
    assert (mailbox(written), envelope(written)) == (shown, bare)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "nobody",
        "@example.test",
        "a@",
        "a@b@c",
        "a@x.test, b@x.test",
        "a@x.test b@x.test",
        "jürgen@x.test",
        "a@-.test",
    ],
)
def test_what_is_not_one_mailbox_is_refused(written: str) -> None:
    with pytest.raises(HeaderError):
        envelope(written)


def test_machines_are_told_that_a_machine_wrote_it() -> None:
    message = parsed(mail())
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime == WHEN
