"""Where a name leads: looked up in threads of its own, few at a time, once for all who ask, and kept for a while.

The event loop's own `getaddrinfo` will not do: uvloop gives it two threads, so that two names whose servers are silent
would hold up every other. What comes out is not judged here; whoever dials does that.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from notifier.transport.failures import NoConnection

KEPT = 30  #: seconds that an answer is used
AT_ONCE = 16  #: look-ups of the system that run at the same time
MOST_NAMES = 2000  #: answers that are kept

#: From a name to addresses in numbers, the best first. Raises OSError when there are none.
Resolver = Callable[[str], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Address:
    """What the system dials."""

    family: socket.AddressFamily
    sockaddr: Any  #: as getaddrinfo gives it

    @property
    def ip(self) -> str:
        """In numbers, in the one spelling that the system gives it."""
        return str(self.sockaddr[0])

    @property
    def port(self) -> int:
        """The port."""
        return int(self.sockaddr[1])


class Names:
    """Looks names up."""

    def __init__(self, resolver: Resolver | None = None, kept: float = KEPT) -> None:
        """`resolver` looks names up (None = the system)."""
        self._resolver = resolver or self._system
        self._kept = kept
        self._known: dict[str, tuple[float, Sequence[str]]] = {}  #: until when, and what
        self._asked: dict[str, asyncio.Task[Sequence[str]]] = {}  #: being looked up
        self._threads: ThreadPoolExecutor | None = None

    async def look_up(self, host: str, port: int) -> list[Address]:
        """Return where a host is, be it a name or an address in whatever spelling. Raises NoConnection."""
        try:
            return _numeric(host, port)
        except OSError:
            pass
        try:
            found = [address for text in await self._addresses(host) for address in _numeric(text, port)]
        except OSError:
            found = []
        if not found:
            raise NoConnection("dns")
        return found

    async def _addresses(self, host: str) -> Sequence[str]:
        until, addresses = self._known.get(host, (0.0, ()))
        if time.monotonic() < until:
            return addresses
        asked = self._asked.get(host)
        if asked is None:
            asked = self._asked[host] = asyncio.ensure_future(self._ask(host))
            asked.add_done_callback(partial(self._answered, host))
        await asyncio.wait({asked})  # who asks may give up; the others still want to know
        if asked.cancelled():
            raise NoConnection("dns")
        return asked.result()

    async def _ask(self, host: str) -> Sequence[str]:
        return await self._resolver(host)

    def _answered(self, host: str, asked: asyncio.Task[Sequence[str]]) -> None:
        del self._asked[host]
        if asked.cancelled() or asked.exception() is not None:
            return
        self._known.pop(host, None)
        if len(self._known) >= MOST_NAMES:
            del self._known[next(iter(self._known))]  # the oldest
        self._known[host] = (time.monotonic() + self._kept, asked.result())

    async def _system(self, host: str) -> Sequence[str]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE, "names")
        return await asyncio.get_running_loop().run_in_executor(self._threads, _getaddrinfo, host)

    def close(self) -> None:
        """Wait for nobody's answer any more."""
        for asked in self._asked.values():
            asked.cancel()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


def _numeric(host: str, port: int) -> list[Address]:
    """Read an address in numbers; asks nobody. Raises OSError for a name."""
    found = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in found]


def _getaddrinfo(host: str) -> list[str]:
    """Ask the system, which leaves out the family that this machine has no address of."""
    found = socket.getaddrinfo(host.encode(), None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(sockaddr[0]) for _, _, _, _, sockaddr in found]
