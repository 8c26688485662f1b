"""Pictures, fetched when somebody looks: from Coolr by GUID or from a host that the tenant lists.

The reader never sees the storage address. The guard of callbacks applies (public addresses only, no redirects), 10 MB
and 10 s at most; only JPEG, PNG and WebP by content, with a cap on pixels; drawn anew, so that positions (EXIF, GPS)
and anything hidden behind the pixels are gone. A few are drawn at a time: each may take 100 MB while it is.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import structlog
from PIL import Image, ImageOps

from notifier.config import Settings
from notifier.core.policy import TenantPolicy
from notifier.errors import DeliveryError
from notifier.transport import AllowedNetworks, GuardedTransport

log = structlog.get_logger(__name__)

MOST_BYTES = 10_000_000
MOST_PIXELS = 40_000_000
SECONDS = 10.0  #: to fetch, the waiting for a turn included
WIDTH = 1600  #: pixels of what is shown
AT_ONCE = 3  #: pictures fetched and drawn at the same time by one process
FORMATS = ("JPEG", "PNG", "WEBP")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is safe to show."""

    body: bytes
    media_type: str = "image/jpeg"


class Pictures:
    """Fetches pictures for visits."""

    def __init__(
        self, coolr_base_url: str, allowed: AllowedNetworks, *, verify: Any = True, seconds: float = SECONDS
    ) -> None:
        self._coolr = coolr_base_url
        self._allowed = allowed
        self._verify = verify
        self._seconds = seconds
        self._turns = asyncio.Semaphore(AT_ONCE)

    @classmethod
    def from_settings(cls, settings: Settings) -> Pictures:
        """For a deployment."""
        return cls(settings.coolr_base_url, AllowedNetworks.parse(settings.callback_allow))

    async def of(self, image: Mapping[str, str] | None, policy: TenantPolicy) -> Picture | None:
        """Return the picture a reference names; None when there is none or it cannot be shown."""
        address = self.address(image, policy)
        if address is None:
            return None
        try:
            async with asyncio.timeout(self._seconds):
                await self._turns.acquire()
        except TimeoutError:
            return None
        try:
            raw = await asyncio.wait_for(self._fetch(address), self._seconds)
            return await asyncio.to_thread(redraw, raw) if raw else None
        except (DeliveryError, TimeoutError, ValueError) as error:
            log.warning("a picture cannot be shown", action="picture_refused", tenant=policy.id, reason=_word(error))
            return None
        finally:
            self._turns.release()

    def address(self, image: Mapping[str, str] | None, policy: TenantPolicy) -> str | None:
        """Where a picture is; None for a host that the tenant does not list."""
        if not image:
            return None
        if image.get("guid"):
            query = urlencode({"guid": image["guid"], "imageType": image.get("type", "Stitched"), "maxWidth": WIDTH})
            return f"{self._coolr}/controllers/CoolerImagePreview.ashx?{query}" if self._coolr else None
        try:
            url = httpx.URL(image.get("url") or "")
        except (httpx.InvalidURL, ValueError):
            return None
        host = url.netloc.decode("ascii").lower().removesuffix(":443")
        return str(url) if url.scheme == "https" and not url.userinfo and host in policy.image_hosts else None

    async def _fetch(self, address: str) -> bytes | None:
        transport = GuardedTransport(self._allowed, total=self._seconds, most_body=MOST_BYTES + 1, verify=self._verify)
        try:
            answer = await transport.handle_async_request(httpx.Request("GET", address))
        finally:
            await transport.aclose()
        return answer.content if answer.status_code == 200 and len(answer.content) <= MOST_BYTES else None


def redraw(raw: bytes) -> Picture:
    """Return the picture drawn anew as JPEG. Raises ValueError for what is no picture of ours."""
    try:
        out = io.BytesIO()
        _pixels(raw).save(out, "JPEG", quality=82, optimize=True)
    except Exception as error:  # whatever a decoder makes of hostile bytes: OSError, SyntaxError, struct.error ...
        raise ValueError(f"not a picture we draw ({type(error).__name__})") from None
    return Picture(out.getvalue())


def _pixels(raw: bytes) -> Image.Image:
    """Only the pixels, the right way up: comments, profiles and positions stay behind."""
    with Image.open(io.BytesIO(raw), formats=FORMATS) as source:
        if source.width * source.height > MOST_PIXELS:
            raise ValueError("more pixels than we draw")
        source.draft("RGB", (WIDTH, WIDTH))
        plain = source.convert("RGB")
    plain.thumbnail((WIDTH, WIDTH * 2))
    with suppress(Exception):  # a broken EXIF block says nothing about the picture
        plain = ImageOps.exif_transpose(plain)
    plain.info.clear()
    return plain


def _word(error: Exception) -> str:
    """Why, without the address."""
    return error.reason if isinstance(error, DeliveryError) else str(error) or type(error).__name__
