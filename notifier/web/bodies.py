"""Bodies of forms: small, in time, and whole. Anybody may send one, so that none may cost much or fill the log."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.requests import ClientDisconnect

MOST_FORM = 64 * 1024  #: bytes
FORM_SECONDS = 20.0  #: a form that arrives more slowly is not waited for


async def form_body(request: Request, most: int = MOST_FORM, seconds: float = FORM_SECONDS) -> bytes | None:
    """The body as sent; None when it is too large, too slow or cut off."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    return None
    except (TimeoutError, ClientDisconnect):
        return None
    return bytes(body)
