"""Mails in a real browser, on a phone and a desk, light and dark: nothing is cut off, nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from notifier.core import samples
from notifier.core.model import ChannelName, EventType
from tests.templates.messages import SAMPLES, hostile, mail, parts

#: (width in pixels, colour scheme)
SCREENS = ((360, "light"), (360, "dark"), (700, "light"))
IDS = [f"{width}-{scheme}" for width, scheme in SCREENS]


@pytest.fixture(params=SCREENS, ids=IDS)
def page(request: pytest.FixtureRequest, chromium: Browser) -> Iterator[Page]:
    """A page of one size and scheme."""
    width, scheme = request.param
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
    yield context.new_page()
    context.close()


def overflow(page: Page, html: str) -> int:
    """Show a mail; return by how many pixels it is wider than the screen."""
    page.set_content(html)
    width: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return width


def test_no_mail_is_wider_than_the_screen_or_loads_anything(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    assert [type_.kind for type_, index in SAMPLES if overflow(page, mail(type_, index)["html"]) > 0] == []
    assert asked == []


def test_a_name_without_a_space_does_not_widen_the_page(page: Page) -> None:
    messages = [samples.message(sample, ChannelName.EMAIL) for sample in hostile("W" * 200)]
    assert [message.kind for message in messages if overflow(page, parts(message)["html"]) > 0] == []


def test_the_button_can_be_hit_with_a_thumb_and_the_number_is_large(page: Page) -> None:
    page.set_content(mail(EventType.ORDER_RECOMMENDED)["html"])
    box = page.locator(".btn-link").bounding_box()
    assert box is not None
    assert box["height"] >= 44
    assert page.locator(".number").evaluate("element => parseFloat(getComputedStyle(element).fontSize)") >= 24


def test_dark_mode_is_dark_and_the_preheader_is_never_seen(page: Page) -> None:
    page.set_content(mail(EventType.ORDER_RECOMMENDED)["html"])
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    card = page.locator(".card").evaluate("element => getComputedStyle(element).backgroundColor")
    assert card == ("rgb(26, 33, 48)" if dark else "rgb(255, 255, 255)")
    assert not page.locator(".preheader").is_visible()
