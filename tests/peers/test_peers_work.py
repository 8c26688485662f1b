"""Each peer, asked once for what the other tests rely on."""

from __future__ import annotations

import json
import smtplib
import socketserver
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from email.message import EmailMessage

import psycopg
import pytest
import sqlalchemy
from playwright.sync_api import Browser

from tests.peers.mail import Postfix, Sink
from tests.peers.policy import require_peer
from tests.peers.process import answers


def _mail(recipient: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "alerts@acme.example"
    mail["To"] = recipient
    mail["Subject"] = "Main St — door open"
    mail.set_content("Please close it.")
    return mail


def test_postfix_delivers_over_starttls_with_a_certificate_a_client_can_check(postfix: Postfix) -> None:
    with smtplib.SMTP("localhost", postfix.port, timeout=10) as client:
        client.starttls(context=postfix.trust)
        client.send_message(_mail("alice@example.test"))
    [mail] = postfix.wait_for("alice@example.test")
    assert mail["Subject"] == "Main St — door open"
    assert "alice@example.test" in postfix.log


@pytest.mark.parametrize(
    ("recipient", "code"),
    [("full@example.test", 452), ("gone@example.com", 550), ("later@example.test", 450)],
)
def test_postfix_refuses_these_recipients_at_rcpt(postfix: Postfix, recipient: str, code: int) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.port, timeout=10) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            client.send_message(_mail(recipient))
        assert refused.value.recipients[recipient][0] == code


def test_smtp_sink_refuses_as_told_and_keeps_what_it_takes(smtp_sink: Callable[..., Sink]) -> None:
    taking, refusing = smtp_sink(), smtp_sink("-Q", "data")
    with smtplib.SMTP("127.0.0.1", taking.port, timeout=10) as client:
        client.send_message(_mail("bob@example.test"))
    [message] = taking.messages()
    assert b"Please close it." in message
    with smtplib.SMTP("127.0.0.1", refusing.port, timeout=10) as client, pytest.raises(smtplib.SMTPResponseException):
        client.send_message(_mail("bob@example.test"))


def test_prism_accepts_a_twilio_message_and_names_what_is_missing(prism_twilio: str) -> None:
    account = "AC" + "0" * 32
    url = f"{prism_twilio}/2010-04-01/Accounts/{account}/Messages.json"
    headers = {
        "Authorization": "Basic " + b64encode(f"{account}:token".encode()).decode(),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    good = urllib.request.Request(url, b"To=%2B12025550101&From=%2B15005550006&Body=hi", headers)
    with urllib.request.urlopen(good, timeout=20) as answer:
        assert (answer.status, json.load(answer)["status"]) == (201, "queued")
    bad = urllib.request.Request(url, b"Body=hi", headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(bad, timeout=20)
    with refused.value as answer:
        assert answer.code == 422


def test_each_test_gets_an_empty_postgresql_database(postgres_url: str) -> None:
    engine = sqlalchemy.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE once (id int)"))
        name = connection.execute(sqlalchemy.text("SELECT current_database()")).scalar_one()
    engine.dispose()
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        assert connection.info.dbname == name


def test_the_next_test_does_not_see_the_table_of_the_one_before(postgres_url: str) -> None:
    with (
        psycopg.connect(postgres_url.replace("+psycopg", "")) as connection,
        pytest.raises(psycopg.errors.UndefinedTable),
    ):
        connection.execute("SELECT * FROM once")


class _Page(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        body = b"<p id=p>before</p><script>document.getElementById('p').textContent = 'after'</script>"
        self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + body)


@pytest.mark.parametrize(("scripts", "text"), [(True, "after"), (False, "before")])
def test_chromium_runs_scripts_when_asked_to(chromium: Browser, scripts: bool, text: str) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = chromium.new_context(java_script_enabled=scripts)
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        assert page.inner_text("p") == text
        context.close()
        server.shutdown()


def test_a_free_port_is_free(free_port: int) -> None:
    assert not answers(free_port)


def test_a_missing_peer_fails_in_ci_and_skips_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="peer missing: postfix"):
        require_peer("postfix", "install it")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="install it"):
        require_peer("postfix", "install it")
    require_peer("postfix", "install it", found="/usr/sbin/postfix")
