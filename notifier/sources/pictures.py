"""Pictures, fetched when somebody looks: from Coolr by GUID or from a host that the tenant lists.

The reader never sees the storage address. The guard of callbacks applies (public addresses only, no redirects), 10 MB
and 10 s at most; only JPEG, PNG and WebP by content, with a cap on pixels; drawn anew, so that positions (EXIF, GPS)
and anything hidden behind the pixels are gone.
"""

from __future__ import annotations

import asyncio
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import httpx
import structlog
from PIL import Image

from notifier.config import Settings
from notifier.core.model import Event
from notifier.core.policy import TenantPolicy
from notifier.errors import DeliveryError
from notifier.transport import AllowedNetworks, GuardedTransport

log = structlog.get_logger(__name__)

MOST_BYTES = 10_000_000
MOST_PIXELS = 40_000_000
SECONDS = 10.0
WIDTH = 1600  #: pixels of what is shown
FORMATS = ("JPEG", "PNG", "WEBP")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is safe to show."""

    body: bytes
    media_type: str = "image/jpeg"


class Pictures:
    """Fetches pictures for visits."""

    def __init__(self, coolr_base_url: str, allowed: AllowedNetworks) -> None:
        self._coolr = coolr_base_url
        self._allowed = allowed

    @classmethod
    def from_settings(cls, settings: Settings) -> Pictures:
        """For a deployment."""
        return cls(settings.coolr_base_url, AllowedNetworks.parse(settings.callback_allow))

    async def of(self, event: Event, policy: TenantPolicy) -> Picture | None:
        """Return the picture of an event; None when there is none or it cannot be shown."""
        address = self.address(event.data.get("image"), policy)
        if address is None:
            return None
        try:
            raw = await asyncio.wait_for(self._fetch(address), SECONDS)
            return await asyncio.to_thread(redraw, raw) if raw else None
        except (DeliveryError, TimeoutError, ValueError, OSError) as error:
            log.warning(
                "a picture cannot be shown", action="picture_refused", event_id=event.id, reason=type(error).__name__
            )
            return None

    def address(self, image: Mapping[str, str] | None, policy: TenantPolicy) -> str | None:
        """Where a picture is; None for a host that the tenant does not list."""
        if not image:
            return None
        if image.get("guid"):
            query = urlencode({"guid": image["guid"], "imageType": image.get("type", "Stitched"), "maxWidth": WIDTH})
            return f"{self._coolr}/controllers/CoolerImagePreview.ashx?{query}" if self._coolr else None
        parts = urlsplit(image.get("url") or "")
        listed = parts.scheme == "https" and parts.netloc.lower() in policy.image_hosts
        return image["url"] if listed else None

    async def _fetch(self, address: str) -> bytes | None:
        transport = GuardedTransport(self._allowed, total=SECONDS, most_body=MOST_BYTES + 1)
        try:
            answer = await transport.handle_async_request(httpx.Request("GET", address))
        finally:
            await transport.aclose()
        return answer.content if answer.status_code == 200 and len(answer.content) <= MOST_BYTES else None


def redraw(raw: bytes) -> Picture:
    """Return the picture drawn anew as JPEG. Raises ValueError or OSError for what is no picture of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(raw), formats=FORMATS) as source:
            if source.width * source.height > MOST_PIXELS:
                raise ValueError("more pixels than we draw")
            source.draft("RGB", (WIDTH, WIDTH))
            plain = source.convert("RGB")
    plain.thumbnail((WIDTH, WIDTH * 2))
    out = io.BytesIO()
    plain.save(out, "JPEG", quality=82, optimize=True)
    return Picture(out.getvalue())
