"""The guarded HTTP transport of callbacks, Twilio and picture fetches: httpx requests over aiohttp.

An httpx.AsyncClient costs ten times what the request costs, and httpx's request and response objects as much as the
request, so that callbacks are handed straight to `call`; httpx stays the seam for everything less frequent. The SSRF
guard sits where the connection is made: the socket factory sees the address that is really dialled, whatever a name
resolved to and however an address was spelled. No redirects, no proxies, capped answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import yarl
from aiohttp import TraceConfig
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler

from notifier.errors import ConfigError, OutcomeUnknown, PermanentFailure, Problem, TemporaryFailure

TOTAL, CONNECT = 15.0, 5.0  #: seconds
MOST_BODY = 16 * 1024  #: bytes of an answer that are read
DNS_CACHE = 30  #: seconds
CONNECTIONS = 500  #: held at most; how many one receiver gets is its lane's business
MOST_TARGETS = 2000  #: parsed addresses that are kept
MOST_HEADS = 10  #: heads of answers that come for one request, interim ones (1xx) included
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: IPv6 ranges that carry an IPv4 address inside, or lead to one.
_TUNNELS: Sequence[_Network] = tuple(
    ipaddress.ip_network(text)
    for text in ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)
_NEVER: Sequence[_Network] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
        "168.63.129.16/32",
    )
)


class AddressRefused(OSError):
    """The address is not one we connect to."""


@dataclass(frozen=True, slots=True)
class AllowedNetworks:
    """Addresses that may be dialled although they are not public; each with a port, or 0 for any."""

    networks: tuple[tuple[_Network, int], ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> AllowedNetworks:
        """Read "10.0.0.0/8", "127.0.0.1:8901", "[::1]:8080". Raises ConfigError."""
        found, problems = [], []
        for text in texts:
            host, port = _split(text)
            try:
                found.append((ipaddress.ip_network(host), _port(port)))
            except ValueError as error:
                problems.append(Problem("NOTIFIER_CALLBACK_ALLOW", f"{text!r}: {error}"))
        if problems:
            raise ConfigError(problems)
        return cls(tuple(found))

    def hold(self, address: str, port: int) -> bool:
        """Whether this address and port are listed."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        return any(ip in network and allowed in (0, port) for network, allowed in self.networks)


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        return (host if closed else text), rest.removeprefix(":")
    host, colon, port = text.rpartition(":")
    return (host, port) if colon and ":" not in host else (text, "")


def _port(text: str) -> int:
    port = int(text or 0)
    if not 0 <= port <= 65_535:
        raise ValueError("a port is a number up to 65535")
    return port


