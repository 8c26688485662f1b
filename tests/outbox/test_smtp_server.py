"""The SMTP server, asked by the standard library's client and by the one the product sends with."""

from __future__ import annotations

import asyncio
import base64
import smtplib
import socket
from email.message import EmailMessage

import aiosmtplib
import pytest

from notifier.outbox.mail import LARGEST, MOST_RECIPIENTS, read_mail
from tests.outbox.conftest import RunningOutbox, Show


def letter(subject: str, text: str = "Plain words\n", html: str = "<p>Rich words</p>") -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "Acme <alerts@acme.example>", "alice@example.com"
    message["Message-ID"] = "<1@acme.example>"
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    return message


def test_a_mail_is_logged_as_the_checks_read_it(outbox: RunningOutbox) -> None:
    """demo/people.py and demo/check.py rely on these fields."""
    outbox.mail(letter("Órden 4711: Café Niño"), "bob@example.com", "charlie@example.com")
    mail = next(mail for mail in outbox.log("smtp") if "4711" in mail["subject"])
    assert mail["rcpt_tos"] == ["bob@example.com", "charlie@example.com"]
    assert mail["mail_from"] == "alerts@acme.example"
    assert mail["subject"] == "Órden 4711: Café Niño"
    assert mail["text"].strip() == "Plain words"
    assert mail["html"].strip() == "<p>Rich words</p>"
    assert ["Subject", "Órden 4711: Café Niño"] in mail["headers"]
    assert base64.b64decode(mail["raw_base64"]).startswith(b"Subject: =?utf-8?")


def test_the_library_the_product_sends_with_gets_its_mail_in(outbox: RunningOutbox) -> None:
    message = letter("by aiosmtplib")

    async def send() -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=outbox.smtp_port, start_tls=False) as client:
            for _ in range(3):  # one connection, several mails
                refused, answer = await client.send_message(
                    message, sender="a@acme.example", recipients=["dora@example.com"]
                )
                assert refused == {}
                assert "OK caught as" in answer

    asyncio.run(send())
    assert [mail["subject"] for mail in outbox.log("smtp")].count("by aiosmtplib") == 3


def test_dots_and_long_lines_arrive_as_they_were_sent(outbox: RunningOutbox) -> None:
    raw = b"Subject: dots\r\n\r\n.one\r\n..two\r\n" + b"x" * 990 + b"\r\n"
    outbox.mail(raw)
    mail = next(mail for mail in outbox.log("smtp") if mail["subject"] == "dots")
    assert base64.b64decode(mail["raw_base64"]) == raw


def test_a_mail_that_is_too_large_is_refused(outbox: RunningOutbox) -> None:
    with smtplib.SMTP("127.0.0.1", outbox.smtp_port, timeout=10) as smtp:
        with pytest.raises(smtplib.SMTPSenderRefused) as raised:  # the client says the size first
            smtp.sendmail("a@acme.example", ["b@example.com"], b"Subject: large\r\n\r\n" + b"x\r\n" * (LARGEST // 3))
        assert raised.value.smtp_code == 552


def test_the_number_of_recipients_is_bounded(outbox: RunningOutbox) -> None:
    with smtplib.SMTP("127.0.0.1", outbox.smtp_port, timeout=10) as smtp:
        smtp.ehlo()
        smtp.mail("a@acme.example")
        codes = [smtp.rcpt(f"r{number}@example.com")[0] for number in range(MOST_RECIPIENTS + 1)]
    assert codes == [250] * MOST_RECIPIENTS + [452]


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "OPTIONS"])
def test_what_a_web_page_makes_a_browser_send_is_cut_off(outbox: RunningOutbox, method: str) -> None:
    """Commands in the body of an HTTP request, as a page of another site could send them."""
    commands = (
        "EHLO x\r\nMAIL FROM:<a@evil.example>\r\nRCPT TO:<b@evil.example>\r\nDATA\r\nSubject: smuggled\r\n\r\n.\r\n"
    )
    request = f"{method} / HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://evil.example\r\n\r\n{commands}"
    with socket.create_connection(("127.0.0.1", outbox.smtp_port), timeout=10) as connection:
        connection.sendall(request.encode())
        answer = b""
        try:
            while part := connection.recv(4096):
                answer += part
        except ConnectionResetError:
            pass  # it hung up while commands were still on their way
    assert b"250" not in answer
    assert "smuggled" not in [mail["subject"] for mail in outbox.log("smtp")]


DEEP = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(3000))

UNREADABLE = [
    pytest.param(b"", id="nothing at all"),
    pytest.param(b"\x00\xff\xfe no header", id="no mail"),
    pytest.param(b"Subject: =?utf-8?b?!!!?=\r\n\r\nx", id="encoded word that is none"),
    pytest.param(b"Subject: caf\xe9 \xff\r\n\r\nx", id="raw bytes in a header"),
    pytest.param(b"Content-Type: text/plain; charset=klingon\r\n\r\n\xe9", id="unknown character set"),
    pytest.param(b"Content-Type: text/html; charset=utf-8\r\n\r\n\xed\xa0\x80", id="half a surrogate pair"),
    pytest.param(b"Content-Type: multipart/mixed; boundary=x\r\n\r\nno part", id="parts announced, none there"),
    pytest.param(b"Content-Transfer-Encoding: base64\r\n\r\n====\xff", id="broken base64"),
    pytest.param(b"From: <\r\nTo: ,;:\r\nContent-Disposition: ;;=\r\n\r\nx", id="addresses that are none"),
    pytest.param(b"Subject: deep\r\n" + DEEP, id="parts in parts in parts"),
]


@pytest.mark.parametrize("raw", UNREADABLE)
def test_what_cannot_be_read_as_a_mail_is_kept_all_the_same(raw: bytes) -> None:
    read = read_mail(raw)
    assert base64.b64decode(read["raw_base64"]) == raw
    assert read["size"] == len(raw)


def test_a_mail_nested_too_deep_shows_its_headers_at_least() -> None:
    assert read_mail(b"Subject: deep\r\n" + DEEP)["subject"] == "deep"


def test_unreadable_mails_can_be_looked_at(outbox: RunningOutbox, show: Show) -> None:
    for param in UNREADABLE:
        outbox.mail(param.values[0])  # type: ignore[arg-type]  # pytest calls it object
    for mail in outbox.log("smtp")[-len(UNREADABLE) :]:
        for view in ("html", "text", "headers"):
            assert show(f"/email/{mail['id']}?view={view}").status_code == 200
        assert show(f"/email/{mail['id']}/html").status_code == 200
    assert show("").status_code == 200


def test_attachments_are_named_with_their_size() -> None:
    message = letter("with a picture")
    message.add_attachment(b"\xff\xd8" * 50, maintype="image", subtype="jpeg", filename="cooler.jpg")
    assert read_mail(message.as_bytes())["attachments"] == [{"name": "cooler.jpg", "type": "image/jpeg", "size": 100}]
