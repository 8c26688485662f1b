"""Pictures from hosts that cannot be trusted: refused in bounded time, drawn anew, nothing of ours sent there."""

from __future__ import annotations

import asyncio
import io
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from notifier.core.samples import POLICY
from notifier.sources.pictures import MOST_BYTES, Pictures, redraw
from notifier.transport import AllowedNetworks

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


def picture(form: str = "JPEG", size: tuple[int, int] = (60, 40), mode: str = "RGB", **more: Any) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, 100).save(out, form, **more)
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is huge."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


# -- what is drawn -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        ("JPEG", "RGB"),
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("PNG", "I;16"),
        ("WEBP", "RGBA"),
    ],
)
def test_three_kinds_of_picture_become_a_jpeg(form: str, mode: str) -> None:
    made = redraw(picture(form, mode=mode))
    with Image.open(io.BytesIO(made.body)) as drawn:
        assert (drawn.format, drawn.size, made.media_type) == ("JPEG", (60, 40), "image/jpeg")


def test_where_a_picture_was_taken_and_what_is_written_in_it_is_gone() -> None:
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (40.0, 25.0, 1.0)}  # GPS
    exif[0x010E] = "a secret description"
    raw = picture(exif=exif, comment=b"a secret comment", icc_profile=b"a secret profile")
    assert raw.count(b"secret") == 3
    drawn = redraw(raw).body
    assert b"secret" not in drawn and b"Exif" not in drawn and b"GPS" not in drawn


def test_a_picture_taken_sideways_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(redraw(picture(exif=exif)).body)) as drawn:
        assert drawn.size == (40, 60)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")  # Pillow says so, and goes on
def test_a_broken_note_in_a_picture_does_not_hide_it() -> None:
    assert redraw(picture(exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff" + b"\xff" * 30)).body


def test_a_large_picture_is_made_small_enough_for_a_phone() -> None:
    with Image.open(io.BytesIO(redraw(picture(size=(4000, 3000))).body)) as drawn:
        assert drawn.size == (1600, 1200)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<!doctype html><script>alert(1)</script>",
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b"GIF89a/*" + b"\x00" * 20 + b"*/=1;alert(1)",  # a script and a picture at once
        picture("GIF", mode="L"),
        picture("BMP"),
        picture("TIFF"),
        picture()[:300],  # cut off
        picture("PNG")[:60],
        bomb(50_000, 50_000),
        bomb(12_000, 12_000),
        bomb(8_000, 6_000),
        bomb(100, 100),  # fewer pixels than it says
        b"\xff\xd8\xff" + b"\x00" * 100,
    ],
)
def test_what_is_no_picture_of_ours_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not a picture we draw"):
        redraw(raw)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.integers(0, 2000), st.binary(min_size=1, max_size=8))
def test_damaged_pictures_are_drawn_or_refused_and_nothing_else(form: str, at: int, patch: bytes) -> None:
    raw = bytearray(picture(form))
    at %= len(raw)
    raw[at : at + len(patch)] = patch
    try:
        drawn = redraw(bytes(raw)).body
    except ValueError:
        return
    assert drawn.startswith(b"\xff\xd8\xff")


# -- where it may come from --------------------------------------------------------------------------------------------

HOSTS = replace(POLICY, image_hosts=("img.acme.example", "cdn.acme.example:8443"))


@pytest.mark.parametrize(
    ("url", "fetched"),
    [
        ("https://img.acme.example/a.jpg?x=1", True),
        ("https://IMG.acme.example:443/a.jpg", True),
        ("https://cdn.acme.example:8443/a.jpg", True),
        ("https://cdn.acme.example/a.jpg", False),  # another port
        ("http://img.acme.example/a.jpg", False),
        ("ftp://img.acme.example/a.jpg", False),
        ("file:///etc/passwd", False),
        ("data:image/png;base64,AAAA", False),
        ("https://img.acme.example.evil.example/a.jpg", False),  # look-alikes
        ("https://img-acme.example/a.jpg", False),
        ("https://img.acme.example@evil.example/a.jpg", False),
        ("https://user@img.acme.example/a.jpg", False),
        ("https://evil.example#img.acme.example", False),
        ("https://evil.example\\@img.acme.example/a.jpg", False),
        ("https://img.acme.example./a.jpg", False),
        ("https://ımg.acme.example/a.jpg", False),  # a dotless i
        ("https://[::1]/a.jpg", False),
        ("https://[/a.jpg", False),
        ("https://img.acme.example\n.evil.example/", False),
        ("//img.acme.example/a.jpg", False),
        ("", False),
    ],
)
def test_only_the_exact_hosts_that_the_tenant_lists(url: str, fetched: bool) -> None:
    address = Pictures("https://portal.example", AllowedNetworks()).address({"url": url}, HOSTS)
    assert (address is not None) == fetched


