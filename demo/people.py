"""The people of the demo: they read their mail and SMS, open every link, and five of them decide an order.

Works like a person would, from the receivers' own logs and the pages alone. Imports nothing from `notifier`.
Writes what it saw to links.jsonl: one line for each link opened, one for each decision.
"""

from __future__ import annotations

import html
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from expect import expect, load_fleet, load_ledger

LINK = re.compile(r"https?://[^\s\"'<>)]+")
IMAGE = re.compile(r'<img[^>]+src="([^"]+)"')
NUMBER = re.compile(r"[Nn]umber[^:\n]{0,40}:\s*(\d{2})\b")


class Form(HTMLParser):
    """The forms of a page: fields with their values, and the buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append({"method": given.get("method", "get").lower(), "fields": {}, "buttons": []})
        elif self.forms and tag == "input" and given.get("type") not in ("radio", "checkbox"):
            self.forms[-1]["fields"][given.get("name", "")] = given.get("value", "")
        elif self.forms and tag in ("select", "textarea"):
            self.forms[-1]["fields"].setdefault(given.get("name", ""), "")
        elif self.forms and tag == "button" and given.get("name"):
            self.forms[-1]["buttons"].append((given["name"], given.get("value", "")))


def main(folder: Path) -> int:
    """Open everything, decide what is to be decided."""
    fleet = load_fleet(folder / "notifier.toml", folder / "outlets.csv", folder / "contacts.csv")
    expected = expect(fleet, load_ledger(folder / "ledger.jsonl"))
    with (folder / "links.jsonl").open("w", encoding="utf-8") as out:
        for source, address, url in links(folder):
            status, page = fetch(url)
            record = {"what": "opened", "source": source, "address": address, "status": status, "bytes": len(page)}
            out.write(json.dumps(record) + "\n")
            if shown := IMAGE.search(page):
                out.write(json.dumps(see(urllib.parse.urljoin(url, html.unescape(shown[1])))) + "\n")
        for (tenant, object_), action in expected.decide.items():
            number = object_.removeprefix("order/")
            record = decide(folder, number, action)
            out.write(json.dumps({"what": "decided", "tenant": tenant, "object": object_, **record}) + "\n")
    return 0


def see(url: str) -> dict[str, Any]:
    """Fetch a picture as the page's reader would; anything but a JPEG counts as not found."""
    try:
        with urllib.request.urlopen(url, timeout=15) as answer:  # noqa: S310  # our own loopback system
            body = answer.read()
    except urllib.error.HTTPError as error:
        return {"what": "picture", "status": error.code, "bytes": 0}
    return {"what": "picture", "status": 200 if body[:3] == b"\xff\xd8\xff" else 415, "bytes": len(body)}


def links(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Every link in every caught message."""
    for mail in logged(folder, "smtp"):
        for url in sorted(set(LINK.findall(mail["text"])) | set(map(html.unescape, LINK.findall(hrefs(mail["html"]))))):
            yield "email", mail["rcpt_tos"][0], url.rstrip(".,")
    for sms in logged(folder, "sms"):
        for url in LINK.findall(sms["body"]):
            yield "sms", sms["to"], url.rstrip(".,")


def hrefs(text: str) -> str:
    """Only what a person could click."""
    return " ".join(f'"{found}"' for found in re.findall(r'href="([^"]+)"', text))


def logged(folder: Path, name: str) -> list[dict[str, Any]]:
    """Read one receiver's own log."""
    path = folder / "outbox" / f"{name}.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def decide(folder: Path, number: str, action: str) -> dict[str, Any]:
    """Find the order's mail, take link and number from it, fill the form, send it twice (people tap twice)."""
    mail, match, url = order_mail(folder, number)
    _, page = fetch(url)
    parser = Form()
    parser.feed(page)
    form = next(
        (
            form
            for form in parser.forms
            if form["method"] == "post" and action in [value for _, value in form["buttons"]]
        ),
        None,
    )
    if form is None:
        return {"action": action, "status": 0, "problem": "the page offers no such button"}
    fields = dict(form["fields"])
    fields["number"] = match.group(1)
    if action == "modify":
        quantity = next(name for name in fields if name.startswith("cases"))
        fields[quantity] = str(max(0, int(fields[quantity]) * 2))
    name = next(name for name, value in form["buttons"] if value == action)
    fields[name] = action
    status, answer = fetch(url, urllib.parse.urlencode(fields).encode())
    again, _ = fetch(url, urllib.parse.urlencode(fields).encode())
    return {"action": action, "status": status, "again": again, "address": mail["rcpt_tos"][0], "bytes": len(answer)}


def order_mail(folder: Path, number: str) -> tuple[dict[str, Any], re.Match[str], str]:
    """The first mail about the order that carries a number."""
    for mail in logged(folder, "smtp"):
        match = NUMBER.search(mail["text"])
        if re.search(rf"\b{number}\b", mail["subject"]) and match:
            urls = [url for url in LINK.findall(mail["text"]) if "/l/" in url]
            for url in urls:
                if "<form" in fetch(url)[1]:
                    return mail, match, url
    raise SystemExit(f"no mail with a number for order {number}")


def fetch(url: str, body: bytes | None = None) -> tuple[int, str]:
    """GET or POST as a plain client; redirects of a POST are followed as a browser does."""
    request = urllib.request.Request(url, data=body)  # noqa: S310  # our own loopback system
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:  # noqa: S310
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
