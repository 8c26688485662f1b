"""/dev/outbox in a real browser: links work, and nothing in a caught message does anything else."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from email.message import EmailMessage

import pytest
from playwright.sync_api import Browser, Page, expect

from notifier.outbox.page import safe_to_show
from tests.outbox.conftest import RunningOutbox, Show

pytestmark = pytest.mark.processes


def mail_with(subject: str, html: str, text: str = "plain") -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "alerts@acme.example", "alice@example.com"
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    return message


def id_of(outbox: RunningOutbox, subject: str) -> str:
    return next(str(mail["id"]) for mail in outbox.log("smtp") if mail["subject"] == subject)


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1100, "height": 800})
    page = context.new_page()
    yield page
    context.close()


class Stranger:
    """A server of somebody else: notices every connection."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.6)
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def was_called(self) -> bool:
        try:
            self._socket.accept()[0].close()
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    one = Stranger()
    yield one
    one.close()


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_the_list_shows_all_three_newest_first(outbox: RunningOutbox, tab: Page) -> None:
    outbox.mail(mail_with("the oldest", "<p>x</p>"))
    outbox.sms(Body="the middle one")
    outbox.callback("/hooks/erp", json.dumps({"type": "coolr.the.newest"}).encode(), id_="msg_newest")
    tab.goto(outbox.page)
    titles = tab.locator(".entry .title").all_inner_texts()
    assert titles[:3] == ["coolr.the.newest", "the middle one", "the oldest"]
    tab.get_by_role("link", name="SMS", exact=False).first.click()
    assert tab.locator(".kind.email").count() == 0


def test_a_mail_that_arrives_appears_without_a_reload(outbox: RunningOutbox, tab: Page) -> None:
    tab.goto(outbox.page)
    outbox.mail(mail_with("just arrived", "<p>x</p>"))
    expect(tab.get_by_text("just arrived")).to_be_visible(timeout=6000)


def test_links_of_the_mail_its_text_and_the_sms_open_in_a_tab_of_their_own(outbox: RunningOutbox, tab: Page) -> None:
    link = f"{outbox.page}/healthz?token=a-b_c~d"
    outbox.mail(mail_with("clickable", f'<html><head></head><a href="{link}">Open</a>', f"Open: {link}\n"))
    outbox.sms(Body=f"Open {link}", To="+34600000020")
    mail, sms = id_of(outbox, "clickable"), next(s["id"] for s in outbox.log("sms") if s["to"] == "+34600000020")
    for path in (f"/email/{mail}", f"/email/{mail}?view=text", f"/sms/{sms}"):
        tab.goto(outbox.page + path)
        inside = tab.frame_locator("iframe") if path.endswith(mail) else tab
        with tab.context.expect_page() as opened:
            inside.locator(f'a[href="{link}"]').click()
        opened.value.wait_for_load_state()
        assert opened.value.url == link
        assert "ok" in opened.value.inner_text("body")
        opened.value.close()


def test_a_callback_shows_body_headers_and_what_its_signature_says(outbox: RunningOutbox, tab: Page) -> None:
    body = json.dumps({"type": "t", "data": {"outlet": "<b>Niño</b>"}}).encode()
    outbox.callback("/hooks/erp", body, id_="msg_good")
    outbox.callback("/hooks/erp", body, id_="msg_bad", secret="whsec_AAAA")  # nobody's
    for webhook_id, words in [("msg_good", "verified"), ("msg_bad", "not verified")]:
        id_ = next(call["id"] for call in outbox.log("callbacks") if call["webhook_id"] == webhook_id)
        tab.goto(f"{outbox.page}/callback/{id_}")
        assert tab.locator(".badge").first.inner_text() == words
        assert '"outlet": "<b>Niño</b>"' in tab.locator("pre.code").inner_text()
        assert webhook_id in tab.locator("table.headers").inner_text()


def test_search_finds_addresses_numbers_and_text(outbox: RunningOutbox, show: Show) -> None:
    outbox.mail(mail_with("needle one", "<p>x</p>", "a rare wombat"), "zoe@example.com")
    for words in ("NEEDLE one", "wombat", "zoe@"):
        assert "needle one" in show(f"/list?q={words}").text
    assert "needle one" not in show("/list?q=wombat&channel=sms").text


def test_what_is_older_is_on_the_next_page(outbox: RunningOutbox, show: Show) -> None:
    for number in range(51):
        outbox.sms(Body=f"page test {number:02}")
    first, second = show("/list?q=page test").text, show("/list?q=page test&page=1").text
    assert "page test 50" in first and "page test 00" not in first
    assert "page test 00" in second and "page test 50" not in second
    for nonsense in ("-1", "x", "9" * 30, "٣"):
        assert "page test 50" in show(f"/list?q=page test&page={nonsense}").text


def test_what_is_not_there_is_said_to_be_missing(outbox: RunningOutbox, show: Show) -> None:
    for path in ("/email/0000", "/sms/x", "/nothing/x", "/email/0000/html", "/email/0000/raw"):
        assert show(path).status_code == 404
    assert show("/assets/base.html").status_code == 404


# -- what must not happen ----------------------------------------------------------------------------------------------


