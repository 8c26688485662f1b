"""P5 over the whole system: whatever opens the links of every message, nothing changes for anybody."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Browser

from tests.acceptance.system import Filled, changes, dump

BUTTON = re.compile(r'<button[^>]*name="action" value="(\w+)"')
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


def test_there_is_something_to_open(filled: Filled) -> None:
    links = filled.links()
    assert sum("/l/" in link for link in links) > 50
    assert sum("/s/" in link for link in links) > 5
    assert all(link.startswith(filled.web) for link in links), "only our own links are clickable"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_plain_client_changes_nothing_p5(filled: Filled, method: str) -> None:
    before = dump(filled.database)
    with httpx.Client(trust_env=False, timeout=15) as client:
        for link in filled.links():
            answer = client.request(method, link)
            assert answer.status_code in (200, 204), f"{method} {answer.status_code}"
            assert "set-cookie" not in answer.headers
            assert method == "GET" or not answer.content
            if method == "GET":
                client.get(f"{link}/picture")
    assert changes(before, dump(filled.database)) == []


def test_pressing_the_buttons_without_the_number_changes_nothing_p5(filled: Filled) -> None:
    """A mail filter that fills in nothing and presses everything, also what a page does not show just now."""
    before, pressed = dump(filled.database), 0
    with httpx.Client(trust_env=False, timeout=15) as client:
        for link in filled.links():
            page = client.get(link).text
            hidden = dict(HIDDEN.findall(page))
            for action in {*BUTTON.findall(page), "undo"}:
                form = {"version": "2", "nonce": "n" * 16, **hidden, "action": action}
                assert client.post(link, data=form).status_code in (200, 409, 422)
                pressed += action != "undo"
    assert pressed > 0
    assert changes(before, dump(filled.database)) == []


def test_a_browser_with_scripts_changes_nothing_p5(filled: Filled, chromium: Browser) -> None:
    before = dump(filled.database)
    context = chromium.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: errors.append(request.url) if not request.url.startswith(filled.web) else None)
    for link in filled.links():
        answer = page.goto(link, wait_until="load")
        assert answer is not None and answer.status == 200
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, "no sideways scrolling on a phone"
    context.close()
    assert changes(before, dump(filled.database)) == []
    assert errors == []
