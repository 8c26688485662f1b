"""Headers and checks of the pages for people: nothing foreign loads, nothing is cached, forms come from our page."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from fastapi import Request

from notifier.acting import same_host


def page_headers(style: str) -> dict[str, str]:
    """Headers of every page. The inline style is allowed by its digest, scripts are not."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
        "X-Robots-Tag": "noindex, nofollow",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    }


PICTURE_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Proxies:
    """Reverse proxies of the deployment: only what they add to a request is believed."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Takes addresses and networks (TRUSTED_PROXIES, checked when the settings were read)."""
        self._networks = tuple(ipaddress.ip_network(text) for text in networks)

    def host(self, request: Request) -> str:
        """The host that the reader asked for: X-Forwarded-Host of a trusted proxy, else Host."""
        forwarded = request.headers.get("x-forwarded-host", "").rpartition(",")[2].strip()
        if forwarded and self._trusts(_peer(request)):
            return forwarded
        return request.headers.get("host", "")

    def from_this_machine(self, request: Request) -> bool:
        """Whether somebody on this machine asked, and nobody through a proxy on it."""
        proxied = any(name in request.headers for name in ("forwarded", "x-forwarded-for", "x-forwarded-host", "via"))
        host = _name_in(request.headers.get("host", ""))
        return not proxied and _is_loopback(_peer(request)) and (host == "localhost" or _is_loopback(host))

    def _trusts(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._networks)


def _peer(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _name_in(host: str) -> str:
    """The name or address in a Host header, without its port; empty for nonsense."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def same_origin(request: Request, base_url: str) -> bool:
    """Whether a form came from our own page. Origin and Sec-Fetch-Site count when they are there; old browsers send
    neither, and the token in the path is the proof then."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return False
    origin = request.headers.get("origin")
    if origin is None or (origin == "null" and site == "same-origin"):
        return True
    scheme, _, host = origin.partition("://")
    return scheme == urlsplit(base_url).scheme and same_host(host, base_url)
