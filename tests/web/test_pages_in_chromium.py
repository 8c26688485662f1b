"""Pages as a phone shows them: our style is applied, nothing foreign loads, nothing is wider than 320 px, and a browser
that looks, waits, presses Enter or sends the first form changes nothing (P5)."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from playwright.sync_api import Browser, Page

from notifier.core.model import ChannelName, EventType
from tests.peers.process import wait_until
from tests.web.conftest import MakeSite
from tests.web.site import COLA, LINES, Site, answer, event, to

pytestmark = pytest.mark.processes

MOST_BYTES = 50 * 1024
GONE = re.compile(r"status of (404|410) ")  #: what Chromium says of our own answers to links that are not open


@pytest.fixture
def served(make_site: MakeSite) -> Iterator[Site]:
    """A site that a real browser can reach."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        site = make_site(base_url=f"http://127.0.0.1:{port}")
        config = uvicorn.Config(site.app, log_config=None, access_log=False, proxy_headers=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        wait_until(lambda: server.started, "the web application is up")
        yield site
        server.should_exit = True
        thread.join(10)


def local(site: Site) -> Site:
    """The same site for a client inside this process."""
    site.http = site.client(site.system.settings.base_url)
    return site


def open_(site: Site) -> str:
    return to(site.order(), "alice").path


def decided(site: Site) -> str:
    told = to(site.order(), "alice")
    answer(site, told, "modify", **{f"cases.{COLA}": "3"})
    return told.path


def locked(site: Site) -> str:
    told = to(site.order(), "alice")
    for number in {"11", "12", "13"} - {told.number}:
        answer(site, told, "accept", number)
    return told.path


def withdrawn(site: Site) -> str:
    path = open_(site)
    site.accept(event(EventType.ORDER_WITHDRAWN, {"order_number": "1042"}, "w"))
    return path


def elsewhere(site: Site) -> str:
    path = open_(site)
    facts = {"order_number": "1042", "decision": "accepted", "decided_at": "2026-11-23T10:00:00Z"}
    site.accept(event(EventType.ORDER_DECIDED, facts, "d"))
    return path


def late(site: Site) -> str:
    path = to(site.order(deadline="2026-11-23T11:15:00Z"), "alice").path
    site.clock.advance(hours=2)
    return path


def changed(site: Site) -> str:
    path = open_(site)
    site.order(version=2, lines=[{**LINES[0], "suggested_cases": 8}, {"sku": "3", "name": "Tea", "suggested_cases": 2}])
    return path


def long(site: Site) -> str:
    lines = [
        {
            "sku": f"s{n}",
            "name": f"A product with quite a long name, number {n}",
            "suggested_cases": 1000 + n,
            "case_price": 99999,
        }
        for n in range(40)
    ]
    return to(site.order(lines=lines, reason="W" * 300), "alice").path


def picture(site: Site) -> str:
    data = {
        "image_id": "1", "taken_at": "2026-11-23T09:30:00Z", "image": {"guid": "0" * 8}, "stock_percentage": 62,
        "out_of_stock": [{"sku": COLA, "name": "Cola Zero 500 ml", "shelf": 2}],
    }  # fmt: skip
    site.accept(event(EventType.IMAGE_PROCESSED, data, "i"))
    return "/l/" + next(one for one in site.told() if "image" in one.urls).urls["image"].rpartition("/")[2]


def opportunity(site: Site) -> str:
    data = {
        "opportunity_id": "1", "period_start": "2026-11-16", "period_end": "2026-11-22", "currency": "EUR",
        "missed_revenue": 18400,
        "products": [{"sku": COLA, "name": "Cola", "days_out_of_stock": 4, "missed_revenue": 12300}],
    }  # fmt: skip
    site.accept(event(EventType.OPPORTUNITY_MISSED, data, "o"))
    return "/l/" + next(one for one in site.told() if "opportunity" in one.urls).urls["opportunity"].rpartition("/")[2]


def expired(site: Site) -> str:
    path = open_(site)
    site.clock.advance(days=60)
    return path


STATES: dict[str, Callable[[Site], str]] = {
    "open": open_,
    "decided": decided,
    "elsewhere": elsewhere,
    "withdrawn": withdrawn,
    "late": late,
    "paused": lambda site: to(site.order(paused=True), "alice").path,
    "locked": locked,
    "read_only": lambda site: to(site.order(), "charlie").path,
    "changed": changed,
    "long": long,
    "by_sms": lambda site: to(site.order(), "+34", ChannelName.SMS).path,
    "picture": picture,
    "opportunity": opportunity,
    "expired": expired,
    "invalid": lambda site: "/l/nothing",
    "code_entry": lambda site: "/s",
}


@pytest.fixture
def phone(chromium: Browser) -> Iterator[Page]:
    """A small phone that runs scripts."""
    context = chromium.new_context(viewport={"width": 320, "height": 640})
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("state", STATES)
def test_every_page_is_styled_small_narrow_and_changes_nothing_p5(served: Site, phone: Page, state: str) -> None:
    path = STATES[state](local(served))
    before, errors = served.dump(), []
    gone = state in ("expired", "invalid", "picture")  # no page of an order, or no portal to fetch the picture from
    base = served.system.settings.base_url
    phone.on("console", lambda message: None if gone and GONE.search(message.text) else errors.append(message.text))
    phone.on("pageerror", lambda error: errors.append(str(error)))
    phone.on("request", lambda request: errors.append(request.url) if not request.url.startswith(base) else None)
    shown = phone.goto(base + path, wait_until="networkidle")
    assert shown is not None and len(shown.body()) <= MOST_BYTES
    for details in phone.locator("details").all():
        details.evaluate("element => element.open = true")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 320
    assert phone.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "640px", "the digest fits"
    small = phone.evaluate(
        "[...document.querySelectorAll('button:not(.enter), summary, input:not([type=hidden]), select')]"
        ".filter(e => e.getBoundingClientRect().height < 44).map(e => e.outerHTML)"
    )
    assert small == [], "a thumb hits it"
    calls = "[...document.querySelectorAll('footer a')].map(e => e.getBoundingClientRect().height)"
    assert all(height >= 40 for height in phone.evaluate(calls)), "a thumb hits the phone number"
    phone.evaluate("document.documentElement.style.fontSize = '200%'")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 320, "large text moves within its section"
    assert errors == []
    assert served.dump() == before


@pytest.mark.parametrize("state", ["open", "decided"])
def test_whatever_button_is_pressed_without_the_number_nothing_changes_p5(
    served: Site, phone: Page, state: str
) -> None:
    """A mail filter that opens links presses buttons too: to decide, to decline, to undo."""
    path = STATES[state](local(served))
    before, base = served.dump(), served.system.settings.base_url
    phone.goto(base + path)
    buttons = phone.locator("form button").count()
    assert buttons == {"open": 4, "decided": 1}[state]
    for position in range(buttons):
        phone.goto(base + path)
        phone.locator("form button").nth(position).evaluate("button => button.form.requestSubmit(button)")
        phone.wait_for_selector("[role=alert]")
    assert served.dump() == before


def test_a_person_undoes_an_answer(served: Site, phone: Page) -> None:
    told = to(local(served).order(), "alice")
    answer(served, told, "accept")
    phone.goto(served.system.settings.base_url + told.path)
    phone.fill("#number", told.number)
    phone.click("text=Undo this answer")
    phone.wait_for_selector("text=Accept: 32 cases")
    assert "was undone by Alice" in phone.inner_text(".good")


def test_enter_in_any_field_decides_nothing(served: Site, phone: Page) -> None:
    told = to(local(served).order(), "alice")
    base = served.system.settings.base_url
    for field in ("#number", "#cases-0", "#reason-text", "#name"):
        phone.goto(base + told.path)
        for details in phone.locator("details").all():
            details.evaluate("element => element.open = true")
        phone.fill("#number", told.number)
        phone.fill("#cases-0", "3")
        phone.press(field, "Enter")
        phone.wait_for_selector("[role=alert]")
        assert "Nothing was sent yet" in phone.inner_text("[role=alert]")
        assert phone.input_value("#cases-0") == "3" and phone.input_value("#number") == told.number
    assert served.rows("decisions") == []
    phone.click("text=Order the changed quantities")
    phone.wait_for_selector(".good")
    assert "This order was changed by Alice" in phone.inner_text(".good")
    assert re.fullmatch(r"/l/[^/]+", phone.url.removeprefix(base))


def test_a_mistake_is_told_at_its_field_and_the_field_has_the_focus(served: Site, phone: Page) -> None:
    told = to(local(served).order(), "alice")
    base = served.system.settings.base_url
    phone.goto(base + told.path)
    phone.click("text=Accept: 32 cases")
    phone.wait_for_selector("#number:focus")
    assert "Please type the number" in phone.inner_text("#number-mistake")
    phone.click("summary:has-text('Change quantities')")
    phone.fill("#number", told.number)
    phone.fill("#cases-1", "many")
    phone.click("text=Order the changed quantities")
    phone.wait_for_selector("#cases-1:focus")
    assert phone.input_value("#cases-1") == "many" and "a whole number" in phone.inner_text("#rule-1")
    phone.goto(base + "/s")
    phone.fill("#code", "abcd-efgh")
    phone.click("text=Open")
    phone.wait_for_selector("#code:focus")
    assert phone.input_value("#code") == "abcd-efgh", "what was typed comes back to be corrected"


def test_the_plain_flow_works_without_scripts(served: Site, chromium: Browser) -> None:
    told = to(local(served).order(), "alice")
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 320, "height": 640})
    page = context.new_page()
    page.goto(served.system.settings.base_url + told.path)
    page.fill("#number", told.number)
    page.click("text=Accept: 32 cases")
    assert "This order was accepted by Alice" in page.inner_text(".good")
    page.reload()
    assert "This order was accepted by Alice" in page.inner_text(".good")
    context.close()