def hostile(address: str) -> str:
    there = f"http://{address}"
    return f"""<html><head>
<link rel="preconnect" href="{there}"><link rel="stylesheet" href="{there}/a.css"><LINK rel=dns-prefetch href="{there}">
<base href="{there}/"><meta http-equiv="refresh" content="0;url={there}/refresh">
<style>@import url({there}/b.css); body {{ background: url({there}/c.png) }}
@font-face {{ font-family: f; src: url({there}/f) }}
p {{ font-family: f }}</style>
<script>document.title = "ran"; new Image().src = "{there}/s"; top.location = "{there}/top"</script></head>
<body onload="new Image().src='{there}/onload'"><p>words</p>
<img src="{there}/pixel.png" onerror="top.document.title='ran'">
<svg onload="top.document.title='ran'"></svg><iframe src="{there}/frame"></iframe><object data="{there}/o"></object>
<embed src="{there}/e"><video src="{there}/v" poster="{there}/p" autoplay></video>
<audio src="{there}/au" autoplay></audio>
<input autofocus onfocus="top.document.title='ran'"><form action="{there}/form"><button id="press">press</button></form>
<a id="js" href="javascript:top.document.title='ran'">js</a>
<a id="up" target="_top" href="{there}/top">up</a></body></html>"""


def test_a_hostile_mail_runs_nothing_loads_nothing_and_goes_nowhere(
    outbox: RunningOutbox, tab: Page, stranger: Stranger
) -> None:
    outbox.mail(mail_with("hostile", hostile(stranger.address)))
    address = f"{outbox.page}/email/{id_of(outbox, 'hostile')}"
    tab.goto(address)
    frame = tab.frame_locator("iframe")
    expect(frame.locator("p")).to_have_text("words")
    for what in ("#press", "#js", "#up"):
        frame.locator(what).click(force=True, no_wait_after=True)
    assert not stranger.was_called()
    assert tab.url == address
    assert tab.title() == "hostile · Outbox"
    assert tab.evaluate("document.querySelector('iframe').contentDocument") is None, "an origin of its own"


def test_the_frame_opened_by_itself_is_as_closed(outbox: RunningOutbox, tab: Page, stranger: Stranger) -> None:
    outbox.mail(mail_with("hostile alone", hostile(stranger.address)))
    tab.goto(f"{outbox.page}/email/{id_of(outbox, 'hostile alone')}/html")
    expect(tab.locator("p")).to_have_text("words")
    assert not stranger.was_called()
    assert tab.title() != "ran"


MARKUP = "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\"><b id=made>"


def test_markup_in_any_field_stays_text(outbox: RunningOutbox, tab: Page) -> None:
    outbox.mail(mail_with(f"s {MARKUP}", "<p>x</p>", f"t {MARKUP}"))
    outbox.sms(Body=f"b {MARKUP}", To="+34600000021")
    outbox.callback(f"/hooks/{MARKUP}", json.dumps({"type": f"c {MARKUP}"}).encode(), id_="msg_markup")
    paths = [
        "",
        f"?q={MARKUP}",
        f"/email/{id_of(outbox, f's {MARKUP}')}?view=text",
        f"/email/{id_of(outbox, f's {MARKUP}')}?view=headers",
        "/sms/" + next(s["id"] for s in outbox.log("sms") if s["to"] == "+34600000021"),
        "/callback/" + next(c["id"] for c in outbox.log("callbacks") if c["webhook_id"] == "msg_markup"),
    ]
    for path in paths:
        tab.goto(outbox.page + path)
        assert MARKUP in tab.content().replace("&lt;", "<").replace("&gt;", ">") or MARKUP in tab.inner_text("body")
        assert tab.locator("#made").count() == 0
        assert tab.title() != "ran"


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        ("<html><head><title>", '<html><head><base target="_blank"><title>'),
        ("<HEAD lang=x>", '<HEAD lang=x><base target="_blank">'),
        # no head: behind the doctype, which must stay first
        ("<!doctype html><header>", '<!doctype html><base target="_blank"><header>'),
        ("words", '<base target="_blank">words'),
        ("<link rel=x><IFrame/><linkage>", '<base target="_blank"><x-link rel=x><x-IFrame/><linkage>'),
    ],
)
def test_links_get_a_new_tab_and_what_connects_by_itself_goes(html: str, shown: str) -> None:
    assert safe_to_show(html) == shown


# -- what is comfortable -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 1100])
def test_nothing_is_wider_than_the_screen(outbox: RunningOutbox, chromium: Browser, width: int) -> None:
    outbox.mail(mail_with("w" * 300, "<p>x</p>", "https://example.com/" + "y" * 300))
    outbox.sms(Body="z" * 200, To="+34600000022")
    outbox.callback("/hooks/" + "n" * 200, json.dumps({"type": "v" * 200, "data": "u" * 300}).encode(), id_="m" * 200)
    context = chromium.new_context(viewport={"width": width, "height": 700})
    page = context.new_page()
    mail = id_of(outbox, "w" * 300)
    for path in (
        "",
        f"/email/{mail}",
        f"/email/{mail}?view=text",
        f"/email/{mail}?view=headers",
        "/sms/" + next(s["id"] for s in outbox.log("sms") if s["to"] == "+34600000022"),
        "/callback/" + next(c["id"] for c in outbox.log("callbacks") if c["webhook_id"] == "m" * 200),
    ):
        page.goto(outbox.page + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    context.close()
