"""One call: the request goes out at most once, and every way it can end says whether it can have arrived (P4).

httpx requests are the seam for everything less frequent than callbacks; an httpx.Request and its response cost as much
as the call, so that callbacks are handed straight to `call`. No redirects, no proxies, no cookies, capped answers.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable, Iterable
from typing import Any

import httpx

from notifier.errors import OutcomeUnknown, PermanentFailure, TemporaryFailure
from notifier.transport.connection import Answer, Connection
from notifier.transport.failures import AddressRefused, NoAnswer, NoConnection
from notifier.transport.guard import AllowedNetworks
from notifier.transport.names import KEPT, Names, Resolver
from notifier.transport.pool import Pool
from notifier.transport.request import OURS, REPEATABLE, Origin, Target, encode, parse

TOTAL, CONNECT = 15.0, 5.0  #: seconds
MOST_BODY = 16 * 1024  #: bytes of an answer that are read
MOST_TARGETS = 2000  #: parsed addresses that are kept

#: Reasons, each with a sentence that does not name the address.
REASONS = {
    "bad_answer": "the answer is not HTTP",
    "connect": "the connection was refused",
    "connect_timeout": "no connection in time",
    "cut": "the connection was cut before an answer came",
    "dns": "the name does not resolve",
    "timeout": "no answer in time",
    "tls": "the TLS certificate or handshake was not accepted",
}


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
        resolver: Resolver | None = None,
        dns_cache: float = KEPT,
    ) -> None:
        """`verify` is True or an ssl.SSLContext, ours from now on; `resolver` looks names up (None = the system)."""
        self._allowed = allowed or AllowedNetworks()
        self._total, self._connect = total, connect
        self._most_body = most_body
        self._pool = Pool(self._allowed, Names(resolver, dns_cache), functools.partial(_context, verify))
        self._targets: dict[tuple[str, str], Target] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """`call` in httpx's words, for those who hold an httpx.Request."""
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in OURS]
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
        PermanentFailure (what is never sent); or what `check` raises, with the connection in hand.
        """
        target = self._targets.get((method, url)) or self._target(method, url)
        try:
            request = encode(target, headers, body)
        except ValueError:
            raise PermanentFailure("bad_header", "a header holds what may not stand there") from None
        until = asyncio.get_running_loop().time() + self._total
        while True:
            connection = self._pool.take(target.origin) or await self._connection(target.origin, until)
            try:
                check()
                return await connection.exchange(
                    request,
                    seconds=until - asyncio.get_running_loop().time(),
                    most_body=self._most_body,
                    bodiless=method == "HEAD",
                )
            except NoAnswer as error:
                stale = error.reason == "cut" and connection.was_held
                if not (stale and method in REPEATABLE):  # RFC 9112 9.3.1
                    raise OutcomeUnknown(error.reason, REASONS[error.reason]) from None
            finally:
                self._pool.give_back(target.origin, connection)

    async def _connection(self, origin: Origin, until: float) -> Connection:
        """Make a connection. Raises DeliveryError subclasses: nothing was written."""
        left = until - asyncio.get_running_loop().time()
        try:
            connection = await self._pool.make(origin, min(self._connect, left))
            if not connection.usable:  # closed, or talked to, before we said a word
                connection.close()
                raise NoConnection("cut")
        except NoConnection as error:
            raise TemporaryFailure(error.reason, REASONS[error.reason]) from None
        except AddressRefused:
            raise PermanentFailure("address_refused", "the name leads to an address that is not public") from None
        return connection

    def _target(self, method: str, url: str) -> Target:
        """Parse and judge an address; endpoints are few, so that what was judged is kept. Raises PermanentFailure."""
        try:
            target = parse(method, url)
        except ValueError:
            raise PermanentFailure("bad_url", "the address cannot be used") from None
        if target.origin.scheme == "http" and not self._listed(target.origin):
            raise PermanentFailure("not_https", "plain http is only for listed addresses")
        if len(self._targets) >= MOST_TARGETS:
            self._targets.clear()
        self._targets[method, url] = target
        return target

    def _listed(self, origin: Origin) -> bool:
        try:
            return self._allowed.hold("127.0.0.1" if origin.host == "localhost" else origin.host, origin.port)
        except ValueError:  # a name: only what it leads to could be listed
            return False

    async def aclose(self) -> None:
        """Close held connections."""
        await self._pool.close()


def _context(verify: Any) -> ssl.SSLContext:
    context: ssl.SSLContext = _usual_context() if verify is True else verify
    context.set_alpn_protocols(["http/1.1"])
    return context


@functools.cache
def _usual_context() -> ssl.SSLContext:
    """Made once in a process: reading the system's authorities takes as long as hundreds of calls."""
    return ssl.create_default_context()


def _kept(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The answer's headers without those that describe how its body was packed: the body is kept as it came."""
    return [(name, value) for name, value in headers if name.lower() not in (b"content-encoding", b"transfer-encoding")]
