"""A real Chromium, headless, that makes no request of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.peers.policy import require_peer

QUIET = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Playwright's Browser on the system's Chromium; open contexts from it, and close them.

    Per module, not per session: while sync Playwright lives, this thread counts as running an event loop, and
    `asyncio.run` in anybody else's test would fail.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    require_peer("chromium", "install the chromium package", found=program)
    # Chromium's sandbox does not work for root; nothing but our own pages is opened.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*QUIET, *sandbox])
        yield browser
        browser.close()
