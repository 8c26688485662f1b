"""Headers and checks of the pages for people: nothing foreign loads, nothing is cached, forms come from our page."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import urlsplit

from fastapi import Request


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
    "Cross-Origin-Resource-Policy": "same-origin",
}


def same_origin(request: Request, base_url: str) -> bool:
    """Whether a form came from our own page. Origin and Sec-Fetch-Site count when they are there; old browsers send
    neither, and the token in the path is the proof then."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return False
    origin = request.headers.get("origin")
    if origin is None or (origin == "null" and site == "same-origin"):
        return True
    ours, given = urlsplit(base_url), urlsplit(origin)
    return (given.scheme, given.netloc.lower()) == (ours.scheme, ours.netloc.lower())
