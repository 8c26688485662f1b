"""What is dialled and what is written: an address parsed once, and the bytes of a request.

The target goes out as it stands in the address, since some queries carry a signature; nothing of it is decoded,
collapsed or quoted anew. What could begin another line, another header or another request is refused.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

import httpx

PORTS = {"http": 80, "https": 443}
#: Methods that we send. CONNECT and upgrades would turn the connection into something else (RFC 9110 9.3.6, 7.8).
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
#: Methods that may be sent again when a held connection turns out to be gone (RFC 9110 9.2.2).
REPEATABLE = frozenset({"GET", "HEAD"})
#: Where a request ends and who answers it is said once, by us (RFC 9112 6.3, RFC 9110 7.2, 7.6.1).
OURS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

#: RFC 3986 appendix B, for what has an authority. A backslash, a user or a "%" (zones, escapes) fits no host.
_ADDRESS = re.compile(r"(?ai)(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?")
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]@:%\\]+))(?::([0-9]{0,5}))?")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_ASCII = "".join(map(chr, range(0x21, 0x7F)))  #: what stays in an address as it is
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  #: RFC 9110 5.6.2


class Origin(NamedTuple):
    """Whom a connection leads to (RFC 9110 4.3.1): requests to others never go over it."""

    scheme: str
    host: str  #: in lower case and ASCII, IPv6 without brackets
    port: int


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed address, with the beginning of each request to it."""

    origin: Origin
    start: str  #: request line and Host
    method: str


def parse(method: str, url: str) -> Target:
    """Read an absolute http(s) address. Raises ValueError."""
    if method not in METHODS or not url.isprintable() or " " in url:
        raise ValueError("not a request that we send")
    parts = _ADDRESS.fullmatch(url)
    authority = _AUTHORITY.fullmatch(parts[2]) if parts else None
    if not parts or not authority:
        raise ValueError("not an address of http or https without user and password")
    scheme, (literal, name, digits) = parts[1].lower(), authority.groups()
    host = str(ipaddress.IPv6Address(literal)) if literal else _ascii(name)
    port = int(digits or PORTS[scheme])
    if not 0 < port <= 65_535:
        raise ValueError("a port is a number from 1 to 65535")
    # RFC 9112 3.2.1 and RFC 9110 7.2: origin-form, never empty; the port is named when it is not the usual one
    path = quote((parts[3] or "/") + (parts[4] or ""), safe=_ASCII)
    shown = (f"[{host}]" if literal else host) + ("" if port == PORTS[scheme] else f":{port}")
    return Target(Origin(scheme, host, port), f"{method} {path} HTTP/1.1\r\nhost: {shown}\r\n", method)


def _ascii(name: str) -> str:
    """A name in the form that resolvers and certificates know: lower case, IDNA 2008. Raises ValueError."""
    try:
        host = name.lower() if name.isascii() else httpx.URL(f"https://{name}/").raw_host.decode("ascii")
    except httpx.InvalidURL:
        host = ""
    if not _HOST.fullmatch(host):
        raise ValueError("not the name of a host")
    return host


def encode(target: Target, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """Return a request, whole. Raises ValueError for a header that would not stay one line, or that is ours to say."""
    lines = [target.start]
    for name, value in headers:
        # RFC 9110 5.5 lets a value hold more than we ever need; what is not visible ASCII or a space never goes out
        if not (_sendable(name) and value.isascii() and value.isprintable()):
            raise ValueError("a header cannot be sent")
        lines.append(f"{name}: {value}\r\n")
    if body or target.method not in REPEATABLE:  # RFC 9110 8.6
        lines.append(f"content-length: {len(body)}\r\n\r\n")
    else:
        lines.append("\r\n")
    return "".join(lines).encode("ascii") + body


@lru_cache(1000)
def _sendable(name: str) -> bool:
    return _TOKEN.fullmatch(name) is not None and name.lower() not in OURS