def test_a_guid_is_asked_of_coolr_alone_and_nowhere_without_it() -> None:
    address = Pictures("https://portal.example", AllowedNetworks()).address({"guid": "6f0b-&x=1"}, HOSTS)
    assert address == (
        "https://portal.example/controllers/CoolerImagePreview.ashx?guid=6f0b-%26x%3D1&imageType=Stitched&maxWidth=1600"
    )
    assert Pictures("", AllowedNetworks()).address({"guid": "6f0b"}, HOSTS) is None
    assert Pictures("https://portal.example", AllowedNetworks()).address(None, HOSTS) is None


# -- the network -------------------------------------------------------------------------------------------------------


@dataclass
class Host:
    """An image host on this machine, with what it was asked."""

    port: int
    trust: ssl.SSLContext
    requests: list[bytes]

    async def fetch(self, seconds: float = 5.0, *, allowed: bool = True) -> bytes | None:
        """What a reader would see."""
        networks = AllowedNetworks.parse([f"127.0.0.1:{self.port}"] if allowed else [])
        pictures = Pictures("", networks, verify=self.trust, seconds=seconds)
        policy = replace(POLICY, image_hosts=(f"localhost:{self.port}",))
        found = await pictures.of({"url": f"https://localhost:{self.port}/a.jpg"}, policy)
        return found.body if found else None


@asynccontextmanager
async def host(reply: Reply) -> AsyncIterator[Host]:
    """Serve one reply to everybody, over TLS on loopback."""
    authority = trustme.CA()
    served, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(served)
    authority.configure_trust(trust)
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            await reply(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=served)
    async with server:
        yield Host(server.sockets[0].getsockname()[1], trust, requests)


def answering(body: bytes, status: str = "200 OK", *headers: str) -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: image/jpeg", *headers]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return reply


async def dripping(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + picture())
    for _ in range(MOST_BYTES // 100_000 + 2):
        writer.write(bytes(100_000))
        await writer.drain()


def test_a_picture_is_fetched_without_any_credential() -> None:
    async def run() -> None:
        async with host(answering(picture())) as there:
            assert await there.fetch()
            asked = there.requests[0].lower()
            assert asked.startswith(b"get /a.jpg ")
            assert not any(word in asked for word in (b"authorization", b"cookie", b"referer", b"x-api-key"))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("reply", "asked"),
    [
        (answering(b"<html>sign in</html>"), 1),  # HTML, called a picture, with 200
        (answering(picture(), "404 Not Found"), 1),
        (answering(picture(), "302 Found", "Location: https://localhost/b.jpg"), 1),  # not followed
        (answering(bomb(50_000, 50_000)), 1),
        (endless, 1),  # more than 10 MB
        (dripping, 1),  # a byte now and then
    ],
    ids=["html", "404", "redirect", "bomb", "endless", "dripping"],
)
def test_what_a_host_answers_wrongly_is_refused_in_bounded_time(reply: Reply, asked: int) -> None:
    async def run() -> None:
        async with host(reply) as there:
            began = asyncio.get_running_loop().time()
            assert await there.fetch(seconds=1.0 if reply is dripping else 5.0) is None
            assert asyncio.get_running_loop().time() - began < 5
            assert len(there.requests) == asked

    asyncio.run(run())


def test_a_listed_name_that_leads_to_a_private_address_is_not_called() -> None:
    async def run() -> None:
        async with host(answering(picture())) as there:
            assert await there.fetch(allowed=False) is None
            assert there.requests == []

    asyncio.run(run())


def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    async def run() -> None:
        async with host(answering(picture())) as there:
            there.trust = ssl.create_default_context()
            assert await there.fetch() is None

    asyncio.run(run())
