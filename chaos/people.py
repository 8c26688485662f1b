"""The people: they read their mail, open the link, type the number and decide; some at once with a colleague.

They know what stands in their mail and on the page, nothing else. Each line of the ledger is what the page told:
"mine" (my answer was taken), "other" (somebody decided before me), "withdrawn", "elsewhere", "changed", "lost" (never
got an answer, which a person sees as a page that does not load).
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import itertools
import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp

from chaos.ledger import Ledger, Line, Tail

LINK = re.compile(r"https?://\S+/l/\S+")
NUMBER = re.compile(r"Your number for this order: (\d\d)\b")
DECIDED = re.compile(r"<strong>This order was (\w+)</strong> by ([^,(<]+?)(?: \([^)]*\))?,")
TOLD = {
    "Somebody answered this order before you": "other",
    "You answered this order before": "other",
    "the order was withdrawn before": "withdrawn",
    "This order was withdrawn": "withdrawn",
    "in Coolr.</strong>": "elsewhere",
    "This order was answered in Coolr before you": "elsewhere",
    "The suggestion changed while you looked": "changed",
}
DECIDES = 0.5  #: share of orders that somebody answers
TOGETHER = 0.4  #: share of those that two answer at once
TRIES = 40  #: a person taps again when the page does not load
PATIENCE = 1.0  #: seconds between taps


class Form(HTMLParser):
    """The fields of a page's form."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep inputs."""
        given = {name: value or "" for name, value in attrs}
        if tag == "input" and given.get("name"):
            self.fields[given["name"]] = given.get("value", "")


class People:
    """Everybody who gets mail about orders."""

    def __init__(self, folder: Path, seed: int) -> None:
        scene = json.loads((folder / "scene.json").read_text())
        self._host = scene["base_url"].partition("//")[2]
        self._webs = itertools.cycle(f"http://127.0.0.1:{port}" for port in scene["ports"]["web"])
        self._mails, self._ledger = Tail(folder / "smtp.jsonl"), Ledger(folder / "people.jsonl")
        self._chance = random.Random(seed + 2)
        self._waiting: dict[str, list[Line]] = {}  #: order → the first mail of each person
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    def stop(self) -> None:
        """Nobody begins anything new."""
        self._stopped = True

    async def live(self) -> None:
        """Read and decide until stopped."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
            while not self._stopped:
                for mail in self._mails.more():
                    self._read(mail, http)
                await asyncio.sleep(0.2)
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _read(self, mail: Line, http: aiohttp.ClientSession) -> None:
        if mail["type"] != "coolr.order.recommended" or not NUMBER.search(mail["text"]):
            return
        key = f"{mail['address'].partition('@')[2]}/{mail['subject']}"
        got = self._waiting.setdefault(key, [])
        if any(before["address"] == mail["address"] for before in got):
            return
        got.append(mail)
        plan = random.Random(f"{self._chance.random()}")
        if len(got) == 1 and plan.random() < DECIDES * (1 - TOGETHER):
            self._start([mail], plan, http)
            got.append({"address": "done"})
        elif len(got) == 2 and got[1]["address"] != "done" and plan.random() < DECIDES:
            self._start(got, plan, http)

    def _start(self, mails: list[Line], plan: random.Random, http: aiohttp.ClientSession) -> None:
        after = plan.uniform(0, 3)
        for mail in mails:
            action = plan.choice(("accept", "accept", "modify", "cancel"))
            task = asyncio.create_task(self._decide(mail, action, after, http))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _decide(self, mail: Line, action: str, after: float, http: aiohttp.ClientSession) -> None:
        await asyncio.sleep(after)
        link, number = LINK.search(mail["text"]), NUMBER.search(mail["text"])
        assert link is not None and number is not None
        path = "/l/" + html.unescape(link[0]).rpartition("/l/")[2]
        facts = {"address": mail["address"], "subject": mail["subject"], "action": action}
        page = await self._fetch(http, path, None)
        fields = _form(page)
        if page is None or fields is None:
            self._ledger.write(**facts, told=_told(page), nonce=None, shown=_shown(page))
            return
        fields |= {"number": number[1], "action": action}
        if action == "modify":
            fields |= {name: "6" for name in fields if name.startswith("cases.")}
        answer = await self._fetch(http, path, fields)
        self._ledger.write(**facts, told=_told(answer, posted=True), nonce=fields["nonce"], shown=_shown(answer))

    async def _fetch(self, http: aiohttp.ClientSession, path: str, fields: dict[str, str] | None) -> str | None:
        """The page that a browser ends at; taps again (the same form) when none comes or it says to try again."""
        method, headers = "GET" if fields is None else "POST", {"Host": self._host}
        for _ in range(TRIES):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                url = next(self._webs) + path
                async with http.request(method, url, data=fields, headers=headers, allow_redirects=False) as answer:
                    if answer.status == 303:
                        fields, method = None, "GET"
                        return "MINE " + (await self._fetch(http, path, None) or "")
                    if answer.status != 503:
                        return await answer.text()
            await asyncio.sleep(PATIENCE)
        return None


def _form(page: str | None) -> dict[str, str] | None:
    parser = Form()
    parser.feed(page or "")
    return parser.fields if "nonce" in parser.fields and "number" in parser.fields else None


def _told(page: str | None, *, posted: bool = False) -> str:
    if page is None:
        return "lost"
    if page.startswith("MINE "):
        return "mine"
    for words, told in TOLD.items():
        if words in page:
            return told
    return "other" if DECIDED.search(page) and not posted else "unclear"


def _shown(page: str | None) -> dict[str, Any] | None:
    """Which decision the page shows, and whose."""
    found = DECIDED.search(page or "")
    return {"word": found[1], "by": html.unescape(found[2])} if found else None