def public(address: str) -> bool:
    """Whether an address is on the public Internet: not private, local, reserved, or a tunnel to such a place."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if any(ip.version == network.version and ip in network for network in (*_TUNNELS, *_NEVER)):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, the headers as they came, and the beginning of the body."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> str | None:
        """The first value of a header, by its name in lower case."""
        found = (value for given, value in self.headers if given.lower() == name)
        return next((value.decode("latin-1") for value in found), None)


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends one request; raises DeliveryError subclasses that say whether the request can have arrived."""

    def __init__(
        self,
        allowed: AllowedNetworks | None = None,
        *,
        total: float = TOTAL,
        connect: float = CONNECT,
        most_body: int = MOST_BODY,
        verify: Any = True,
        resolver: AbstractResolver | None = None,
        dns_cache: int = DNS_CACHE,
    ) -> None:
        """`verify` is True or an ssl.SSLContext; `resolver` looks names up (None = the system's)."""
        self._allowed = allowed or AllowedNetworks()
        self._timeout = aiohttp.ClientTimeout(total=total, connect=connect, sock_connect=connect)
        self._most_body = most_body
        self._verify = verify
        self._resolver, self._dns_cache = resolver, dns_cache
        self._session: aiohttp.ClientSession | None = None
        self._targets: dict[str, yarl.URL] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """`call` in httpx's words, for those who hold an httpx.Request."""
        headers = [(name, value) for name, value in request.headers.items() if name.lower() != "host"]
        check = request.extensions.get("check", lambda: None)
        answer = await self.call(request.method, str(request.url), headers, request.read(), check)
        return httpx.Response(answer.status, headers=_kept(answer.headers), content=answer.body)

    async def call(
        self,
        method: str,
        url: str,
        headers: Iterable[tuple[str, str]],
        body: bytes = b"",
        check: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Send and return the answer with at most `most_body` bytes of its body, fewer when the body is cut.

        Raises TemporaryFailure without a code (nothing was written), OutcomeUnknown (written, no answer) or
        PermanentFailure (an address that is never dialled); or what `check` raises, with the connection in hand.
        """
        progress = _Progress(check)
        try:
            target = self._target(url)
            async with self._open().request(
                method,
                target,
                data=body,
                headers=headers,
                allow_redirects=False,
                trace_request_ctx=progress,
                ssl=self._verify,
            ) as answer:
                return Answer(answer.status, answer.raw_headers, await self._read(answer.content))
        except AddressRefused as error:
            raise PermanentFailure("address_refused", str(error)) from None
        except aiohttp.InvalidURL:
            raise PermanentFailure("bad_url", "the address cannot be used") from None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _failure(error, progress) from None

    async def _read(self, content: aiohttp.StreamReader) -> bytes:
        """What arrives of a body: the status was answered, so a body that breaks off leaves no doubt (P4)."""
        body = bytearray()
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
            while len(body) < self._most_body and (more := await content.read(self._most_body - len(body))):
                body += more
        return bytes(body)

    def _target(self, url: str) -> yarl.URL:
        """Parse and judge an address; endpoints are few, so that what was judged is kept. Raises PermanentFailure."""
        known = self._targets.get(url)
        if known is None:
            if len(self._targets) >= MOST_TARGETS:
                self._targets.clear()
            known = self._targets[url] = self._checked(url)
        return known

    def _checked(self, text: str) -> yarl.URL:
        if not text.isprintable() or " " in text:  # a line end among them would begin a header
            raise PermanentFailure("bad_url", "the address cannot be used")
        try:
            url = _as_written(text)
        except ValueError:
            raise PermanentFailure("bad_url", "the address cannot be used") from None
        if url.user is not None or url.password is not None or url.scheme not in ("http", "https") or not url.host:
            raise PermanentFailure("bad_url", "only plain http(s) addresses without user or password are called")
        if url.scheme == "http" and not self._listed(url):
            raise PermanentFailure("not_https", "plain http is only for listed addresses")
        return url

    def _listed(self, url: yarl.URL) -> bool:
        host, port = url.host or "", url.port or 80
        try:
            return self._allowed.hold(host, port)
        except ValueError:
            return host == "localhost" and self._allowed.hold("127.0.0.1", port)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = _Connector(
                limit=CONNECTIONS,
                ttl_dns_cache=self._dns_cache,
                resolver=self._resolver,
                socket_factory=self._socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                trace_configs=[_tracing()],
                skip_auto_headers=("User-Agent",),
                max_line_size=8190,
                max_field_size=8190,
            )
        return self._session

    def _socket(self, info: Any) -> socket.socket:
        """Called with the address that is about to be dialled."""
        family, kind, protocol, _, address = info
        if not public(address[0]) and not self._allowed.hold(address[0], address[1]):
            raise AddressRefused("the name leads to an address that is not public")
        return socket.socket(family=family, type=kind, proto=protocol)

    async def aclose(self) -> None:
        """Close held connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _as_written(text: str) -> yarl.URL:
    """Parse an address; behind the host every character stays as it is, since some queries carry a signature."""
    url = yarl.URL(text)
    if not text.isascii() or not url.host:
        return url
    rest = yarl.URL(text, encoded=True)
    return yarl.URL.build(
        scheme=url.scheme,
        authority=url.raw_authority,
        path=rest.raw_path,
        query_string=rest.raw_query_string,
        encoded=True,
    )


class _Connector(aiohttp.TCPConnector):
    """aiohttp's, with our reader of answers on each connection."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        ours: type[ResponseHandler] = _Answers
        self._factory = functools.partial(ours, loop=self._loop)


class _Answers(ResponseHandler):
    """Cuts the connection to a receiver that floods: interim answers without end, or answers that nobody asked for.

    aiohttp reads and keeps all of them, whatever the time limit: one such receiver would hold the loop, and with it
    every other delivery and the heartbeat, for as long as it likes.
    """

    _heads = 0  #: of answers since the last request

    def set_response_params(self, **more: Any) -> None:
        """A request is about to be answered."""
        self._heads = 0
        super().set_response_params(**more)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """The head of an answer is here."""
        self._heads += 1
        if self._heads <= MOST_HEADS:
            super().feed_data(data, size)
        elif self._heads == MOST_HEADS + 1:
            self.set_exception(aiohttp.ClientPayloadError("more answers than requests"))
            if self.transport is not None:
                self.transport.abort()


@dataclass(slots=True)
class _Progress:
    check: Callable[[], None]  #: raises when the request must not go any more
    written: bool = False


def _tracing() -> TraceConfig:
    """Called with the connection in hand, just before the first byte: from then on the receiver may have it."""
    trace = TraceConfig()

    async def written(_: Any, context: Any, __: Any) -> None:
        if context.trace_request_ctx is not None:
            context.trace_request_ctx.check()
            context.trace_request_ctx.written = True

    trace.on_request_headers_sent.append(written)
    return trace


def _failure(error: BaseException, progress: _Progress) -> TemporaryFailure | OutcomeUnknown | PermanentFailure:
    refused = error.__cause__ if isinstance(error.__cause__, AddressRefused) else getattr(error, "os_error", None)
    if isinstance(refused, AddressRefused):
        return PermanentFailure("address_refused", str(refused))
    reason, detail = _why(error)
    if progress.written and not isinstance(error, aiohttp.ClientConnectorError):
        return OutcomeUnknown(reason, detail)
    return TemporaryFailure(reason, detail)


def _why(error: BaseException) -> tuple[str, str]:
    """A short word and a sentence, without the address."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return "connect_timeout", "no connection in time"
        case asyncio.TimeoutError():
            return "timeout", "no answer in time"
        case aiohttp.ClientConnectorDNSError():
            return "dns", "the name does not resolve"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "tls", "the TLS certificate or handshake was not accepted"
        case aiohttp.ClientConnectorError():
            return "connect", "the connection was refused"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return "cut", "the connection was cut before an answer came"
        case aiohttp.ClientPayloadError() | aiohttp.ClientResponseError():
            return "bad_answer", "the answer is not HTTP"
    return "network", type(error).__name__


def _kept(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The answer's headers without those that describe how its body was packed: the body is kept as it came."""
    return [(name, value) for name, value in headers if name.lower() not in (b"content-encoding", b"transfer-encoding")]
