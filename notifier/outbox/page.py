"""/dev/outbox: what was caught, newest first, with working links. Nothing inside a caught mail runs.

A mail's HTML is foreign: it is shown in a sandboxed frame from an address of its own with a policy of its own.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from heapq import merge
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from notifier.outbox.journal import Entry, Journal, Record
from notifier.outbox.settings import HOST, OutboxSettings
from notifier.outbox.twilio_api import Sms

ROOT = "/dev/outbox"
PAGE = 50  #: entries of one page
LONGEST_SEARCH = 200
FRAME = "allow-popups allow-popups-to-escape-sandbox"  #: links may open a new tab; no scripts, no forms, no origin
ASSETS = {"outbox.css": "text/css", "outbox.js": "text/javascript"}


class Channel(StrEnum):
    """What was caught."""

    EMAIL = "email"
    SMS = "sms"
    CALLBACK = "callback"


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of the list."""

    channel: Channel
    entry: Entry


@dataclass(frozen=True, slots=True)
class Query:
    """What the list shows; kept in every link of the page."""

    channel: str = ""
    search: str = ""
    number: int = 0

    def string(self, **changes: str | int) -> str:
        """As a query string, "" or with its question mark; `changes` win."""
        values: dict[str, str | int] = {"channel": self.channel, "q": self.search, "page": self.number, **changes}
        text = urlencode({name: value for name, value in values.items() if value})
        return f"?{text}" if text else ""


def read_query(given: Mapping[str, str]) -> Query:
    """Read a query string; nonsense is ignored."""
    channel, number = given.get("channel", ""), given.get("page", "")
    return Query(
        channel if channel in set(Channel) else "",
        given.get("q", "").strip()[:LONGEST_SEARCH],
        int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 0,
    )


class Page:
    """The page's routes."""

    def __init__(
        self, settings: OutboxSettings, journals: Mapping[Channel, Journal], status_of: Callable[[str], Sms | None]
    ) -> None:
        self._settings = settings
        self._journals = journals
        self._status_of = status_of
        self._folder = _templates()
        self._templates = _environment(self._folder)

    def routes(self) -> list[Route]:
        """GET only: the page changes nothing.

        All of them are coroutines: they read what the receivers write, so they share their thread.
        """
        return [
            Route("/", _to_the_page, methods=["GET"]),
            Route(ROOT, self._index, methods=["GET"]),
            Route(f"{ROOT}/healthz", _healthy, methods=["GET"]),
            Route(f"{ROOT}/list", self._list, methods=["GET"]),
            Route(f"{ROOT}/assets/{{name}}", self._asset, methods=["GET"]),
            Route(f"{ROOT}/email/{{id}}/html", self._frame, methods=["GET"]),
            Route(f"{ROOT}/email/{{id}}/raw", self._raw, methods=["GET"]),
            Route(f"{ROOT}/{{channel}}/{{id}}", self._show, methods=["GET"]),
        ]

    # -- the list ----------------------------------------------------------------------------------------------------

    async def _index(self, request: Request) -> Response:
        return self._render("index.html", request)

    async def _list(self, request: Request) -> Response:
        return self._render("list.html", request, selected=request.query_params.get("selected", "")[:40])

    def _render(self, name: str, request: Request, *, selected: str = "", status: int = 200, **more: Any) -> Response:
        query = read_query(request.query_params)
        found = self._find(query)
        context = {
            "root": ROOT,
            "query": query,
            "entries": found[:PAGE],
            "older": len(found) > PAGE,
            "counts": {channel: len(journal) for channel, journal in self._journals.items()},
            "total": sum(map(len, self._journals.values())),
            "selected": selected,
            "now": datetime.now().astimezone(),
            "http": f"http://{HOST}:{self._settings.http_port}",
            "smtp": f"smtp://{HOST}:{self._settings.smtp_port}",
            **more,
        }
        return _html(self._templates.get_template(name).render(context), status)

    def _find(self, query: Query) -> list[Listed]:
        """The entries of one page, and one more if there is an older one."""
        wanted = [channel for channel in Channel if query.channel in ("", channel)]
        lists = [[Listed(channel, e) for e in self._journals[channel].newest_first()] for channel in wanted]
        needle = query.search.casefold()
        newest_first = merge(*lists, key=lambda listed: listed.entry.at, reverse=True)
        found = (listed for listed in newest_first if needle in listed.entry.haystack)
        return list(islice(found, query.number * PAGE, (query.number + 1) * PAGE + 1))

    # -- one message -------------------------------------------------------------------------------------------------

    async def _show(self, request: Request) -> Response:
        channel, id_ = request.path_params["channel"], request.path_params["id"]
        record = self._read(channel, id_)
        if record is None:
            return self._render("missing.html", request, status=404)
        more = _details(Channel(channel), record, request.query_params)
        if channel == Channel.SMS:
            more["progress"] = self._status_of(record["sid"])
        return self._render(f"{channel}.html", request, selected=id_, record=record, **more)

    def _read(self, channel: str, id_: str) -> Record | None:
        return self._journals[Channel(channel)].read(id_) if channel in set(Channel) else None

    async def _frame(self, request: Request) -> Response:
        record = self._read(Channel.EMAIL, request.path_params["id"])
        if record is None:
            return PlainTextResponse("no such mail\n", 404)
        return _html(safe_to_show(record["html"]), headers={"Content-Security-Policy": self._frame_policy()})

    def _frame_policy(self) -> str:
        """Pictures only from our own link pages, as a mail client would fetch them; no script, no form, no origin."""
        parts = urlsplit(self._settings.base_url)
        pictures = f"{parts.scheme}://{parts.netloc} data:"
        return (
            f"sandbox {FRAME}; default-src 'none'; style-src 'unsafe-inline'; img-src {pictures}; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
        )

    async def _raw(self, request: Request) -> Response:
        record = self._read(Channel.EMAIL, request.path_params["id"])
        if record is None:
            return PlainTextResponse("no such mail\n", 404)
        name = f"{record['id']}.eml"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(base64.b64decode(record["raw_base64"]), media_type="message/rfc822", headers=headers)

    async def _asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ASSETS:
            return PlainTextResponse("no such file\n", 404)
        return Response((self._folder / name).read_bytes(), media_type=ASSETS[name])


