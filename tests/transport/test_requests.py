"""What goes out: the address as it was written, one request in one piece, nothing that could begin another."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from notifier.errors import PermanentFailure
from notifier.transport import AllowedNetworks, GuardedTransport
from notifier.transport.request import Origin, encode, parse
from tests.channels.servers import http, response, serving


@pytest.mark.parametrize(
    ("url", "origin", "path", "host"),
    [
        ("https://example.com", ("https", "example.com", 443), "/", "example.com"),
        ("https://example.com:443/a", ("https", "example.com", 443), "/a", "example.com"),
        ("https://example.com:/a", ("https", "example.com", 443), "/a", "example.com"),
        ("https://example.com:8443/a", ("https", "example.com", 8443), "/a", "example.com:8443"),
        ("http://127.0.0.1:443/", ("http", "127.0.0.1", 443), "/", "127.0.0.1:443"),
        ("HTTPS://EXAMPLE.com/A", ("https", "example.com", 443), "/A", "example.com"),
        ("https://[2001:DB8::1]/", ("https", "2001:db8::1", 443), "/", "[2001:db8::1]"),
        ("https://[::1]:8443/", ("https", "::1", 8443), "/", "[::1]:8443"),
        # not a character of the target is spelt anew, and nothing is resolved (dots), decoded or sorted
        ("https://e.com/a%2Fb/%7E/../c;d?s=%2B%3D", ("https", "e.com", 443), "/a%2Fb/%7E/../c;d?s=%2B%3D", "e.com"),
        ('https://e.com/"<>\\^`{|}?a=[1]', ("https", "e.com", 443), '/"<>\\^`{|}?a=[1]', "e.com"),
        ("https://e.com//x//", ("https", "e.com", 443), "//x//", "e.com"),
        # origin-form has a path (RFC 9112 3.2.1); a fragment stays here (RFC 9110 4.2.5)
        ("https://e.com?a=b?c", ("https", "e.com", 443), "/?a=b?c", "e.com"),
        ("https://e.com/?", ("https", "e.com", 443), "/?", "e.com"),
        ("https://e.com/a#b?c", ("https", "e.com", 443), "/a", "e.com"),
        ("https://e.com/a?b#c", ("https", "e.com", 443), "/a?b", "e.com"),
        # what is not ASCII: escaped in the target, IDNA 2008 in the host, where "ß" is a letter of its own
        ("https://e.com/grün?ö=%C3%BC", ("https", "e.com", 443), "/gr%C3%BCn?%C3%B6=%C3%BC", "e.com"),
        ("https://bücher.example/", ("https", "xn--bcher-kva.example", 443), "/", "xn--bcher-kva.example"),
        ("https://straße.example/", ("https", "xn--strae-oqa.example", 443), "/", "xn--strae-oqa.example"),
        ("https://my_erp.example./", ("https", "my_erp.example.", 443), "/", "my_erp.example."),
    ],
)  # fmt: skip
def test_an_address_is_written_as_it_stands(url: str, origin: tuple[str, str, int], path: str, host: str) -> None:
    target = parse("POST", url)
    assert target.origin == Origin(*origin)
    assert encode(target, [], b"") == f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n".encode()


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "//example.com/", "https:example.com", "ftp://example.com/", "https://", "https:///a", "https://?a",
        # a scheme that only looks like one: a long s, a Kelvin sign would fold to s and k
        "httpſ://example.com/", " https://example.com/", "https://example.com/ ",
        # somebody else's host before or behind the "@", however it is hidden
        "https://user@example.com/", "https://user:password@example.com/", "https://@example.com/", "https://a@b@c/",
        "https://example.com\\@127.0.0.1/", "https://example.com\\.evil.example/", "https://a%40b/",
        # escapes, zones and odd characters in a host
        "https://ex%61mple.com/", "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/", "https://fe80::1/", "https://[::1/",
        "https://::1]/", "https://[127.0.0.1]/", "https://[::1]x/", "https://a,b/", "https://a;b/", "https://a&b/", "https://'a'/",
        "https://.example.com/", "https://./", "https://-/",
        "https://１２７.０.０.１/", "https://example．com\u2028/",
        # ports
        "https://e.com:0/", "https://e.com:65536/", "https://e.com:-1/", "https://e.com:+1/", "https://e.com:1x/", "https://e.com:８０/",
        # a line end, a tab, an escape, a line separator
        "https://e.com/\r\nx: y", "https://e.com/\n", "https://e.com/\t", "https://e.com/\x1b", "https://e.com/\u2028", "https://e\r\n.com/",
    ],
)  # fmt: skip
def test_what_is_no_address_of_http_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        parse("POST", url)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "post", "", "GET / HTTP/1.1\r\nx:"])
def test_no_other_method_is_sent(method: str) -> None:
    with pytest.raises(ValueError):
        parse(method, "https://example.com/")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # another line, another request, the end of a string in C
        ("x", "a\r\ny: b"), ("x", "a\nb"), ("x", "a\rb"), ("x", "a\0b"), ("x", "a\r\n\r\nGET / HTTP/1.1"),
        ("x", "\r\n"),
        ("x\r\ny", "a"), ("x: y\r\nz", "a"), ("x:", "a"), ("x ", "a"), (" x", "a"), ("", "a"), ("x\0", "a"), ("é", "a"),
        # what becomes a line end when bytes are cut from characters
        ("x", "a\u010d\u010ab"), ("x", "é"), ("x", "a\u2028b"), ("x", "\x7f"),
        # where a request ends and who answers it is ours to say
        ("Host", "other.example"), ("content-length", "0"), ("Transfer-Encoding", "chunked"), ("connection", "close"),
        ("expect", "100-continue"), ("upgrade", "h2c"), ("te", "trailers"),
    ],
)  # fmt: skip
def test_a_header_that_could_begin_something_else_is_never_sent(name: str, value: str) -> None:
    seen: list[bytes] = []

    async def main() -> PermanentFailure:
        async with serving(http(response(200), seen=seen)) as port:
            transport = GuardedTransport(AllowedNetworks.parse(["127.0.0.1"]))
            with pytest.raises(PermanentFailure) as told:
                await transport.call("POST", f"http://127.0.0.1:{port}/", [("a", "b"), (name, value)], b"{}")
            await transport.aclose()
            return told.value

    error = asyncio.run(main())
    assert error.reason == "bad_header"
    assert seen == []


def test_a_request_is_head_and_body_with_a_length() -> None:
    """RFC 9110 8.6: a body, or a method that means one, is given a length; a GET without one is not."""
    post, get = (parse(method, "https://example.com/a") for method in ("POST", "GET"))
    start = b" /a HTTP/1.1\r\nhost: example.com\r\n"
    assert encode(post, [("X-A", "b c")], b"{}") == b"POST" + start + b"X-A: b c\r\ncontent-length: 2\r\n\r\n{}"
    assert encode(get, [], b"") == b"GET" + start + b"\r\n"
    assert encode(get, [], b"{}") == b"GET" + start + b"content-length: 2\r\n\r\n{}"


def test_of_an_httpx_request_the_framing_is_ours() -> None:
    seen: list[bytes] = []

    async def main() -> None:
        async with serving(http(response(200), seen=seen)) as port:
            transport = GuardedTransport(AllowedNetworks.parse(["127.0.0.1"]))
            request = httpx.Request(
                "POST",
                f"http://127.0.0.1:{port}/a?b#c",
                content=iter([b"in ", b"pieces"]),
                headers={"connection": "close", "host": "other.example", "x": "y"},
            )
            await transport.handle_async_request(request)
            await transport.aclose()

    asyncio.run(main())
    [request] = seen
    lines = request.split(b"\r\n")
    assert lines[0] == b"POST /a?b HTTP/1.1"
    assert lines[1].startswith(b"host: 127.0.0.1:")
    assert lines[2:] == [b"x: y", b"content-length: 9", b"", b"in pieces"]
