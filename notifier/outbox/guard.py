"""Keeps other machines and other web sites out: Host header, no forms from foreign pages, bounded bodies, safe headers.

A page of another site can make a browser on this machine send requests to 127.0.0.1, and by DNS rebinding even read
the answers as if they were its own; the Host header then still names that site.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-DNS-Prefetch-Control": "off",
}
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class TooLarge(Exception):
    """The body is larger than the server takes."""


async def read_body(request: Request, most: int) -> bytes:
    """Return the body. Raises TooLarge as soon as it is."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise TooLarge
    return bytes(body)


class Guard:
    """Refuses what does not come from this machine's own programs and browser."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no WebSockets here
        headers = Headers(scope=scope)
        if headers.get("host", "").lower() not in self._hosts:
            await _refuse("this server answers to its own loopback address only", 421)(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD") and _from_a_page(headers):
            await _refuse("this server takes nothing from web pages", 403)(scope, receive, send)
        else:
            await self._app(scope, receive, _with_safe_headers(send))


def _from_a_page(headers: Headers) -> bool:
    """Browsers say where a request comes from; the programs that send to us do not."""
    return "origin" in headers or "sec-fetch-site" in headers


def _refuse(reason: str, status: int) -> PlainTextResponse:
    return PlainTextResponse(reason + "\n", status)


def _with_safe_headers(send: Send) -> Send:
    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SAFE.items():
                headers.setdefault(name, value)
            headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        await send(message)

    return adding
