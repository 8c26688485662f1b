"""Coolr's picture preview as far as we use it: draws a cooler for any GUID, the same one every time.

    /controllers/CoolerImagePreview.ashx?guid=...&imageType=Stitched&maxWidth=1600

Made for the demo, so that a picture link shows what a picture link shows; nobody's photo is shipped.
"""

from __future__ import annotations

import hashlib
import io
import random

from PIL import Image, ImageDraw
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

WIDTH, HEIGHT = 900, 1200  #: pixels
SHELVES, PLACES = 5, 8
LONGEST_GUID = 64
COLOURS = ("#b3202a", "#1d4f91", "#2e7d4f", "#e2a100", "#6a3d8f", "#d9652b", "#3a8fb7")
GLASS, METAL, SHADOW, GAP = "#e9f1f5", "#8d99a3", "#c9d5dc", "#d4342a"


def routes() -> list[Route]:
    """The one path of the portal."""
    return [Route("/controllers/CoolerImagePreview.ashx", _preview, methods=["GET"])]


async def _preview(request: Request) -> Response:
    guid = request.query_params.get("guid", "")
    if not guid or len(guid) > LONGEST_GUID:
        return PlainTextResponse("guid is missing\n", 404)
    return Response(await run_in_threadpool(draw, guid), media_type="image/jpeg")


def draw(guid: str) -> bytes:
    """Return a JPEG of a cooler: shelves of bottles, and red frames where facings are empty."""
    chance = random.Random(hashlib.sha256(guid.encode()).digest())
    image = Image.new("RGB", (WIDTH, HEIGHT), METAL)
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((30, 30, WIDTH - 30, HEIGHT - 30), 24, fill=GLASS)
    height = (HEIGHT - 80) // SHELVES
    for shelf in range(SHELVES):
        _shelf(pen, chance, 50, 45 + shelf * height, height)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return out.getvalue()


def _shelf(pen: ImageDraw.ImageDraw, chance: random.Random, left: int, top: int, height: int) -> None:
    floor, width = top + height - 24, (WIDTH - 100) // PLACES
    pen.rectangle((left - 10, floor, WIDTH - 40, floor + 12), fill=SHADOW)
    colour = chance.choice(COLOURS)
    for place in range(PLACES):
        if place % 2 == 0 and chance.random() < 0.6:
            colour = chance.choice(COLOURS)
        box = (left + place * width + 8, top + 24, left + (place + 1) * width - 8, floor)
        if chance.random() < 0.15:
            pen.rounded_rectangle(box, 8, outline=GAP, width=5)
        else:
            _bottle(pen, box, colour)


def _bottle(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: str) -> None:
    left, top, right, bottom = box
    neck, middle = (right - left) // 5, (left + right) // 2
    pen.rectangle((middle - neck, top, middle + neck, top + 50), fill=colour)
    pen.rectangle((middle - neck, top, middle + neck, top + 12), fill="#3b4650")
    pen.rounded_rectangle((left, top + 40, right, bottom), 16, fill=colour)
    pen.rounded_rectangle((left + 4, top + 85, right - 4, bottom - 45), 6, fill="#f7f4ec")