def _html(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> HTMLResponse:
    """What was caught may hold half a surrogate pair, which has no form in UTF-8."""
    return HTMLResponse(text.encode("utf-8", "replace"), status, headers)


async def _to_the_page(_: Request) -> Response:
    return RedirectResponse(ROOT)


async def _healthy(_: Request) -> Response:
    return PlainTextResponse("ok\n")


# -- what the templates show -------------------------------------------------------------------------------------------

EMAIL_VIEWS = ("html", "text", "headers")
SCREENS, SCHEMES = ("desktop", "phone"), ("light", "dark")


def _details(channel: Channel, record: Record, given: Mapping[str, str]) -> dict[str, Any]:
    if channel is Channel.EMAIL:
        views = [view for view in EMAIL_VIEWS if view == "headers" or record[view]]
        return {
            "views": views,
            "view": _choice(given.get("view"), views),
            "screen": _choice(given.get("screen"), SCREENS),
            "scheme": _choice(given.get("scheme"), SCHEMES),
            "frame": FRAME,
        }
    if channel is Channel.CALLBACK:
        return {"pretty": pretty(record["body"])}
    return {}


def _choice(given: str | None, known: list[str] | tuple[str, ...]) -> str:
    return given if given is not None and given in known else known[0]


def pretty(body: str) -> str:
    """JSON laid out for reading, as it came in every other respect; what is no JSON stays as it is."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return body


_HEAD = re.compile(r"<head(\s[^>]{0,500})?>", re.IGNORECASE)
_CONNECTING = re.compile(r"<(link|iframe|frame)(?=[\s/>])", re.IGNORECASE)
_DOCTYPE = re.compile(r"\s*<!doctype[^>]{0,500}>", re.IGNORECASE)


def safe_to_show(html: str) -> str:
    """A mail's HTML for the frame: every link opens a new tab, since our own pages refuse to be shown in a frame.

    Links to files and frames go, as in every mail client: a browser connects for them before it asks the policy.
    """
    html = _CONNECTING.sub(r"<x-\1", html)
    base = '<base target="_blank">'
    found = _HEAD.search(html) or _DOCTYPE.match(html)
    at = found.end() if found else 0
    return html[:at] + base + html[at:]


def local_time(at: str, now: datetime) -> str:
    """A moment on this machine's clock: only the time today, with the date on other days."""
    moment = datetime.fromisoformat(at).astimezone()
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%d %b %H:%M}"


def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["local_time"] = local_time
    return environment


def _templates() -> Path:
    """In the wheel the templates lie inside the package, in a checkout beside it."""
    package = Path(str(resources.files("notifier")))
    shipped = package / "_templates" / "outbox"
    return shipped if shipped.is_dir() else package.parent / "templates" / "outbox"
